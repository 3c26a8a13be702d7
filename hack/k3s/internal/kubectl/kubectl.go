// Package kubectl is upstream's kubectl, with k3s's choice of kubeconfig.
package kubectl

import (
	"os"
	"strings"

	"github.com/sirupsen/logrus"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	"sandbar.dev/hack/k3s/internal/server"

	// Ways to log in.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
)

// Main runs kubectl with these arguments. It reports a failure of kubectl by itself and
// ends the process with kubectl's exit code.
func Main(args []string) error {
	os.Args = append([]string{"kubectl"}, args...)
	if os.Getenv("KUBECONFIG") == "" && !named(args) {
		config, err := server.HomeKubeconfig(false)
		if err == nil {
			if f, err := os.Open(config); err == nil {
				_ = f.Close()
				_ = os.Setenv("KUBECONFIG", config)
			} else if os.IsPermission(err) {
				logrus.Warnf("Unable to read %s, please start server with --write-kubeconfig-mode or --write-kubeconfig-group to modify kube config permissions", config)
			}
		}
	}
	logs.GlogSetter(cmd.GetLogVerbosity(os.Args)) //nolint:errcheck // as upstream's main
	command := cmd.NewDefaultKubectlCommand()
	if err := cli.RunNoErrOutput(command); err != nil {
		util.CheckErr(err) // does not return
	}
	return nil
}

func named(args []string) bool {
	for _, a := range args {
		if a == "--" {
			return false
		}
		if a == "--kubeconfig" || strings.HasPrefix(a, "--kubeconfig=") {
			return true
		}
	}
	return false
}
