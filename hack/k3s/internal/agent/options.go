// Package agent is the node: containerd as a child process, kubelet and kube-proxy in this
// one, started and configured as k3s does it.
package agent

import "github.com/urfave/cli/v2"

// Options holds the node's flags, as they were given.
type Options struct {
	ContainerRuntimeEndpoint, ImageServiceEndpoint string
	DefaultRuntime, PauseImage, Snapshotter        string
	PrivateRegistry, SystemDefaultRegistry         string
	ResolvConf, FlannelIface                       string
	FlannelConf, FlannelCniConf                    string
	ImageCredProvBinDir, ImageCredProvConfig       string
	WithNodeID, NonrootDevices, SELinux            bool
	ProtectKernelDefaults, PreferBundledBin        bool
	DisableKubeProxy, DisableNetworkPolicy         bool
	DisableDefaultRegistryEndpoint                 bool
	Docker                                         bool
	KubeletArgs, KubeProxyArgs                     cli.StringSlice
	NodeLabels, NodeTaints, AirgapExtraRegistry    cli.StringSlice
}
