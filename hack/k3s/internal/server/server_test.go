// Checks how options become a configuration, and what is kept from one start to the next.
package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func options() *Options {
	return &Options{DisableAgent: true, FlannelBackend: "none", EgressSelectorMode: "disabled", HTTPSPort: 6443,
		ServiceNodePortRange: "30000-32767", ClusterDomain: "cluster.local", NodeName: "Node-1",
		NodeIP: *cli.NewStringSlice("192.0.2.7")}
}

func TestDefaults(t *testing.T) {
	c, err := NewConfig(options())
	if err != nil {
		t.Fatal(err)
	}
	if join(c.ClusterCIDRs) != "10.42.0.0/16" || join(c.ServiceCIDRs) != "10.43.0.0/16" || c.AdvertisePort != 6443 {
		t.Errorf("%+v", c)
	}
	for _, san := range []string{"127.0.0.1", "localhost", "node-1", "192.0.2.7", "10.43.0.1"} {
		if !slices.Contains(c.SANs, san) {
			t.Errorf("the certificate lacks %s: %q", san, c.SANs)
		}
	}
	if c.url() != "https://127.0.0.1:6443" {
		t.Error(c.url())
	}
}

func TestRefused(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for want, change := range map[string]func(*Options){
		"failed to find host-local: exec: \"host-local\": executable file not found in $PATH": func(o *Options) { o.FlannelBackend = "vxlan" },
		"invalid cluster-cidr 10.42":          func(o *Options) { o.ClusterCIDR = *cli.NewStringSlice("10.42") },
		"invalid service-cidr x":              func(o *Options) { o.ServiceCIDR = *cli.NewStringSlice("x") },
		"invalid port range 1":                func(o *Options) { o.ServiceNodePortRange = "1-0" },
		"invalid cluster-dns address a":       func(o *Options) { o.ClusterDNS = *cli.NewStringSlice("a") },
		"invalid egress-selector-mode tunnel": func(o *Options) { o.EgressSelectorMode = "tunnel" },
		"a join to another server":            func(o *Options) { o.ServerURL = "https://192.0.2.1:6443" },
		"no such file":                        func(o *Options) { o.TokenFile = "/nonexistent/token" },
	} {
		o := options()
		change(o)
		if _, err := NewConfig(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestUnknownFlannelBackend(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "host-local"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	o := options()
	o.FlannelBackend = "carrier-pigeon"
	if _, err := NewConfig(o); err == nil || !strings.Contains(err.Error(), "unknown flannel backend 'carrier-pigeon'") {
		t.Error(err)
	}
	o.FlannelBackend = "host-gw"
	if _, err := NewConfig(o); err != nil {
		t.Error(err)
	}
}

func TestTokensAndCertificatesStay(t *testing.T) {
	f := files{t.TempDir()}
	start := func(token string) error {
		o := options()
		o.Token = token
		c, err := NewConfig(o)
		if err != nil {
			return err
		}
		if err := f.mkdirs(); err != nil {
			return err
		}
		if err := f.certificates(c); err != nil {
			return err
		}
		return f.tokens(c)
	}
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if err := start(""); err != nil {
		t.Fatal(err)
	}
	kept := []string{"token", "node-token", "tls/server-ca.crt", "tls/client-admin.crt", "tls/serving-kube-apiserver.crt", "tls/service.key"}
	before := map[string]string{}
	for _, n := range kept {
		before[n] = read(n)
	}
	full := strings.TrimSpace(before["token"])
	if !strings.HasPrefix(full, "K10") || !strings.Contains(full, "::server:") || before["node-token"] != before["token"] {
		t.Errorf("token %q, node-token %q", full, before["node-token"])
	}
	for _, token := range []string{"", full} {
		if err := start(token); err != nil {
			t.Fatal(err)
		}
		for _, n := range kept {
			if read(n) != before[n] {
				t.Errorf("%s changed", n)
			}
		}
	}
	if err := start("another"); err == nil || !strings.Contains(err.Error(), "different token") {
		t.Errorf("another token: %v", err)
	}
}
