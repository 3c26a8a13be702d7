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
