// What the node is made of. The names of types and fields are those that k3s's containerd
// config templates may use, so users' templates work here too.
package agent

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	netutils "k8s.io/utils/net"

	"sandbar.dev/hack/k3s/internal/version"
)

// runtimeState is not below the data directory: sockets want short paths.
const runtimeState = "/run/k3s/containerd"

// Cluster is what the node has to know of its server.
type Cluster struct {
	DataDir                    string
	URL                        string
	Issuer                     Issuer // of the node's certificates
	NodeName                   string
	NodeIPs, NodeExternalIPs   []net.IP
	BindAddress                string
	ClusterCIDRs, ServiceCIDRs []*net.IPNet
	ClusterDNS                 []string
	ClusterDomain              string
	FlannelBackend             string
	DisableServiceLB, Debug    bool
	VLevel                     int
	VModule                    string
}

// Node is k3s's NodeConfig.
type Node struct {
	Docker, SELinux, NoFlannel                     bool
	ContainerRuntimeEndpoint, ImageServiceEndpoint string
	DefaultRuntime, FlannelBackend, Images         string
	FlannelConfFile, FlannelCniConfFile            string
	FlannelIface                                   string
	FlannelConfOverride, DisableKubeProxy          bool
	AgentConfig                                    Agent
	Containerd                                     Containerd
}

// Agent is k3s's AgentConfig.
type Agent struct {
	DataDir, URL                                string
	NodeName, NodeConfigPath                    string
	NodeIP                                      string
	NodeIPs, NodeExternalIPs                    []net.IP
	ListenAddress, ClusterDomain, ResolvConf    string
	ClusterDNSs                                 []string
	ClusterCIDRs, ServiceCIDRs                  []*net.IPNet
	ClientCA, ServerCA                          string
	ClientKubeletCert, ClientKubeletKey         string
	ServingKubeletCert, ServingKubeletKey       string
	KubeConfigKubelet, KubeConfigKubeProxy      string
	KubeConfigK3sController                     string
	KubeletConfigDir, PodManifests              string
	RuntimeSocket, ImageServiceSocket           string
	CNIBinDir, CNIConfDir                       string
	PauseImage, Snapshotter                     string
	SystemDefaultRegistry                       string
	AirgapExtraRegistry, NodeLabels, NodeTaints []string
	ExtraKubeletArgs, ExtraKubeProxyArgs        []string
	ImageCredProvBinDir, ImageCredProvConfig    string
	ProtectKernelDefaults, Systemd              bool
	DisableServiceLB                            bool
	VLevel                                      int
	VModule                                     string
	Registry                                    *Registry
}

// Containerd is k3s's configuration of its containerd.
type Containerd struct {
	Address, State, Root, Opt, Log   string
	Config, Template, Registry       string
	BlockIOConfig, RDTConfig         string
	ConfigVersion                    int
	NoDefault, NonrootDevices, Debug bool
}

