// flannel's configuration, its CNI configuration, and the program that runs it.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"
	netutils "k8s.io/utils/net"

	"sandbar.dev/hack/k3s/internal/pki"
)

// flannelCNI is k3s's 10-flannel.conflist.
const flannelCNI = `{
  "name":"cbr0",
  "cniVersion":"1.0.0",
  "plugins":[
    {"type":"flannel","delegate":{"hairpinMode":true,"forceAddress":true,"isDefaultGateway":true}},
    {"type":"portmap","capabilities":{"portMappings":true}},
    {"type":"bandwidth","capabilities":{"bandwidth":true}}
  ]
}
`

// writeFlannel writes both configurations, or takes the user's.
func writeFlannel(n *Node) error {
	a := &n.AgentConfig
	cni, err := orFile([]byte(flannelCNI), n.FlannelCniConfFile)
	if err != nil {
		return err
	}
	if err := pki.WriteFile(filepath.Join(a.CNIConfDir, "10-flannel.conflist"), cni, 0o600); err != nil {
		return err
	}
	if n.FlannelConfOverride {
		logrus.Infof("Using custom flannel conf defined at %s", n.FlannelConfFile)
		return nil
	}
	conf, err := flannelConf(n)
	if err != nil {
		return err
	}
	return pki.WriteFile(n.FlannelConfFile, conf, 0o600)
}

func flannelConf(n *Node) ([]byte, error) {
	backends := map[string]map[string]any{
		"vxlan":            {"Type": "vxlan"},
		"host-gw":          {"Type": "host-gw"},
		"wireguard-native": {"Type": "wireguard", "PersistentKeepaliveInterval": 25},
	}
	backend, ok := backends[n.FlannelBackend]
	if !ok {
		return nil, fmt.Errorf("this k3s stand-in does not have the flannel backend '%s'", n.FlannelBackend)
	}
	v4, v6, has4, has6 := "0.0.0.0/0", "::/0", false, false
	for _, c := range n.AgentConfig.ClusterCIDRs {
		if netutils.IsIPv6CIDR(c) {
			v6, has6 = c.String(), true
		} else {
			v4, has4 = c.String(), true
		}
	}
	return json.MarshalIndent(map[string]any{"Network": v4, "IPv6Network": v6, "EnableIPv4": has4, "EnableIPv6": has6, "Backend": backend}, "", "\t")
}

func orFile(text []byte, file string) ([]byte, error) {
	if file == "" {
		return text, nil
	}
	return os.ReadFile(file)
}

// RunFlannel runs flannel until the context ends. The node must have its subnet.
func (n *Node) RunFlannel(ctx context.Context, kubeconfig string) error {
	logrus.Infof("Starting flannel with backend %s", n.FlannelBackend)
	cmd := exec.CommandContext(ctx, "flanneld", "-kubeconfig", kubeconfig, "-config", n.FlannelConfFile, "-iface", n.FlannelIface)
	cmd.Env = append(os.Environ(), "NODE_NAME="+n.AgentConfig.NodeName)
	last := &lastLine{out: os.Stderr}
	cmd.Stderr = last
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// The death signal is bound to the thread that forks: keep it until flannel is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("status 0")
	} else if last.text != "" {
		err = errors.New(last.text)
	}
	return err
}

// lastLine passes a program's words on and keeps the last: why it ended.
type lastLine struct {
	out  io.Writer
	text string
}

func (l *lastLine) Write(p []byte) (int, error) {
	lines := strings.Split(strings.TrimSpace(string(p)), "\n")
	l.text = lines[len(lines)-1]
	return l.out.Write(p)
}
