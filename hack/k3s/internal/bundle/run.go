// Runs containerd's own clients as k3s's commands of their names.
package bundle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Run replaces this process by a bundled program, or one on PATH. What k3s builds into its
// clients, the environment tells them here: where containerd listens, and whose images.
func Run(name string, args []string) error {
	exe := filepath.Join(Source(), name)
	if _, err := os.Stat(exe); Source() == "" || err != nil {
		if exe, err = exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: this k3s stand-in was built without %s", err, name)
		}
	}
	for variable, value := range map[string]string{
		"CONTAINERD_ADDRESS":         "/run/k3s/containerd/containerd.sock",
		"CONTAINERD_NAMESPACE":       "k8s.io",
		"CONTAINER_RUNTIME_ENDPOINT": "unix:///run/k3s/containerd/containerd.sock",
	} {
		if os.Getenv(variable) == "" {
			if err := os.Setenv(variable, value); err != nil {
				return err
			}
		}
	}
	if err := unix.Exec(exe, append([]string{name}, args...), os.Environ()); err != nil {
		return fmt.Errorf("running %s: %w", exe, err)
	}
	return nil
}
