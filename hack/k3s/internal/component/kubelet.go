// kubelet.
package component

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

const (
	// KubeletName is the program name by which our own program is kubelet.
	KubeletName = "kubelet"
	// kubeletStop is how long kubelet may take to end when it is told to.
	kubeletStop = 4 * time.Second
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan error, 1)
	go func() {
		// The death signal is bound to the thread that forks.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
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
	return cli.Run(app.NewKubeletCommand(context.Background()))
}
