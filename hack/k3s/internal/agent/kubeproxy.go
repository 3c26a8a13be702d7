// kube-proxy's flags.
package agent

import (
	"strconv"

	netutils "k8s.io/utils/net"

	"sandbar.dev/hack/k3s/internal/args"
)

// KubeProxyArgs returns kube-proxy's flags. Connection tracking is left alone by it, because
// setupSystem has set that already.
func (n *Node) KubeProxyArgs() []string {
	a := &n.AgentConfig
	healthz := "127.0.0.1"
	if netutils.IsIPv6String(a.NodeIP) {
		healthz = "::1"
	}
	flags := map[string]string{
		"proxy-mode":                        "iptables",
		"healthz-bind-address":              healthz,
		"kubeconfig":                        a.KubeConfigKubeProxy,
		"cluster-cidr":                      joinNets(a.ClusterCIDRs),
		"hostname-override":                 a.NodeName,
		"conntrack-max-per-core":            "0",
		"conntrack-tcp-timeout-established": "0s",
		"conntrack-tcp-timeout-close-wait":  "0s",
	}
	if a.VLevel != 0 {
		flags["v"] = strconv.Itoa(a.VLevel)
	}
	if a.VModule != "" {
		flags["vmodule"] = a.VModule
	}
	return args.Merge(flags, a.ExtraKubeProxyArgs)
}
