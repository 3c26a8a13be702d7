// Package logging does what --debug and --log ask for. With --log everything that this
// process and its child write goes to the file, whoever writes it.
package logging

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Setup redirects both outputs to the file, if there is one.
func Setup(file string, alsoStderr bool) error {
	if time.Now().Before(time.Unix(315532800, 0)) { // 1980
		return fmt.Errorf("server time isn't set properly: %v", time.Now())
	}
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if !alsoStderr {
		return redirect(f)
	}
	keep, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	if err := redirect(w); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.MultiWriter(f, os.NewFile(uintptr(keep), "stderr")), r)
		close(done)
	}()
	// The last words must get through the pipe too.
	logrus.RegisterExitHandler(func() {
		_ = unix.Dup3(keep, 1, 0)
		_ = unix.Dup3(keep, 2, 0)
		select {
		case <-done:
		case <-time.After(time.Second):
		}
	})
	return nil
}

// redirect makes f our standard output and error, and closes it.
func redirect(f *os.File) error {
	defer f.Close() //nolint:errcheck // it lives on as 1 and 2
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return nil
}
