// Flags of k3s that the stand-in accepts and does not act on, either because it lacks
// what they steer (etcd, S3, Helm), or because nothing is left for them to switch
// off. Those whose loss could surprise are told in the log.
package cli

import (
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
)

// quiet are flags that ask for what is so anyway: there is nothing to be told.
var quiet = []string{"disable-helm-controller", "disable-etcd", "etcd-disable-snapshots", "tls-san-security", "lb-server-port"}

func inertFlags() []cli.Flag {
	var out []cli.Flag
	str := func(name, value string, vars ...string) {
		out = append(out, &cli.StringFlag{Name: name, Value: value, EnvVars: vars, Usage: inertUsage})
	}
	for _, name := range []string{"etcd-snapshot-dir", "etcd-s3-endpoint-ca", "etcd-s3-bucket", "etcd-s3-folder",
		"etcd-s3-proxy", "etcd-s3-config-secret", "etcd-s3-bucket-lookup-type", "cluster-reset-restore-path",
		"helm-job-image", "default-local-storage-path"} {
		str(name, "")
	}
	str("servicelb-namespace", "kube-system")
	str("write-kubeconfig-group", "", env("KUBECONFIG_GROUP")...)
	str("etcd-snapshot-name", "etcd-snapshot")
	str("etcd-snapshot-schedule-cron", "0 */12 * * *")
	str("etcd-s3-endpoint", "s3.amazonaws.com")
	str("etcd-s3-region", "us-east-1")
	str("etcd-s3-access-key", "", "AWS_ACCESS_KEY_ID")
	str("etcd-s3-secret-key", "", "AWS_SECRET_ACCESS_KEY")
	str("etcd-s3-session-token", "", "AWS_SESSION_TOKEN")
	str("secrets-encryption-provider", "aescbc")
	str("vpn-auth", "", env("VPN_AUTH")...)
	str("vpn-auth-file", "", env("VPN_AUTH_FILE")...)

	for _, name := range []string{"flannel-ipv6-masq", "etcd-expose-metrics", "etcd-disable-snapshots",
		"etcd-snapshot-compress", "etcd-s3", "etcd-s3-skip-ssl-verify", "etcd-s3-insecure", "kine-tls",
		"disable-helm-controller", "disable-etcd", "embedded-registry", "supervisor-metrics", "enable-pprof"} {
		out = append(out, &cli.BoolFlag{Name: name, Usage: inertUsage})
	}
	for _, name := range []string{"etcd-arg", "kube-cloud-controller-manager-arg", "kube-cloud-controller-arg",
		"node-internal-dns", "node-external-dns"} {
		out = append(out, &cli.StringSliceFlag{Name: name, Usage: inertUsage})
	}
	return append(out,
		&cli.BoolFlag{Name: "tls-san-security", Value: true, Usage: inertUsage},
		&cli.IntFlag{Name: "etcd-snapshot-retention", Value: 5, Usage: inertUsage},
		&cli.IntFlag{Name: "etcd-s3-retention", Value: 5, Usage: inertUsage},
		&cli.IntFlag{Name: "lb-server-port", Value: 6444, EnvVars: env("LB_SERVER_PORT"), Usage: inertUsage},
		&cli.DurationFlag{Name: "etcd-s3-timeout", Value: 5 * time.Minute, Usage: inertUsage},
	)
}

const inertUsage = "accepted, without effect in this stand-in"

// inertAgentFlags are those of `k3s agent`.
func inertAgentFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "vpn-auth", EnvVars: env("VPN_AUTH"), Usage: inertUsage},
		&cli.StringFlag{Name: "vpn-auth-file", EnvVars: env("VPN_AUTH_FILE"), Usage: inertUsage},
		&cli.BoolFlag{Name: "enable-pprof", Usage: inertUsage},
		&cli.StringSliceFlag{Name: "node-internal-dns", Usage: inertUsage},
		&cli.StringSliceFlag{Name: "node-external-dns", Usage: inertUsage},
	}
}

// warnInert says which of the flags that were given do nothing.
func warnInert(c *cli.Context, inert []cli.Flag) {
	for _, f := range inert {
		name := f.Names()[0]
		if c.IsSet(name) && !slices.Contains(quiet, name) {
			logrus.Warnf("--%s is accepted, but has no effect in this stand-in", name)
		}
	}
}
