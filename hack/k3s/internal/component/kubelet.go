// kubelet.
package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

const (
	// KubeletName is the program name by which our own program is kubelet.
	KubeletName = "kubelet"
	// kubeletStop is how long kubelet may take to end when it is told to.
	kubeletStop = 4 * time.Second
	// reportFD is where the child finds the pipe into which it says why it ends; its presence
	// is told by the variable, so that `kubelet` by hand works too.
	reportFD       = 3
	reportVariable = "KUBELET_REPORT"
)

// Kubelet is kubelet with its flags: our own program once more, as a child. In one process with
// the controller-manager upstream's CSI plugin would be shared by both, and whoever starts last
// says on which node it is; kubelet then ends with "Failed to initialize CSINode".
type Kubelet struct{ args []string }

// NewKubelet keeps the flags; kubelet itself reads them when it runs.
func NewKubelet(args []string) *Kubelet { return &Kubelet{args} }

// Run runs until the context ends.
func (k *Kubelet) Run(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Args = append([]string{KubeletName}, k.args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	report, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer report.Close() //nolint:errcheck // read only
	cmd.ExtraFiles = []*os.File{write}
	cmd.Env = append(os.Environ(), reportVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan error, 1)
	go func() {
		// The death signal is bound to the thread that forks.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = write.Close()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting kubelet: %w", err)
	}
	select {
	case err := <-done:
		if why, _ := io.ReadAll(report); len(why) > 0 {
			return errors.New(string(why))
		}
		return err
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(kubeletStop):
		_ = cmd.Process.Kill()
	}
	return nil
}

// KubeletMain is what the child runs: upstream's own command. Returns the exit code.
func KubeletMain() int {
	var report io.Writer = os.Stderr
	if os.Getenv(reportVariable) != "" {
		_ = os.Unsetenv(reportVariable)
		unix.CloseOnExec(reportFD)
		report = os.NewFile(reportFD, "report")
	}
	if err := cli.RunNoErrOutput(app.NewKubeletCommand(context.Background())); err != nil {
		_, _ = fmt.Fprint(report, err)
		return 1
	}
	return 0
}
