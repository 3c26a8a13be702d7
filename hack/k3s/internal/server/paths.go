// Where k3s keeps things: the data directory, the kubeconfig, and the files inside.
package server

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"

	"sandbar.dev/hack/k3s/internal/version"
)

// GlobalKubeconfig is where root's server writes the admin kubeconfig.
const GlobalKubeconfig = "/etc/rancher/" + version.Program + "/" + version.Program + ".yaml"

// HomeKubeconfig is the kubeconfig's place by default: to write, it depends on who we
// are; to read, root's comes first if it is there.
func HomeKubeconfig(write bool) (string, error) {
	if write && os.Getuid() == 0 {
		return GlobalKubeconfig, nil
	}
	if !write {
		if _, err := os.Stat(GlobalKubeconfig); err == nil {
			return GlobalKubeconfig, nil
		}
	}
	home, err := homeDir()
	return filepath.Join(home, ".kube", version.Program+".yaml"), err
}

// DataDir resolves --data-dir.
func DataDir(dir string) (string, error) {
	if dir == "" {
		dir = "/var/lib/rancher/" + version.Program
		if os.Getuid() != 0 {
			home, err := homeDir()
			if err != nil {
				return "", fmt.Errorf("resolving ${HOME}/.rancher/%s: %w", version.Program, err)
			}
			dir = filepath.Join(home, ".rancher", version.Program)
		}
	}
	return filepath.Abs(dir)
}

// homeDir works without HOME too.
func homeDir() (string, error) {
	if home := os.Getenv("HOME"); home != "" {
		return home, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	return u.HomeDir, nil
}
