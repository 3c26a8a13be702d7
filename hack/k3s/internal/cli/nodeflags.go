// The flags of k3s that are about its node, with k3s's names, defaults and variables: for servers
// and agents alike, and those by which the server decides for all.
package cli

import (
	"github.com/urfave/cli/v2"

	"sandbar.dev/hack/k3s/internal/agent"
)

func nodeFlags(o *agent.Options) []cli.Flag {
	const credentials = "/var/lib/rancher/credentialprovider/"
	return []cli.Flag{
		&cli.BoolFlag{Name: "with-node-id", Usage: "(agent/node) Append id to node name", Destination: &o.WithNodeID},
		&cli.StringSliceFlag{Name: "node-label", Usage: "(agent/node) Registering and starting kubelet with set of labels", Destination: &o.NodeLabels},
		&cli.StringSliceFlag{Name: "node-taint", Usage: "(agent/node) Registering kubelet with set of taints", Destination: &o.NodeTaints},
		&cli.StringFlag{Name: "image-credential-provider-bin-dir", Usage: "(agent/node) The path to the directory where credential provider plugin binaries are located", Value: credentials + "bin", Destination: &o.ImageCredProvBinDir},
		&cli.StringFlag{Name: "image-credential-provider-config", Usage: "(agent/node) The path to the credential provider plugin config file", Value: credentials + "config.yaml", Destination: &o.ImageCredProvConfig},
		&cli.BoolFlag{Name: "selinux", Usage: "(agent/node) Enable SELinux in containerd", Destination: &o.SELinux, EnvVars: env("SELINUX")},
		&cli.BoolFlag{Name: "protect-kernel-defaults", Usage: "(agent/node) Kernel tuning behavior. If set, error if kernel tunables are different than kubelet defaults.", Destination: &o.ProtectKernelDefaults},

		&cli.StringFlag{Name: "container-runtime-endpoint", Usage: "(agent/runtime) Disable embedded containerd and use the CRI socket at the given path", Destination: &o.ContainerRuntimeEndpoint},
		&cli.StringFlag{Name: "default-runtime", Usage: "(agent/runtime) Set the default runtime in containerd", Destination: &o.DefaultRuntime},
		&cli.StringFlag{Name: "image-service-endpoint", Usage: "(agent/runtime) Disable embedded containerd image service and use remote image service socket at the given path", Destination: &o.ImageServiceEndpoint},
		&cli.StringFlag{Name: "pause-image", Usage: "(agent/runtime) Customized pause image for containerd or docker sandbox", Value: "rancher/mirrored-pause:3.6", Destination: &o.PauseImage},
		&cli.StringFlag{Name: "snapshotter", Usage: "(agent/runtime) Override default containerd snapshotter", Value: "overlayfs", Destination: &o.Snapshotter},
		&cli.StringFlag{Name: "private-registry", Usage: "(agent/runtime) Private registry configuration file", Value: "/etc/rancher/k3s/registries.yaml", Destination: &o.PrivateRegistry},
		&cli.StringSliceFlag{Name: "airgap-extra-registry", Hidden: true, Usage: "(agent/runtime) Additional registry to tag airgap images as being sourced from", Destination: &o.AirgapExtraRegistry},
		&cli.BoolFlag{Name: "disable-default-registry-endpoint", Usage: "(agent/containerd) Disables containerd's fallback default registry endpoint when a mirror is configured for that registry", Destination: &o.DisableDefaultRegistryEndpoint},
		&cli.BoolFlag{Name: "nonroot-devices", Usage: "(agent/containerd) Allows non-root pods to access devices by setting device_ownership_from_security_context=true in the containerd CRI config", Destination: &o.NonrootDevices},
		&cli.BoolFlag{Name: "prefer-bundled-bin", Usage: "(agent/runtime) Prefer bundled userspace binaries over host binaries", Destination: &o.PreferBundledBin},
		&cli.BoolFlag{Name: "docker", Usage: "(agent/runtime) Use cri-dockerd instead of containerd (refused by the stand-in)", Destination: &o.Docker},

		&cli.StringFlag{Name: "resolv-conf", Usage: "(agent/networking) Kubelet resolv.conf file", Destination: &o.ResolvConf, EnvVars: env("RESOLV_CONF")},
		&cli.StringFlag{Name: "flannel-iface", Usage: "(agent/networking) Override default flannel interface", Destination: &o.FlannelIface},
		&cli.StringFlag{Name: "flannel-conf", Usage: "(agent/networking) Override default flannel config file", Destination: &o.FlannelConf},
		&cli.StringFlag{Name: "flannel-cni-conf", Usage: "(agent/networking) Override default flannel cni config file", Destination: &o.FlannelCniConf},
		&cli.StringSliceFlag{Name: "kubelet-arg", Usage: "(agent/flags) Customized flag for kubelet process", Destination: &o.KubeletArgs},
		&cli.StringSliceFlag{Name: "kube-proxy-arg", Usage: "(agent/flags) Customized flag for kube-proxy process", Destination: &o.KubeProxyArgs},
	}
}

func sharedNodeFlags(o *agent.Options) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "system-default-registry", Usage: "(agent/runtime) Private registry to be used for all system images", Destination: &o.SystemDefaultRegistry, EnvVars: env("SYSTEM_DEFAULT_REGISTRY")},
		&cli.BoolFlag{Name: "disable-kube-proxy", Usage: "(components) Disable running kube-proxy", Destination: &o.DisableKubeProxy},
		&cli.BoolFlag{Name: "disable-network-policy", Usage: "(components) Disable k3s default network policy controller", Destination: &o.DisableNetworkPolicy},
	}
}