// NewNode turns options into the node's configuration. It looks at files, and writes none
// but the node's id and a resolv.conf, where k3s writes them.
func NewNode(o *Options, c *Cluster) (*Node, error) {
	if o.Docker {
		return nil, fmt.Errorf("this k3s stand-in does not have cri-dockerd (--docker)")
	}
	dir := filepath.Join(c.DataDir, "agent")
	at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	n := &Node{
		SELinux:                  o.SELinux,
		NoFlannel:                c.FlannelBackend == "none",
		FlannelBackend:           c.FlannelBackend,
		ContainerRuntimeEndpoint: o.ContainerRuntimeEndpoint,
		ImageServiceEndpoint:     o.ImageServiceEndpoint,
		DefaultRuntime:           o.DefaultRuntime,
		DisableKubeProxy:         o.DisableKubeProxy,
		Images:                   at("images"),
		FlannelConfFile:          o.FlannelConf,
		FlannelConfOverride:      o.FlannelConf != "",
		FlannelCniConfFile:       o.FlannelCniConf,
		FlannelIface:             o.FlannelIface,
		Containerd: Containerd{
			State: runtimeState, Address: filepath.Join(runtimeState, "containerd.sock"),
			Root: at("containerd"), Opt: at("containerd"), Log: at("containerd", "containerd.log"),
			Config: at("etc", "containerd", "config.toml"), Template: at("etc", "containerd"),
			Registry: at("etc", "containerd", "certs.d"), ConfigVersion: 3,
			NoDefault: o.DisableDefaultRegistryEndpoint, NonrootDevices: o.NonrootDevices, Debug: c.Debug,
			BlockIOConfig: ifRegular(at("etc", "containerd", "blockio_config.yaml")),
			RDTConfig:     ifRegular(at("etc", "containerd", "rdt_config.yaml")),
		},
		AgentConfig: Agent{
			DataDir: c.DataDir, URL: c.URL, NodeName: c.NodeName, NodeConfigPath: nodeConfig,
			NodeIPs: c.NodeIPs, NodeExternalIPs: c.NodeExternalIPs, NodeIP: c.NodeIPs[0].String(),
			ClusterDomain: c.ClusterDomain, ClusterCIDRs: c.ClusterCIDRs, ServiceCIDRs: c.ServiceCIDRs,
			ClientCA: at("client-ca.crt"), ServerCA: at("server-ca.crt"),
			ClientKubeletCert: at("client-kubelet.crt"), ClientKubeletKey: at("client-kubelet.key"),
			ServingKubeletCert: at("serving-kubelet.crt"), ServingKubeletKey: at("serving-kubelet.key"),
			KubeConfigKubelet: at("kubelet.kubeconfig"), KubeConfigKubeProxy: at("kubeproxy.kubeconfig"),
			KubeConfigK3sController: at(version.Program + "controller.kubeconfig"),
			KubeletConfigDir:        at("etc", "kubelet.conf.d"), PodManifests: at("pod-manifests"),
			ImageServiceSocket: o.ImageServiceEndpoint, RuntimeSocket: o.ContainerRuntimeEndpoint,
			PauseImage: o.PauseImage, Snapshotter: o.Snapshotter,
			SystemDefaultRegistry: o.SystemDefaultRegistry, AirgapExtraRegistry: o.AirgapExtraRegistry.Value(),
			NodeLabels: o.NodeLabels.Value(), NodeTaints: o.NodeTaints.Value(),
			ExtraKubeletArgs: o.KubeletArgs.Value(), ExtraKubeProxyArgs: o.KubeProxyArgs.Value(),
			ImageCredProvBinDir: o.ImageCredProvBinDir, ImageCredProvConfig: o.ImageCredProvConfig,
			ProtectKernelDefaults: o.ProtectKernelDefaults, DisableServiceLB: c.DisableServiceLB,
			VLevel: c.VLevel, VModule: c.VModule,
		},
	}
	a := &n.AgentConfig
	if !n.NoFlannel {
		hostLocal, err := exec.LookPath("host-local")
		if err != nil {
			return nil, fmt.Errorf("failed to find host-local: %w", err)
		}
		a.CNIBinDir, a.CNIConfDir = filepath.Dir(hostLocal), at("etc", "cni", "net.d")
		if n.FlannelConfFile == "" {
			n.FlannelConfFile = at("etc", "flannel", "net-conf.json")
		}
	}
	if a.RuntimeSocket == "" {
		a.RuntimeSocket = n.Containerd.Address
	}
	if reg := o.SystemDefaultRegistry; reg != "" {
		if a.PauseImage != "" && !strings.HasPrefix(a.PauseImage, reg) {
			a.PauseImage = reg + "/" + a.PauseImage
		}
		a.AirgapExtraRegistry = append(a.AirgapExtraRegistry, reg)
	}
	if o.WithNodeID {
		id, err := nodeID(filepath.Join(a.NodeConfigPath, "id"))
		if err != nil {
			return nil, fmt.Errorf("node id: %w", err)
		}
		a.NodeName += "-" + id
	}
	a.ListenAddress = c.BindAddress
	if a.ListenAddress == "" {
		a.ListenAddress = "0.0.0.0"
		if netutils.IsIPv6(c.NodeIPs[0]) {
			a.ListenAddress = "::"
		}
	}
	dns, err := ClusterDNS(c.ClusterDNS, c.ServiceCIDRs)
	if err != nil {
		return nil, err
	}
	a.ClusterDNSs = dns
	if err := sameFamilies(a); err != nil {
		return nil, err
	}
	registry, err := readRegistries(o.PrivateRegistry)
	if err != nil {
		return nil, err
	}
	a.Registry = registry
	a.ResolvConf = resolvConf(o.ResolvConf, at("etc", "resolv.conf"))
	return n, nil
}

// ClusterDNS defaults to the tenth address of every service network.
func ClusterDNS(given []string, services []*net.IPNet) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	var out []string
	for _, s := range services {
		ip, err := netutils.GetIndexedIP(s, 10)
		if err != nil {
			return nil, fmt.Errorf("cannot configure default cluster-dns address: %w", err)
		}
		out = append(out, ip.String())
	}
	return out, nil
}

// sameFamilies is k3s's check that node, pods and services speak the same IP versions.
func sameFamilies(a *Agent) error {
	families := func(v4, v6 bool) string { return fmt.Sprint(v4, v6) }
	of := func(nets []*net.IPNet) string {
		v4, v6 := false, false
		for _, n := range nets {
			v4, v6 = v4 || netutils.IsIPv4CIDR(n), v6 || netutils.IsIPv6CIDR(n)
		}
		return families(v4, v6)
	}
	if of(a.ClusterCIDRs) != of(a.ServiceCIDRs) {
		return fmt.Errorf("cluster-cidr: %v and service-cidr: %v, must share the same IP version (IPv4, IPv6 or dual-stack)", a.ClusterCIDRs, a.ServiceCIDRs)
	}
	for _, n := range a.ClusterCIDRs {
		has := false
		for _, ip := range a.NodeIPs {
			has = has || netutils.IsIPv6(ip) == netutils.IsIPv6CIDR(n)
		}
		if !has {
			return fmt.Errorf("cluster-cidr: %v and node-ip: %v, must share the same IP version (IPv4, IPv6 or dual-stack)", a.ClusterCIDRs, a.NodeIPs)
		}
	}
	return nil
}

func ifRegular(file string) string {
	if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
		logrus.Infof("Using %s", file)
		return file
	}
	return ""
}

func joinNets(nets []*net.IPNet) string {
	s := make([]string, 0, len(nets))
	for _, n := range nets {
		s = append(s, n.String())
	}
	return strings.Join(s, ",")
}
