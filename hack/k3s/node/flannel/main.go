// flannel as k3s runs it, from its upstream packages: it finds the interface, registers the
// node's subnet with the chosen backend, sets up masquerading and forwarding, writes
// subnet.env for its CNI plugin, and keeps routes until it is told to stop. In k3s this is a
// goroutine; here it is a program of its own, because flannel wants another Kubernetes client.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"

	// The backends that k3s offers register themselves.
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	_ "github.com/flannel-io/flannel/pkg/backend/wireguard"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "credentials that may list nodes and patch their annotations")
	config := flag.String("config", "", "net-conf.json")
	iface := flag.String("iface", "", "interface to other nodes; default: that of the default route")
	file := flag.String("subnet-file", "/run/flannel/subnet.env", "what the CNI plugin reads")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := run(ctx, *kubeconfig, *config, *iface, *file); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, configFile, ifname, file string) error {
	manager, err := kube.NewSubnetManager(ctx, "", kubeconfig, "flannel.alpha.coreos.com", configFile, false)
	if err != nil {
		return fmt.Errorf("failed to create the SubnetManager: %w", err)
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("failed to get the network config: %w", err)
	}
	external, err := findInterface(ifname, config)
	if err != nil {
		return fmt.Errorf("failed to find the interface: %w", err)
	}
	be, err := backend.NewManager(ctx, manager, external).GetBackend(config.BackendType)
	if err != nil {
		return fmt.Errorf("failed to create the flannel backend: %w", err)
	}
	var wg sync.WaitGroup
	network, err := be.RegisterNetwork(ctx, &wg, config)
	if err != nil {
		return fmt.Errorf("failed to register flannel network: %w", err)
	}
	lease := network.Lease()

	rules := &iptables.IPTablesManager{}
	if err := rules.Init(ctx); err != nil {
		return fmt.Errorf("failed to initialize flannel traffic manager: %w", err)
	}
	// As k3s without --flannel-ipv6-masq: IPv6 is not masqueraded. The previous networks are
	// this one's: a changed cluster-cidr needs a new node anyway.
	if err := rules.SetupAndEnsureMasqRules(ctx, config.Network, lease.Subnet, config.Network,
		ip.IP6Net{}, lease.IPv6Subnet, config.IPv6Network, lease, 60, false); err != nil {
		return fmt.Errorf("failed to setup masq rules: %w", err)
	}
	rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, 50)
	if err := subnet.WriteSubnetFile(file, config, true, lease.Subnet, lease.IPv6Subnet, network.MTU()); err != nil {
		return fmt.Errorf("failed to write flannel subnet file: %w", err)
	}
	network.Run(ctx)
	wg.Wait()
	return ctx.Err()
}

// findInterface takes the addresses of the interface that leads to other nodes.
func findInterface(name string, config *subnet.Config) (*backend.ExternalInterface, error) {
	var iface *net.Interface
	var err error
	switch {
	case name != "":
		iface, err = net.InterfaceByName(name)
	case config.EnableIPv4:
		iface, err = ip.GetDefaultGatewayInterface()
	default:
		iface, err = ip.GetDefaultV6GatewayInterface()
	}
	if err != nil {
		return nil, err
	}
	if iface.MTU == 0 {
		return nil, fmt.Errorf("failed to determine MTU for %s interface", iface.Name)
	}
	e := &backend.ExternalInterface{Iface: iface, IfaceName: iface.Name}
	if config.EnableIPv4 {
		addrs, err := ip.GetInterfaceIP4Addrs(iface)
		if err != nil {
			return nil, fmt.Errorf("failed to find IPv4 address for interface %s: %w", iface.Name, err)
		}
		e.IfaceAddr, e.ExtAddr = addrs[0], addrs[0]
	}
	if config.EnableIPv6 {
		addrs, err := ip.GetInterfaceIP6Addrs(iface)
		if err != nil {
			return nil, fmt.Errorf("failed to find IPv6 address for interface %s: %w", iface.Name, err)
		}
		e.IfaceV6Addr, e.ExtV6Addr = addrs[0], addrs[0]
	}
	return e, nil
}
