// The server's own node: what package agent has to know, and the flags of its components.
package server

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/component"
)

// prepareNode comes after the apiserver's flags were read: they close the feature gates.
func (p *parts) prepareNode(f files, c *Config, dataDir string) (err error) {
	if p.node, err = agent.Prepare(&c.Agent, c.cluster(f, dataDir)); err != nil {
		return err
	}
	args, err := p.node.KubeletArgs()
	if err != nil {
		return fmt.Errorf("failed to start kubelet: %w", err)
	}
	logrus.Infof("Running kubelet %s", strings.Join(args, " "))
	p.kubelet = component.NewKubelet(args)
	if !c.Agent.DisableNetworkPolicy {
		logrus.Warn("this k3s stand-in has no network policy controller: policies have no effect, as with --disable-network-policy")
	}
	if c.Agent.DisableKubeProxy {
		return nil
	}
	args = p.node.KubeProxyArgs()
	logrus.Infof("Running kube-proxy %s", strings.Join(args, " "))
	if p.kubeProxy, err = component.NewKubeProxy(args); err != nil {
		return fmt.Errorf("failed to start kube-proxy: %w", err)
	}
	return nil
}

func (c *Config) cluster(f files, dataDir string) *agent.Cluster {
	var external []net.IP
	for _, s := range split(c.NodeExternalIP.Value()) {
		if ip := net.ParseIP(s); ip != nil {
			external = append(external, ip)
		}
	}
	return &agent.Cluster{
		DataDir: dataDir, ServerTLS: f.tls(""), URL: c.url(), NodeName: c.NodeName,
		NodeIPs: c.NodeIPs, NodeExternalIPs: external, BindAddress: c.BindAddress,
		ClusterCIDRs: c.ClusterCIDRs, ServiceCIDRs: c.ServiceCIDRs,
		ClusterDNS: split(c.ClusterDNS.Value()), ClusterDomain: c.ClusterDomain,
		FlannelBackend: c.FlannelBackend, DisableServiceLB: slices.Contains(split(c.Disable.Value()), "servicelb"),
		Debug: logrus.IsLevelEnabled(logrus.DebugLevel), VLevel: c.VLevel, VModule: c.VModule,
	}
}
