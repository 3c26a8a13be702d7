// Package join is `k3s agent`: a node of another's cluster.
package join

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/args"
	"sandbar.dev/hack/k3s/internal/supervisor"
	"sandbar.dev/hack/k3s/internal/token"
)

// Options holds the flags of `k3s agent`, as they were given.
type Options struct {
	DataDir, ServerURL, Token, TokenFile string
	NodeName, BindAddress                string
	NodeIP, NodeExternalIP               cli.StringSlice
	LBServerPort                         int
	Rootless                             bool
	VLevel                               int
	VModule, LogFile                     string
	AlsoLogToStderr                      bool
	Agent                                agent.Options
}

// Config is a checked configuration of an agent.
type Config struct {
	Options
	Address     string // of the server: host and port
	NodeIPs     []net.IP
	ExternalIPs []net.IP
}

// NewConfig checks the options in k3s's order. DataDir is resolved.
func NewConfig(o *Options) (*Config, error) {
	switch {
	case o.Rootless:
		return nil, errors.New("this k3s stand-in does not have rootless mode (--rootless)")
	case o.Agent.Docker:
		return nil, errors.New("this k3s stand-in does not have cri-dockerd (--docker)")
	}
	c := &Config{Options: *o}
	var err error
	if c.Token, err = token.From(o.Token, o.TokenFile); err != nil {
		return nil, err
	}
	// A node that has joined before is known by its certificate.
	if _, err := tls.LoadX509KeyPair(c.clientCert()); err != nil && c.Token == "" {
		return nil, errors.New("--token is required")
	}
	if c.ServerURL == "" {
		return nil, errors.New("--server is required")
	}
	if c.Address, err = parseServer(c.ServerURL); err != nil {
		return nil, err
	}
	if c.NodeName, c.NodeIPs, err = agent.NameAndIPs(o.NodeName, args.Split(o.NodeIP.Value())); err != nil {
		return nil, fmt.Errorf("failed to get node name and addresses: %w", err)
	}
	for _, s := range args.Split(o.NodeExternalIP.Value()) {
		ip := net.ParseIP(s)
		if ip == nil {
			return nil, fmt.Errorf("invalid node-external-ip: invalid ip format '%s'", s)
		}
		c.ExternalIPs = append(c.ExternalIPs, ip)
	}
	return c, nil
}

// clientCert is kubelet's, with its key.
func (c *Config) clientCert() (cert, key string) {
	return filepath.Join(c.DataDir, "agent", "client-kubelet.crt"), filepath.Join(c.DataDir, "agent", "client-kubelet.key")
}

// cluster is what the node has to know: from the server what all its nodes share, the rest from
// our own flags.
func (c *Config) cluster(s *supervisor.Config, url string) *agent.Cluster {
	var dns []string
	for _, ip := range s.ClusterDNSs {
		dns = append(dns, ip.String())
	}
	return &agent.Cluster{
		DataDir: c.DataDir, URL: url, NodeName: c.NodeName, NodeIPs: c.NodeIPs, NodeExternalIPs: c.ExternalIPs,
		BindAddress: c.BindAddress, ClusterCIDRs: s.ClusterIPRanges, ServiceCIDRs: s.ServiceIPRanges,
		ClusterDNS: dns, ClusterDomain: s.ClusterDomain, FlannelBackend: s.FlannelBackend, DisableServiceLB: s.DisableServiceLB,
		Debug: logrus.IsLevelEnabled(logrus.DebugLevel), VLevel: c.VLevel, VModule: c.VModule,
	}
}

// node is our own options with what only the server may say.
func (c *Config) node(s *supervisor.Config) *agent.Options {
	o := c.Agent
	o.SystemDefaultRegistry, o.DisableKubeProxy, o.DisableNetworkPolicy = s.SystemDefaultRegistry, s.DisableKubeProxy, s.DisableNPC
	return &o
}
