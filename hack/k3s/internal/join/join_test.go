// Checks what an agent refuses, in k3s's words, and that it joins a supervisor API: that of
// package supervisor, served with the cluster's certificate, over the agent's own port.
package join

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/kubernetes/fake"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/supervisor"
	"sandbar.dev/hack/k3s/internal/token"
)

func options(t *testing.T) *Options {
	return &Options{DataDir: t.TempDir(), ServerURL: "https://192.0.2.1:6443", Token: "secret", NodeName: "Node-2",
		NodeIP: *cli.NewStringSlice("192.0.2.7")}
}

func TestRefused(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"--token is required":  func(o *Options) { o.Token = "" },
		"--server is required": func(o *Options) { o.ServerURL = "" },
		"only https:// URLs are supported, invalid scheme: http://s": func(o *Options) { o.ServerURL = "http://s" },
		"invalid node-ip: invalid ip format 'x'":                     func(o *Options) { o.NodeIP = *cli.NewStringSlice("x") },
		"invalid node-external-ip":                                   func(o *Options) { o.NodeExternalIP = *cli.NewStringSlice("x") },
		"no such file":                                               func(o *Options) { o.TokenFile = "/nonexistent/token" },
		"cri-dockerd":                                                func(o *Options) { o.Agent.Docker = true },
		"rootless mode":                                              func(o *Options) { o.Rootless = true },
	} {
		o := options(t)
		change(o)
		if _, err := NewConfig(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	c, err := NewConfig(options(t))
	if err != nil || c.NodeName != "node-2" || c.Address != "192.0.2.1:6443" {
		t.Errorf("%+v, %v", c, err)
	}
}

// serve runs the API, with a certificate that names 127.0.0.1 only, and returns its address and CA.
func serve(t *testing.T) (address string, ca []byte) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	open := func(name string) *pki.Authority {
		a, err := pki.OpenAuthority(name, at(name+"-ca.crt"), at(name+"-ca.key"))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	s := &supervisor.Supervisor{TLS: dir, Passwd: at("passwd"), ClientCA: open("client"), ServerCA: open("server"), Client: fake.NewClientset()}
	_, pods, _ := net.ParseCIDR("10.42.0.0/16")
	s.Config = supervisor.Config{ClusterIPRanges: []*net.IPNet{pods}, ClusterDNSs: []net.IP{net.ParseIP("10.43.0.10")},
		FlannelBackend: "host-gw", DisableKubeProxy: true}
	if err := os.WriteFile(s.Passwd, []byte("secret,node,node,k3s:agent\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ServerCA.Ensure(pki.Leaf{Cert: at("s.crt"), Key: at("s.key"), CommonName: "s", SANs: []string{"127.0.0.1"}, Server: true}); err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(at("s.crt"), at("s.key"))
	if err != nil {
		t.Fatal(err)
	}
	nobody := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil })
	server := httptest.NewUnstartedServer(s.Wrap(http.NotFoundHandler(), nobody))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	if ca, err = os.ReadFile(at("server-ca.crt")); err != nil {
		t.Fatal(err)
	}
	return server.Listener.Addr().String(), ca
}

func TestJoin(t *testing.T) {
	address, ca := serve(t)
	url, err := balance(t.Context(), 0, false, address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := connect(t.Context(), url, token.Token{Secret: "secret"}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := token.HashCA(ca); c.token.CAHash != want {
		t.Errorf("the CA that was trusted is not held to: %+v", c.token)
	}
	shared, err := c.config(t.Context())
	if err != nil || shared.FlannelBackend != "host-gw" || shared.ClusterIPRanges[0].String() != "10.42.0.0/16" {
		t.Fatalf("%+v, %v", shared, err)
	}

	dir := t.TempDir()
	leaf := func(name, cn string) pki.Leaf {
		return pki.Leaf{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key"), CommonName: cn}
	}
	node := &issuer{client: c, ctx: t.Context(), password: "mine", ips: []net.IP{net.ParseIP("192.0.2.7")}}
	for _, l := range []pki.Leaf{leaf("serving-kubelet", "n2"), leaf("client-kubelet", "system:node:n2"), leaf("client-kube-proxy", ""), leaf("client-k3s-controller", "")} {
		if err := node.Ensure(l); err != nil {
			t.Fatal(err)
		}
		if _, err := tls.LoadX509KeyPair(l.Cert, l.Key); err != nil {
			t.Error(err)
		}
	}
	if got, err := node.Authority("server"); err != nil || string(got) != string(ca) {
		t.Error(err)
	}
	node.password = "another's"
	if err := node.Ensure(leaf("client-kubelet", "system:node:n2")); err == nil || !strings.HasPrefix(err.Error(), "Node password rejected, duplicate hostname") {
		t.Error(err)
	}
}

func TestNotJoined(t *testing.T) {
	address, _ := serve(t)
	ctx, url := context.Background(), "https://"+address
	other := token.Token{CAHash: strings.Repeat("0", 64), Secret: "secret"}
	if _, err := connect(ctx, url, other, "", ""); err == nil || !strings.HasPrefix(err.Error(), "token CA hash does not match the Cluster CA certificate hash: 000") {
		t.Error(err)
	}
	c, err := connect(ctx, url, token.Token{Secret: "wrong"}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	want := "failed to retrieve configuration from server: " + url + "/v1-k3s/config: 401 Unauthorized"
	if _, err := c.config(ctx); err == nil || err.Error() != want {
		t.Error(err)
	}
	if _, err := connect(ctx, "https://127.0.0.1:1", token.Token{Secret: "secret"}, "", ""); err == nil || !strings.HasPrefix(err.Error(), "failed to get CA certs: ") {
		t.Error(err)
	}
}

// The server decides for all what it decides; the rest is the node's.
func TestCluster(t *testing.T) {
	o := options(t)
	o.Agent = agent.Options{SystemDefaultRegistry: "mine", Snapshotter: "native"}
	c := &Config{Options: *o, NodeIPs: []net.IP{net.ParseIP("192.0.2.7")}}
	raw := `{"ClusterIPRanges":[{"IP":"10.42.0.0","Mask":"//8AAA=="}],"ServiceIPRanges":[{"IP":"10.43.0.0","Mask":"//8AAA=="}],
		"ClusterDNSs":["10.43.0.9"],"ClusterDomain":"d","FlannelBackend":"none","SystemDefaultRegistry":"r","DisableKubeProxy":true,"Skips":{}}`
	shared := &supervisor.Config{}
	if err := json.Unmarshal([]byte(raw), shared); err != nil { // as k3s's servers write it
		t.Fatal(err)
	}
	if a := c.node(shared); a.SystemDefaultRegistry != "r" || !a.DisableKubeProxy || a.Snapshotter != "native" {
		t.Errorf("%+v", a)
	}
	got := c.cluster(shared, "https://127.0.0.1:6444")
	if got.ClusterCIDRs[0].String() != "10.42.0.0/16" || got.ServiceCIDRs[0].String() != "10.43.0.0/16" ||
		strings.Join(got.ClusterDNS, " ") != "10.43.0.9" || got.ClusterDomain != "d" || got.FlannelBackend != "none" || got.URL != "https://127.0.0.1:6444" {
		t.Errorf("%+v", got)
	}
}
