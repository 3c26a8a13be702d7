// Everything that happens on the host before a node's first process starts, in k3s's order.
package agent

import (
	"fmt"

	netutils "k8s.io/utils/net"

	"sandbar.dev/hack/k3s/internal/args"
	"sandbar.dev/hack/k3s/internal/component"
)

// Prepare checks the host and writes the node's files. The server's certificates must be there.
func Prepare(o *Options, c *Cluster) (*Node, error) {
	if err := ValidateCgroups(); err != nil {
		return nil, err
	}
	n, err := Configure(o, c)
	if err != nil {
		return nil, err
	}
	return n, n.PrepareHost()
}

// Configure is the part in which k3s's agent depends on its server, and which it tries again.
func Configure(o *Options, c *Cluster) (*Node, error) {
	n, err := NewNode(o, c)
	if err != nil {
		return nil, err
	}
	if err := checkPrograms(n); err != nil {
		return nil, err
	}
	if err := writeFiles(n, c.Issuer); err != nil {
		return nil, err
	}
	if n.ContainerRuntimeEndpoint == "" {
		return n, checkSnapshotter(n.AgentConfig.Snapshotter, n.Containerd.Root)
	}
	return n, nil
}

// PrepareHost sets the kernel up and writes the configurations of the runtime and the network.
func (n *Node) PrepareHost() error {
	conntrack, err := component.ReadConntrack(args.Merge(nil, n.AgentConfig.ExtraKubeProxyArgs))
	if err != nil {
		return fmt.Errorf("failed to validate kube-proxy conntrack configuration: %w", err)
	}
	ipv6 := false
	for _, s := range n.AgentConfig.ClusterCIDRs {
		ipv6 = ipv6 || netutils.IsIPv6CIDR(s)
	}
	setupSystem(ipv6, conntrack)
	if err := writeCrictl(n); err != nil {
		return err
	}
	if !n.NoFlannel {
		if err := writeFlannel(n); err != nil {
			return err
		}
	}
	if n.ContainerRuntimeEndpoint != "" {
		return nil
	}
	config, err := newContainerdConfig(n)
	if err != nil {
		return err
	}
	if err := writeContainerdConfig(n, config); err != nil {
		return err
	}
	return writeHosts(n.Containerd.Registry, n.AgentConfig.Registry, n.Containerd.NoDefault)
}
