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
	if err := validateCgroups(); err != nil {
		return nil, err
	}
	n, err := NewNode(o, c)
	if err != nil {
		return nil, err
	}
	if err := checkPrograms(n); err != nil {
		return nil, err
	}
	if err := writeFiles(n, c.ServerTLS); err != nil {
		return nil, fmt.Errorf("failed to prepare agent: %w", err)
	}
	if n.ContainerRuntimeEndpoint == "" {
		if err := checkSnapshotter(n.AgentConfig.Snapshotter, n.Containerd.Root); err != nil {
			return nil, err
		}
	}
	conntrack, err := component.ReadConntrack(args.Merge(nil, n.AgentConfig.ExtraKubeProxyArgs))
	if err != nil {
		return nil, fmt.Errorf("failed to validate kube-proxy conntrack configuration: %w", err)
	}
	ipv6 := false
	for _, s := range n.AgentConfig.ClusterCIDRs {
		ipv6 = ipv6 || netutils.IsIPv6CIDR(s)
	}
	setupSystem(ipv6, conntrack)
	if err := writeCrictl(n); err != nil {
		return nil, err
	}
	if !n.NoFlannel {
		if err := writeFlannel(n); err != nil {
			return nil, err
		}
	}
	if n.ContainerRuntimeEndpoint != "" {
		return n, nil
	}
	config, err := newContainerdConfig(n)
	if err != nil {
		return nil, err
	}
	if err := writeContainerdConfig(n, config); err != nil {
		return nil, err
	}
	return n, writeHosts(n.Containerd.Registry, n.AgentConfig.Registry, n.Containerd.NoDefault)
}
