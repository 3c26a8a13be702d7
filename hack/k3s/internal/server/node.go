// The server's own node: what package agent has to know, and the flags of its components.
package server

import (
	"net"
	"slices"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/args"
)

// prepareNode comes after the apiserver's flags were read.
func (p *parts) prepareNode(f files, c *Config, dataDir string) error {
	n, err := agent.Prepare(&c.Agent, c.cluster(f, dataDir))
	if err != nil {
		return err
	}
	if p.node, err = agent.NewParts(n); err != nil {
		return err
	}
	if !c.Agent.DisableNetworkPolicy {
		logrus.Warn("this k3s stand-in has no network policy controller: policies have no effect, as with --disable-network-policy")
	}
	return nil
}

// access is what the server's own node goes by.
func (f files) access() agent.Access {
	file := f.cred("supervisor.kubeconfig")
	return agent.Access{Node: file, Flannel: file, Labels: map[string]string{"node-role.kubernetes.io/control-plane": "true"}}
}

func (c *Config) cluster(f files, dataDir string) *agent.Cluster {
	var external []net.IP
	for _, s := range args.Split(c.NodeExternalIP.Value()) {
		if ip := net.ParseIP(s); ip != nil {
			external = append(external, ip)
		}
	}
	return &agent.Cluster{
		DataDir: dataDir, Issuer: agent.LocalIssuer{Dir: f.tls("")}, URL: c.url(), NodeName: c.NodeName,
		NodeIPs: c.NodeIPs, NodeExternalIPs: external, BindAddress: c.BindAddress,
		ClusterCIDRs: c.ClusterCIDRs, ServiceCIDRs: c.ServiceCIDRs,
		ClusterDNS: args.Split(c.ClusterDNS.Value()), ClusterDomain: c.ClusterDomain,
		FlannelBackend: c.FlannelBackend, DisableServiceLB: slices.Contains(args.Split(c.Disable.Value()), "servicelb"),
		Debug: logrus.IsLevelEnabled(logrus.DebugLevel), VLevel: c.VLevel, VModule: c.VModule,
	}
}
