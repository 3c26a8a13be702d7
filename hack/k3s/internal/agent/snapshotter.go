// Probes whether the kernel can do what the chosen snapshotter needs, as k3s does before it
// starts containerd: by mounting two lower folders.
package agent

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// checkSnapshotter words a failure as k3s does. Other snapshotters than these two are
// containerd's business.
func checkSnapshotter(name, root string) error {
	switch name {
	case "overlayfs":
		if err := overlaySupported(root); err != nil {
			return fmt.Errorf("\"overlayfs\" snapshotter cannot be enabled for %q, try using \"fuse-overlayfs\" or \"native\": %w", root, err)
		}
	case "fuse-overlayfs":
		if err := fuseOverlaySupported(root); err != nil {
			return fmt.Errorf("\"fuse-overlayfs\" snapshotter cannot be enabled for %q, try using \"native\": %w", root, err)
		}
	case "stargz", "nix":
		return fmt.Errorf("this k3s stand-in does not have the %q snapshotter", name)
	}
	return nil
}

func overlaySupported(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	ok, err := tellsTypes(root)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s does not support d_type. If the backing filesystem is xfs, please reformat with ftype=1 to enable d_type support", root)
	}
	return inLayers(root, "multiple-lowerdir-check", func(d string) (string, error) {
		options := fmt.Sprintf("lowerdir=%s/lower2:%s/lower1,upperdir=%s/upper,workdir=%s/work", d, d, d, d)
		merged := filepath.Join(d, "merged")
		if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
			return "", fmt.Errorf("failed to mount overlay: %w", err)
		}
		return merged, nil
	})
}

func fuseOverlaySupported(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	return inLayers(root, "fuseoverlayfs-check", func(d string) (string, error) {
		merged := filepath.Join(d, "merged")
		out, err := exec.Command("mount.fuse3", "overlay", merged, "-o",
			fmt.Sprintf("lowerdir=%s/lower2:%s/lower1", d, d), "-t", "fuse-overlayfs").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("failed to mount fuse-overlayfs: %w: %s", err, bytes.TrimSpace(out))
		}
		return merged, nil
	})
}

// inLayers makes the folders, lets the function mount, and clears up.
func inLayers(root, name string, mount func(dir string) (string, error)) error {
	dir, err := os.MkdirTemp(root, name)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // only a probe
	for _, d := range []string{"lower1", "lower2", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	merged, err := mount(dir)
	if err != nil {
		return err
	}
	if err := unix.Unmount(merged, 0); err != nil {
		logrus.Warnf("Failed to unmount check directory %v: %v", merged, err)
	}
	return nil
}

// tellsTypes says whether the file system's directory entries carry the files' types.
func tellsTypes(root string) (bool, error) {
	dir, err := os.MkdirTemp(root, "supports-dtype")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // only a probe
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		return false, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // read only
	buf := make([]byte, 4096)
	n, err := unix.Getdents(int(f.Fd()), buf)
	if err != nil {
		return false, err
	}
	// struct linux_dirent64: ino, off, reclen, type, name
	for i := 0; i+19 <= n; {
		length := int(buf[i+16]) | int(buf[i+17])<<8
		if buf[i+18] == unix.DT_UNKNOWN {
			return false, nil
		}
		if length == 0 {
			break
		}
		i += length
	}
	return true, nil
}
