// The flags of `k3s server`, with k3s's names, aliases, defaults and environment
// variables. Those on which the stand-in acts are bound to server.Options; inert.go has
// the others.
package cli

import (
	"slices"

	"github.com/urfave/cli/v2"

	"sandbar.dev/hack/k3s/internal/server"
	"sandbar.dev/hack/k3s/internal/version"
)

func env(name string) []string { return []string{version.ProgramUpper + "_" + name} }

// debugFlag exists on the program and on its commands.
func debugFlag(d *bool) cli.Flag {
	return &cli.BoolFlag{Name: "debug", Usage: "(logging) Turn on debug logs", Destination: d, EnvVars: env("DEBUG")}
}

// configFlag is shown and accepted here; package configfile has read it before.
func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "(config) Load configuration from `FILE`",
		EnvVars: env("CONFIG_FILE"), Value: defaultConfig}
}

func serverFlags(o *server.Options, debug *bool) []cli.Flag {
	own := []cli.Flag{
		configFlag(),
		debugFlag(debug),
		&cli.IntFlag{Name: "v", Usage: "(logging) Number for the log level verbosity", Destination: &o.VLevel},
		&cli.StringFlag{Name: "vmodule", Usage: "(logging) Comma-separated list of FILE_PATTERN=LOG_LEVEL settings for file-filtered logging", Destination: &o.VModule},
		&cli.StringFlag{Name: "log", Aliases: []string{"l"}, Usage: "(logging) Log to file", Destination: &o.LogFile},
		&cli.BoolFlag{Name: "alsologtostderr", Usage: "(logging) Log to standard error as well as file (if set)", Destination: &o.AlsoLogToStderr},

		&cli.StringFlag{Name: "bind-address", Usage: "(listener) k3s bind address (default: 0.0.0.0)", Destination: &o.BindAddress},
		&cli.IntFlag{Name: "https-listen-port", Usage: "(listener) HTTPS listen port", Value: 6443, Destination: &o.HTTPSPort},
		&cli.StringFlag{Name: "advertise-address", Usage: "(listener) IPv4/IPv6 address that apiserver uses to advertise to members of the cluster (default: node-external-ip/node-ip)", Destination: &o.AdvertiseAddress},
		&cli.IntFlag{Name: "advertise-port", Usage: "(listener) Port that apiserver uses to advertise to members of the cluster (default: listen-port)", Destination: &o.AdvertisePort},
		&cli.StringSliceFlag{Name: "tls-san", Usage: "(listener) Add additional hostnames or IPv4/IPv6 addresses as Subject Alternative Names on the server TLS cert", Destination: &o.TLSSan},

		&cli.StringFlag{Name: "data-dir", Aliases: []string{"d"}, Usage: "(data) Folder to hold state default /var/lib/rancher/k3s or ${HOME}/.rancher/k3s if not root", Destination: &o.DataDir, EnvVars: env("DATA_DIR")},

		&cli.StringSliceFlag{Name: "cluster-cidr", Usage: "(networking) IPv4/IPv6 network CIDRs to use for pod IPs (default: 10.42.0.0/16)", Destination: &o.ClusterCIDR},
		&cli.StringSliceFlag{Name: "service-cidr", Usage: "(networking) IPv4/IPv6 network CIDRs to use for service IPs (default: 10.43.0.0/16)", Destination: &o.ServiceCIDR},
		&cli.StringFlag{Name: "service-node-port-range", Usage: "(networking) Port range to reserve for services with NodePort visibility", Value: "30000-32767", Destination: &o.ServiceNodePortRange},
		&cli.StringSliceFlag{Name: "cluster-dns", Usage: "(networking) IPv4 Cluster IP for coredns service. Should be in your service-cidr range (default: 10.43.0.10)", Destination: &o.ClusterDNS},
		&cli.StringFlag{Name: "cluster-domain", Usage: "(networking) Cluster Domain", Value: "cluster.local", Destination: &o.ClusterDomain},
		&cli.StringFlag{Name: "flannel-backend", Usage: "(networking) Backend (valid values: 'none', 'vxlan', 'host-gw', 'wireguard-native')", Value: "vxlan", Destination: &o.FlannelBackend},
		&cli.BoolFlag{Name: "flannel-external-ip", Usage: "(networking) Use node external IP addresses for Flannel traffic", Destination: &o.FlannelExternalIP},
		&cli.StringFlag{Name: "egress-selector-mode", Usage: "(networking) One of 'agent', 'cluster', 'pod', 'disabled'", Value: "agent", Destination: &o.EgressSelectorMode},

		&cli.StringFlag{Name: "write-kubeconfig", Aliases: []string{"o"}, Usage: "(client) Write kubeconfig for admin client to this file", Destination: &o.KubeconfigOutput, EnvVars: env("KUBECONFIG_OUTPUT")},
		&cli.StringFlag{Name: "write-kubeconfig-mode", Usage: "(client) Write kubeconfig with this mode", Destination: &o.KubeconfigMode, EnvVars: env("KUBECONFIG_MODE")},

		&cli.StringFlag{Name: "token", Aliases: []string{"t"}, Usage: "(cluster) Shared secret used to join a server or agent to a cluster", Destination: &o.Token, EnvVars: env("TOKEN")},
		&cli.StringFlag{Name: "token-file", Usage: "(cluster) File containing the token", Destination: &o.TokenFile, EnvVars: env("TOKEN_FILE")},
		&cli.StringFlag{Name: "agent-token", Usage: "(cluster) Shared secret used to join agents to the cluster, but not servers", Destination: &o.AgentToken, EnvVars: env("AGENT_TOKEN")},
		&cli.StringFlag{Name: "agent-token-file", Usage: "(cluster) File containing the agent secret", Destination: &o.AgentTokenFile, EnvVars: env("AGENT_TOKEN_FILE")},
		&cli.StringFlag{Name: "server", Aliases: []string{"s"}, Usage: "(cluster) Server to connect to, used to join a cluster (refused by the stand-in)", Destination: &o.ServerURL, EnvVars: env("URL")},
		&cli.BoolFlag{Name: "cluster-init", Usage: "(cluster) Initialize a new cluster using embedded Etcd (refused by the stand-in)", Destination: &o.ClusterInit, EnvVars: env("CLUSTER_INIT")},
		&cli.BoolFlag{Name: "cluster-reset", Usage: "(cluster) Forget all peers and become sole member of a new cluster (refused by the stand-in)", Destination: &o.ClusterReset, EnvVars: env("CLUSTER_RESET")},

		&cli.StringSliceFlag{Name: "kube-apiserver-arg", Usage: "(flags) Customized flag for kube-apiserver process", Destination: &o.APIServerArgs},
		&cli.StringSliceFlag{Name: "kube-controller-manager-arg", Aliases: []string{"kube-controller-arg"}, Usage: "(flags) Customized flag for kube-controller-manager process", Destination: &o.ControllerArgs},
		&cli.StringSliceFlag{Name: "kube-scheduler-arg", Usage: "(flags) Customized flag for kube-scheduler process", Destination: &o.SchedulerArgs},

		&cli.StringFlag{Name: "datastore-endpoint", Usage: "(db) Specify etcd, NATS, MySQL, Postgres, or SQLite (default) data source name", Destination: &o.DatastoreEndpoint, EnvVars: env("DATASTORE_ENDPOINT")},
		&cli.StringFlag{Name: "datastore-cafile", Usage: "(db) TLS Certificate Authority file used to secure datastore backend communication", Destination: &o.DatastoreCA, EnvVars: env("DATASTORE_CAFILE")},
		&cli.StringFlag{Name: "datastore-certfile", Usage: "(db) TLS certification file used to secure datastore backend communication", Destination: &o.DatastoreCert, EnvVars: env("DATASTORE_CERTFILE")},
		&cli.StringFlag{Name: "datastore-keyfile", Usage: "(db) TLS key file used to secure datastore backend communication", Destination: &o.DatastoreKey, EnvVars: env("DATASTORE_KEYFILE")},

		&cli.StringSliceFlag{Name: "disable", Usage: "(components) Do not deploy packaged components and delete any deployed components (valid items: coredns, servicelb, traefik, local-storage, metrics-server, runtimes)", Destination: &o.Disable},
		&cli.BoolFlag{Name: "disable-scheduler", Usage: "(components) Disable Kubernetes default scheduler", Destination: &o.DisableScheduler},
		&cli.BoolFlag{Name: "disable-cloud-controller", Usage: "(components) Disable k3s default cloud controller manager", Destination: &o.DisableCCM},
		&cli.BoolFlag{Name: "disable-controller-manager", Hidden: true, Usage: "(experimental/components) Disable running kube-controller-manager", Destination: &o.DisableControllerManager},
		&cli.BoolFlag{Name: "disable-apiserver", Hidden: true, Usage: "(experimental/components) Disable running api server", Destination: &o.DisableAPIServer},
		&cli.BoolFlag{Name: "disable-agent", Hidden: true, Usage: "Do not run a local agent and register a local kubelet", Destination: &o.DisableAgent},
		&cli.BoolFlag{Name: "secrets-encryption", Usage: "Enable secret encryption at rest", Destination: &o.EncryptSecrets},
		&cli.BoolFlag{Name: "rootless", Usage: "(experimental) Run rootless (refused by the stand-in)", Destination: &o.Rootless},

		&cli.StringFlag{Name: "node-name", Usage: "(agent/node) Node name", Destination: &o.NodeName, EnvVars: env("NODE_NAME")},
		&cli.StringSliceFlag{Name: "node-ip", Aliases: []string{"i"}, Usage: "(agent/networking) IPv4/IPv6 addresses to advertise for node", Destination: &o.NodeIP},
		&cli.StringSliceFlag{Name: "node-external-ip", Usage: "(agent/networking) IPv4/IPv6 external IP addresses to advertise for node", Destination: &o.NodeExternalIP},
	}
	return slices.Concat(own, nodeFlags(&o.Agent), sharedNodeFlags(&o.Agent), inertFlags())
}
