// kubelet.
package component

import (
	"context"
	"time"

	"k8s.io/kubernetes/cmd/kubelet/app"
)

// patience is how long kubelet's end by a signal may precede that of the server.
const patience = 2 * time.Second

// Kubelet is kubelet with its flags. Here alone upstream's command is used: what merges its
// flags with its configuration files is private to it. The signal handler that it installs
// is the only one of its kind in the process, and stops it along with us.
type Kubelet struct{ args []string }

// NewKubelet keeps the flags; kubelet itself reads them when it runs.
func NewKubelet(args []string) *Kubelet { return &Kubelet{args} }

// Run runs until the process is told to stop. It then ends by itself, and may be faster than
// the one who is to tell us.
func (k *Kubelet) Run(ctx context.Context) error {
	command := app.NewKubeletCommand(ctx)
	command.SetArgs(k.args)
	command.SilenceErrors = true
	done := make(chan error, 1)
	go func() { done <- command.ExecuteContext(ctx) }()
	select {
	case err := <-done:
		if err == nil {
			select {
			case <-ctx.Done():
			case <-time.After(patience):
			}
		}
		return err
	case <-ctx.Done():
		return nil
	}
}
