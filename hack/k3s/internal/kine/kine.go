// Package kine runs the datastore: the kine program that lies beside ours, as a child that
// cannot outlive us, behind the socket kine.sock in the server folder.
package kine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// Socket is relative to the server folder, where both processes stand: a socket's path must
// be short, and --data-dir may be long.
const Socket = "kine.sock"

// Options are those of k3s that the datastore hears about.
type Options struct {
	Endpoint      string // empty: SQLite in db/state.db
	CA, Cert, Key string
	Debug         bool
}

// Process is a running kine.
type Process struct {
	cmd *exec.Cmd
	// Done gets kine's end, once.
	Done <-chan error
}

// Start runs kine in the working directory and returns when it answers.
func Start(o Options, timeout time.Duration) (*Process, error) {
	exe, err := find()
	if err != nil {
		return nil, err
	}
	args := []string{"--listen-address=unix://" + Socket, "--metrics-bind-address=0", "--log-format=json"}
	for _, f := range [][2]string{{"endpoint", o.Endpoint}, {"ca-file", o.CA}, {"cert-file", o.Cert}, {"key-file", o.Key}} {
		if f[1] != "" {
			args = append(args, "--"+f[0]+"="+f[1])
		}
	}
	if o.Debug {
		args = append(args, "--debug")
	}
	cmd := exec.Command(exe, args...)
	// Its own process group: Ctrl-C in a terminal must not stop it before the apiserver.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	logs, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = os.Stderr

	if err := os.Remove(Socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	started, done := make(chan error), make(chan error, 1)
	go func() {
		// The death signal is bound to the thread that forks: keep it until kine is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		relay(logs)
		done <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting kine: %w", err)
	}
	p := &Process{cmd: cmd, Done: done}
	if err := p.wait(timeout); err != nil {
		p.Stop(time.Second)
		return nil, err
	}
	return p, nil
}

// wait returns when the socket accepts.
func (p *Process) wait(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		conn, err := net.Dial("unix", Socket)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kine does not answer after %s: %w", timeout, err)
		}
		select {
		case err := <-p.Done:
			return fmt.Errorf("kine %s", Ended(err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop asks kine to close its database, and insists after the grace period.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Done:
	case <-time.After(grace):
		logrus.Warnf("kine did not stop within %s, killing it", grace)
		_ = p.cmd.Process.Kill()
	}
}

// Pid is kine's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Ended words the end of a process.
func Ended(err error) string {
	if err == nil {
		return "exited: status 0"
	}
	return "exited: " + err.Error()
}

// find looks for kine beside our own program, then on PATH.
func find() (string, error) {
	self, err := os.Executable()
	if err == nil {
		beside := filepath.Join(filepath.Dir(self), "kine")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	exe, err := exec.LookPath("kine")
	if err != nil {
		return "", fmt.Errorf("kine is neither beside %s nor on PATH: build both with hack/k3s/build.sh", self)
	}
	return exe, nil
}

// relay puts kine's log lines into ours, with their level.
func relay(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Severity, Message string }
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Message == "" {
			logrus.Info(lines.Text())
			continue
		}
		level, err := logrus.ParseLevel(line.Severity)
		if err != nil || level < logrus.ErrorLevel {
			level = logrus.ErrorLevel // its fatal is not yet ours
		}
		logrus.StandardLogger().Log(level, line.Message)
	}
	_, _ = io.Copy(io.Discard, r)
}
