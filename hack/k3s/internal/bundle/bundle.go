// Package bundle puts the programs that a node needs (containerd, its shim, runc, ctr and the
// CNI plugins) where k3s unpacks them: <data>/data/<hash>/bin, with the links `current` and
// `previous` to the folders and a stable folder data/cni for the plugins, all on PATH.
//
// build.sh --node leaves them in the folder `bin` beside our program; without it there is
// nothing to put anywhere.
package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// sums lists the programs and their checksums; the folder is named after it.
const sums = ".sha256sums"

// Source is the folder beside our program, or empty if this k3s was built without a node.
func Source() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return ""
	}
	dir := filepath.Join(filepath.Dir(self), "bin")
	if _, err := os.Stat(filepath.Join(dir, sums)); err != nil {
		return ""
	}
	return dir
}

// Stage puts the programs below the data directory, once, and on PATH.
func Stage(source, dataDir string, preferBundled bool) (string, error) {
	raw, err := os.ReadFile(filepath.Join(source, sums))
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(raw)
	data := filepath.Join(dataDir, "data")
	dir := filepath.Join(data, hex.EncodeToString(hash[:]))
	if _, err := os.Stat(filepath.Join(dir, "bin", "k3s")); err != nil {
		if err := extract(source, data, dir); err != nil {
			return "", fmt.Errorf("extracting data: %w", err)
		}
	}
	return dir, os.Setenv("PATH", searchPath(dir, os.Getenv("PATH"), preferBundled))
}

// searchPath is k3s's order: CNI plugins, our own programs, and the host's before or after
// the auxiliary ones.
func searchPath(dir, host string, preferBundled bool) string {
	path := []string{filepath.Join(filepath.Dir(dir), "cni"), filepath.Join(dir, "bin")}
	aux := filepath.Join(dir, "bin", "aux")
	if preferBundled {
		path = append(path, aux, host)
	} else {
		path = append(path, host, aux)
	}
	return strings.Join(path, string(os.PathListSeparator))
}

func extract(source, data, dir string) error {
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	lock := filepath.Join(data, ".lock")
	logrus.Infof("Acquiring lock file %s", lock)
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // which also releases the lock
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return nil // another process was faster
	}
	logrus.Infof("Preparing data dir %s", dir)
	tmp := dir + "-tmp"
	defer os.RemoveAll(tmp) //nolint:errcheck // gone after the rename
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := copyBin(source, filepath.Join(tmp, "bin")); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	if err := linkCNI(filepath.Join(dir, "bin"), filepath.Join(data, "cni")); err != nil {
		return err
	}
	current := filepath.Join(data, "current")
	if _, err := os.Lstat(current); err == nil {
		if err := os.Rename(current, filepath.Join(data, "previous")); err != nil {
			return err
		}
	}
	return os.Symlink(dir, current)
}

// copyBin copies programs and links, and adds the links to ourselves.
func copyBin(source, bin string) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(source, e.Name()), filepath.Join(bin, e.Name())
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, to); err != nil {
				return err
			}
		case e.Type().IsRegular():
			if err := copyFile(from, to); err != nil {
				return err
			}
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return errors.Join(os.Symlink(self, filepath.Join(bin, "k3s")), os.Symlink("k3s", filepath.Join(bin, "kubectl")))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // read only
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// linkCNI fills the stable folder with links to the multi-call plugin, as k3s does. What else
// lies there is the user's.
func linkCNI(bin, cni string) error {
	if err := os.MkdirAll(cni, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(bin)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if target, _ := os.Readlink(filepath.Join(bin, e.Name())); target != "cni" && e.Name() != "cni" {
			continue
		}
		link := filepath.Join(cni, e.Name())
		if st, err := os.Lstat(link); err == nil && st.Mode()&fs.ModeSymlink != 0 {
			if err := os.Remove(link); err != nil {
				return err
			}
		}
		if err := os.Symlink(filepath.Join(bin, "cni"), link); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}
