// Opens image archives, compressed or not, by their names.
package agent

import (
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// archive is a decompressing reader with what has to be closed behind it.
type archive struct {
	io.Reader
	close func() error
}

func (a archive) Close() error { return a.close() }

// openArchive knows k3s's endings but for lz4.
func openArchive(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	a, err := decompress(f, strings.ToLower(file))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return archive{a, func() error { return errors.Join(a.Close(), f.Close()) }}, nil
}

func decompress(r io.Reader, name string) (io.ReadCloser, error) {
	ends := func(endings ...string) bool {
		for _, e := range endings {
			if strings.HasSuffix(name, e) {
				return true
			}
		}
		return false
	}
	switch {
	case ends(".tar"):
		return io.NopCloser(r), nil
	case ends(".tar.gz", ".tgz"):
		return gzip.NewReader(r)
	case ends(".tar.zst", ".tzst"):
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case ends(".tar.bz2", ".tbz"):
		return io.NopCloser(bzip2.NewReader(r)), nil
	}
	return nil, errors.New("unhandled file type: want .tar, .tar.gz, .tar.zst, .tar.bz2 or .txt")
}
