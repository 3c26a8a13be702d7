// Checks that k3s's flags are accepted, others refused in k3s's words, and that the
// configuration file and the environment reach the options.
package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"sandbar.dev/hack/k3s/internal/join"
	"sandbar.dev/hack/k3s/internal/server"
)

// parse runs the flags of `k3s server` through the library, without a server.
func parse(t *testing.T, args ...string) (*server.Options, error) {
	t.Helper()
	o := &server.Options{}
	app := newApp()
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	for _, c := range app.Commands {
		if c.Name == "server" {
			c.Flags = serverFlags(o, new(bool))
			c.Action = func(*cli.Context) error { return nil }
		}
	}
	expanded, err := parser().Expand(append([]string{"k3s", "server"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	return o, app.Run(expanded)
}

func TestFlags(t *testing.T) {
	o, err := parse(t, "--disable-agent", "-d", "/d", "--tls-san=a,b", "--tls-san", "c", "-t", "secret", "-o", "/k",
		"--kube-apiserver-arg=a=1,2", "--snapshotter=native", "--disable-network-policy", "--kubelet-arg=x=y",
		"--etcd-s3-timeout=1m", "--disable=traefik,coredns", "-v", "3", "--protect-kernel-defaults=false")
	if err != nil {
		t.Fatal(err)
	}
	if !o.DisableAgent || o.DataDir != "/d" || o.Token != "secret" || o.KubeconfigOutput != "/k" || o.VLevel != 3 {
		t.Errorf("%+v", o)
	}
	// Like k3s: the library does not split, the server does, except for components' flags.
	if got := o.TLSSan.Value(); len(got) != 2 || got[0] != "a,b" {
		t.Errorf("%q", got)
	}
	if got := o.APIServerArgs.Value(); len(got) != 1 || got[0] != "a=1,2" {
		t.Errorf("%q", got)
	}
}

// parseAgent runs the flags of `k3s agent`.
func parseAgent(t *testing.T, args ...string) (*join.Options, error) {
	t.Helper()
	o := &join.Options{}
	app := newApp()
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	for _, c := range app.Commands {
		if c.Name == "agent" {
			c.Flags = agentFlags(o, new(bool))
			c.Action = func(*cli.Context) error { return nil }
		}
	}
	expanded, err := parser().Expand(append([]string{"k3s", "agent"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	return o, app.Run(expanded)
}

func TestAgentFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	// One file may serve servers and agents: what only a server knows is left out.
	text := "token: from-file\nnode-label: [a=b]\ncluster-cidr: 10.1.0.0/16\nkubelet-arg: [x=y]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("K3S_URL", "https://192.0.2.1:6443")
	o, err := parseAgent(t, "--config", file, "--node-name=n", "-i", "192.0.2.7", "--node-label=c=d", "--snapshotter=native",
		"--pause-image=p", "--private-registry=/r", "--container-runtime-endpoint=/s", "--kube-proxy-arg=v=2", "-d", "/d")
	if err != nil {
		t.Fatal(err)
	}
	if o.ServerURL != "https://192.0.2.1:6443" || o.Token != "from-file" || o.NodeName != "n" || o.DataDir != "/d" || o.LBServerPort != 6444 {
		t.Errorf("%+v", o)
	}
	a := &o.Agent
	if strings.Join(a.NodeLabels.Value(), " ") != "a=b c=d" || a.Snapshotter != "native" || a.PauseImage != "p" || a.PrivateRegistry != "/r" ||
		a.ContainerRuntimeEndpoint != "/s" || a.KubeletArgs.Value()[0] != "x=y" || a.KubeProxyArgs.Value()[0] != "v=2" {
		t.Errorf("%+v", a)
	}
	if _, err := parseAgent(t, "--disable-kube-proxy"); err == nil || err.Error() != "flag provided but not defined: -disable-kube-proxy" {
		t.Error(err)
	}
}

func TestUnknownFlag(t *testing.T) {
	if _, err := parse(t, "--no-such-flag"); err == nil || err.Error() != "flag provided but not defined: -no-such-flag" {
		t.Error(err)
	}
	if _, err := parse(t, "--https-listen-port=high"); err == nil || !strings.Contains(err.Error(), "invalid value") {
		t.Error(err)
	}
}

func TestFileAndEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := "token: from-file\nhttps-listen-port: 7443\ndisable-agent: true\ntls-san: [x, y]\nno-such: 1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("K3S_DATA_DIR", "/from/env")
	t.Setenv("K3S_TOKEN", "from-env")
	o, err := parse(t, "--config", file, "--https-listen-port=8443", "--tls-san=z")
	if err != nil {
		t.Fatal(err)
	}
	if o.Token != "from-file" || o.HTTPSPort != 8443 || !o.DisableAgent || o.DataDir != "/from/env" {
		t.Errorf("%+v", o)
	}
	if got := strings.Join(o.TLSSan.Value(), " "); got != "x y z" {
		t.Error(got)
	}
}
