// Validates the options of `k3s server` and fills in k3s's defaults. Nothing here
// touches the disk or starts anything; messages are k3s's own where it has one.
package server

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	netutils "k8s.io/utils/net"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/args"
	"sandbar.dev/hack/k3s/internal/token"
)

// Config is a checked configuration of the control plane.
type Config struct {
	Options
	NodeIPs                          []net.IP
	SANs                             []string
	ClusterCIDRs, ServiceCIDRs       []*net.IPNet
	Kubeconfig                       string      // where the admin's kubeconfig is written
	KubeconfigPerm                   os.FileMode // and with which mode
	TokenValue, AgentTokenValue      string
	APIServer, Controller, Scheduler []string // the user's own flags for each component
}

// NewConfig checks the options in k3s's order.
func NewConfig(o *Options) (*Config, error) {
	if os.Getuid() != 0 && !o.DisableAgent && !o.Rootless {
		return nil, fmt.Errorf("server must run as root, or with --rootless and/or --disable-agent")
	}
	c := &Config{Options: *o}
	for _, step := range []func() error{c.notBuilt, c.tokens, c.node, c.networks, c.kubeconfig, c.hostLocal} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	c.APIServer, c.Controller, c.Scheduler = o.APIServerArgs.Value(), o.ControllerArgs.Value(), o.SchedulerArgs.Value()
	return c, nil
}

// notBuilt refuses what would silently be something else than what was asked for.
func (c *Config) notBuilt() error {
	const not = "this k3s stand-in does not have "
	switch {
	case c.ServerURL != "":
		return fmt.Errorf("%sa join to another server (--server)", not)
	case c.ClusterInit || c.ClusterReset:
		return fmt.Errorf("%sembedded etcd (--cluster-init, --cluster-reset)", not)
	case c.DisableAPIServer:
		return fmt.Errorf("%sservers without an apiserver (--disable-apiserver)", not)
	case c.Rootless:
		return fmt.Errorf("%srootless mode (--rootless)", not)
	}
	return nil
}

func (c *Config) tokens() (err error) {
	c.TokenValue, err = secretFrom(c.Token, c.TokenFile)
	if err == nil {
		c.AgentTokenValue, err = secretFrom(c.AgentToken, c.AgentTokenFile)
	}
	return err
}

// secretFrom reads a secret from its flag or file; of k3s's full form it takes the secret.
func secretFrom(value, file string) (string, error) {
	value, err := token.From(value, file)
	if err != nil || !strings.HasPrefix(value, "K10") {
		return value, err
	}
	if t, err := token.Parse(value); err == nil {
		value = t.Secret
	}
	return value, nil
}

// node finds the node's name and addresses, and the names that the serving certificate covers.
func (c *Config) node() (err error) {
	if c.NodeName, c.NodeIPs, err = agent.NameAndIPs(c.NodeName, args.Split(c.NodeIP.Value())); err != nil {
		return err
	}
	if external := args.Split(c.NodeExternalIP.Value()); c.AdvertiseAddress == "" && len(external) > 0 {
		c.AdvertiseAddress = external[0]
	}
	if c.AdvertiseAddress == "" && len(c.NodeIP.Value()) > 0 {
		c.AdvertiseAddress = c.NodeIPs[0].String()
	}
	if c.AdvertisePort == 0 {
		c.AdvertisePort = c.HTTPSPort
	}
	c.SANs = append(args.Split(c.TLSSan.Value()), "127.0.0.1", "::1", "localhost", c.NodeName)
	for _, ip := range c.NodeIPs {
		c.SANs = append(c.SANs, ip.String())
	}
	if c.AdvertiseAddress != "" {
		c.SANs = append(c.SANs, c.AdvertiseAddress)
	}
	return nil
}

func (c *Config) networks() (err error) {
	cluster, service := "10.42.0.0/16", "10.43.0.0/16"
	if c.NodeIPs[0].To4() == nil {
		cluster, service = "fd00:42::/56", "fd00:43::/112"
	}
	if c.ClusterCIDRs, err = cidrs("cluster-cidr", c.ClusterCIDR.Value(), cluster); err != nil {
		return err
	}
	if c.ServiceCIDRs, err = cidrs("service-cidr", c.ServiceCIDR.Value(), service); err != nil {
		return err
	}
	if _, err := utilnet.ParsePortRange(c.ServiceNodePortRange); err != nil {
		return fmt.Errorf("invalid port range %s: %w", c.ServiceNodePortRange, err)
	}
	apiIP, err := netutils.GetIndexedIP(c.ServiceCIDRs[0], 1)
	if err != nil {
		return err
	}
	c.SANs = append(c.SANs, apiIP.String())
	for _, s := range args.Split(c.ClusterDNS.Value()) {
		if net.ParseIP(s) == nil {
			return fmt.Errorf("invalid cluster-dns address %s", s)
		}
	}
	if c.BindAddress != "" && net.ParseIP(c.BindAddress) == nil {
		return fmt.Errorf("invalid bind-address %s", c.BindAddress)
	}

	switch c.EgressSelectorMode {
	case "disabled":
	case "agent", "cluster", "pod":
		logrus.Warnf("egress-selector-mode %s: this stand-in has no agent tunnels; the apiserver dials directly, as with 'disabled'", c.EgressSelectorMode)
	default:
		return fmt.Errorf("invalid egress-selector-mode %s", c.EgressSelectorMode)
	}
	return nil
}

// hostLocal keeps k3s's precondition for every flannel backend, and refuses unknown ones.
func (c *Config) hostLocal() error {
	if c.FlannelBackend == "none" {
		return nil
	}
	if _, err := exec.LookPath("host-local"); err != nil {
		return fmt.Errorf("failed to find host-local: %w", err)
	}
	switch c.FlannelBackend {
	case "vxlan", "host-gw", "wireguard-native", "tailscale":
		return nil
	}
	return fmt.Errorf("Cannot configure unknown flannel backend '%s'", c.FlannelBackend) //nolint:staticcheck // k3s's words
}

func (c *Config) kubeconfig() error {
	c.KubeconfigPerm = 0o600
	if c.KubeconfigMode == "" {
		return nil
	}
	mode, err := strconv.ParseInt(c.KubeconfigMode, 8, 0)
	if err != nil {
		logrus.Errorf("failed to set kubeconfig to mode %s: %v", c.KubeconfigMode, err) // k3s goes on too
		return nil
	}
	c.KubeconfigPerm = os.FileMode(mode)
	return nil
}

func cidrs(flag string, given []string, def string) (out []*net.IPNet, err error) {
	list := args.Split(given)
	if len(list) == 0 {
		list = []string{def}
	}
	for _, s := range list {
		_, parsed, err := net.ParseCIDR(s)
		if err != nil {
			return nil, fmt.Errorf("invalid %s %s: %w", flag, s, err)
		}
		out = append(out, parsed)
	}
	return out, nil
}

func join(nets []*net.IPNet) string {
	var s []string
	for _, n := range nets {
		s = append(s, n.String())
	}
	return strings.Join(s, ",")
}
