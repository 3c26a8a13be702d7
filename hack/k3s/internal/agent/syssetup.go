// Kernel modules and sysctls that k3s asks for before it starts a node. A refusal is logged,
// never fatal.
package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/component"
)

func setupSystem(ipv6 bool, c *component.Conntrack) {
	modules := []string{"overlay", "nf_conntrack", "br_netfilter", "iptable_nat", "iptable_filter"}
	if ipv6 {
		modules = append(modules, "ip6table_nat", "ip6table_filter")
	}
	for _, m := range modules {
		loadModule(m)
	}
	for name, want := range sysctls(ipv6, c, runtime.NumCPU()) {
		file := filepath.Join("/proc/sys", name)
		if raw, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(raw)) == strconv.Itoa(want) {
			continue
		}
		logrus.Infof("Set sysctl '%v' to %v", name, want)
		if err := os.WriteFile(file, []byte(strconv.Itoa(want)), 0o640); err != nil {
			logrus.Errorf("Failed to set sysctl: %v", err)
		}
	}
}

func loadModule(name string) {
	if _, err := os.Stat("/sys/module/" + name); err == nil {
		logrus.Info("Module " + name + " was already loaded")
		return
	}
	if err := exec.Command("modprobe", "--", name).Run(); err != nil {
		logrus.Warnf("Failed to load kernel module %v with modprobe", name)
	}
}

// sysctls are the values that k3s wants, by their path below /proc/sys.
func sysctls(ipv6 bool, c *component.Conntrack, cpus int) map[string]int {
	out := map[string]int{
		"net/ipv4/conf/all/forwarding":       1,
		"net/ipv4/conf/default/forwarding":   1,
		"net/bridge/bridge-nf-call-iptables": 1,
	}
	if ipv6 {
		out["net/ipv6/conf/all/forwarding"] = 1
		out["net/ipv6/conf/default/forwarding"] = 1
		out["net/bridge/bridge-nf-call-ip6tables"] = 1
		out["net/core/devconf_inherit_init_net"] = 1
	}
	if c.MaxPerCore > 0 {
		out["net/netfilter/nf_conntrack_max"] = max(int(c.MaxPerCore)*cpus, int(c.Min))
	}
	if c.TCPEstablished > 0 {
		out["net/netfilter/nf_conntrack_tcp_timeout_established"] = int(c.TCPEstablished / time.Second)
	}
	if c.TCPCloseWait > 0 {
		out["net/netfilter/nf_conntrack_tcp_timeout_close_wait"] = int(c.TCPCloseWait / time.Second)
	}
	return out
}
