// The flags of `k3s agent`, with k3s's names, aliases, defaults and environment variables.
package cli

import (
	"slices"

	"github.com/urfave/cli/v2"

	"sandbar.dev/hack/k3s/internal/join"
)

func agentFlags(o *join.Options, debug *bool) []cli.Flag {
	own := []cli.Flag{
		configFlag(),
		debugFlag(debug),
		&cli.IntFlag{Name: "v", Usage: "(logging) Number for the log level verbosity", Destination: &o.VLevel},
		&cli.StringFlag{Name: "vmodule", Usage: "(logging) Comma-separated list of FILE_PATTERN=LOG_LEVEL settings for file-filtered logging", Destination: &o.VModule},
		&cli.StringFlag{Name: "log", Aliases: []string{"l"}, Usage: "(logging) Log to file", Destination: &o.LogFile},
		&cli.BoolFlag{Name: "alsologtostderr", Usage: "(logging) Log to standard error as well as file (if set)", Destination: &o.AlsoLogToStderr},

		&cli.StringFlag{Name: "token", Aliases: []string{"t"}, Usage: "(cluster) Token to use for authentication", Destination: &o.Token, EnvVars: env("TOKEN")},
		&cli.StringFlag{Name: "token-file", Usage: "(cluster) Token file to use for authentication", Destination: &o.TokenFile, EnvVars: env("TOKEN_FILE")},
		&cli.StringFlag{Name: "server", Aliases: []string{"s"}, Usage: "(cluster) Server to connect to", Destination: &o.ServerURL, EnvVars: env("URL")},

		&cli.StringFlag{Name: "data-dir", Aliases: []string{"d"}, Usage: "(data) Folder to hold state default /var/lib/rancher/k3s or ${HOME}/.rancher/k3s if not root", Destination: &o.DataDir, EnvVars: env("DATA_DIR")},

		&cli.StringFlag{Name: "node-name", Usage: "(agent/node) Node name", Destination: &o.NodeName, EnvVars: env("NODE_NAME")},
		&cli.IntFlag{Name: "lb-server-port", Value: 6444, Usage: "(agent/node) Local port for supervisor client load-balancer", Destination: &o.LBServerPort, EnvVars: env("LB_SERVER_PORT")},
		&cli.StringFlag{Name: "bind-address", Usage: "(listener) k3s bind address (default: 0.0.0.0)", Destination: &o.BindAddress},
		&cli.StringSliceFlag{Name: "node-ip", Aliases: []string{"i"}, Usage: "(agent/networking) IPv4/IPv6 addresses to advertise for node", Destination: &o.NodeIP},
		&cli.StringSliceFlag{Name: "node-external-ip", Usage: "(agent/networking) IPv4/IPv6 external IP addresses to advertise for node", Destination: &o.NodeExternalIP},
		&cli.BoolFlag{Name: "rootless", Usage: "(experimental) Run rootless (refused by the stand-in)", Destination: &o.Rootless},
	}
	return slices.Concat(own, nodeFlags(&o.Agent), inertAgentFlags())
}
