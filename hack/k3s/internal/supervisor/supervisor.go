// Package supervisor is k3s's own API, through which an agent joins: the cluster's CA for anybody,
// certificates and settings for who has a token. It is served on the apiserver's port, before
// the apiserver's own handlers.
package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"

	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/version"
)

const (
	// Prefix is where the API lies.
	Prefix = "/v1-" + version.Program + "/"
	// NodeName, NodePassword and NodeIP are the headers by which a node says who it is.
	NodeName     = version.Program + "-Node-Name"
	NodePassword = version.Program + "-Node-Password"
	NodeIP       = version.Program + "-Node-IP"

	requestLimit = 64 << 10
)

// Config is what an agent takes over from its server, under k3s's names.
type Config struct {
	ClusterIPRanges, ServiceIPRanges []*net.IPNet
	ClusterDNSs                      []net.IP
	ClusterDomain                    string
	FlannelBackend                   string
	FlannelExternalIP                bool
	EgressSelectorMode               string
	HTTPSPort, SupervisorPort        int
	SystemDefaultRegistry            string
	DisableCCM, DisableKubeProxy     bool
	DisableNPC, DisableServiceLB     bool
}

// Supervisor answers from the server's folder of certificates.
type Supervisor struct {
	Config             Config
	TLS                string // the folder
	Passwd             string // the file of tokens
	APIServers         []string
	ClientCA, ServerCA *pki.Authority
	Client             kubernetes.Interface
}

// Wrap puts the API before the apiserver's handler. Besides the tokens it takes whom the apiserver
// knows: nodes by their certificates, and bootstrap tokens.
func (s *Supervisor) Wrap(next http.Handler, known authenticator.Request) http.Handler {
	auth := authentication(s.Passwd, known)
	open := map[string]http.HandlerFunc{
		"/cacerts": file(s.TLS + "/server-ca.crt"),
		"/ping":    func(w http.ResponseWriter, _ *http.Request) { text(w, []byte("pong")) },
	}
	authed := map[string]http.HandlerFunc{
		"client-ca.crt":         file(s.TLS + "/client-ca.crt"),
		"server-ca.crt":         file(s.TLS + "/server-ca.crt"),
		"serving-kubelet.crt":   s.servingKubelet,
		"client-kubelet.crt":    s.clientKubelet,
		"client-kube-proxy.crt": s.clientOf(user.KubeProxy),
		"client-" + version.Program + "-controller.crt": s.clientOf("system:" + version.Program + "-controller"),
		"config":     func(w http.ResponseWriter, r *http.Request) { asJSON(w, r, &s.Config) },
		"apiservers": func(w http.ResponseWriter, r *http.Request) { asJSON(w, r, s.APIServers) },
		"readyz":     func(w http.ResponseWriter, _ *http.Request) { text(w, []byte("ok")) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := open[r.URL.Path]; ok {
			h(w, r)
			return
		}
		name, ours := strings.CutPrefix(r.URL.Path, Prefix)
		if h, ok := authed[name]; ours && ok {
			auth.require(h, version.Program+":agent", user.NodesGroup, bootstrappers)(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Supervisor) servingKubelet(w http.ResponseWriter, r *http.Request) {
	name, code, err := s.node(r)
	if err != nil {
		sendError(w, r, code, err)
		return
	}
	sans := []string{name, "localhost", "127.0.0.1"}
	for _, ip := range strings.Split(r.Header.Get(NodeIP), ",") {
		if ip != "" && net.ParseIP(ip) == nil {
			sendError(w, r, http.StatusInternalServerError, fmt.Errorf("invalid node IP address %s", ip))
			return
		}
		if ip != "" && !slices.Contains(sans, ip) {
			sans = append(sans, ip)
		}
	}
	issue(w, r, s.ServerCA, pki.Leaf{CommonName: name, SANs: sans, Server: true})
}

func (s *Supervisor) clientKubelet(w http.ResponseWriter, r *http.Request) {
	name, code, err := s.node(r)
	if err != nil {
		sendError(w, r, code, err)
		return
	}
	issue(w, r, s.ClientCA, pki.Leaf{CommonName: "system:node:" + name, Organization: []string{user.NodesGroup}})
}

func (s *Supervisor) clientOf(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { issue(w, r, s.ClientCA, pki.Leaf{CommonName: name}) }
}

// issue answers the request for a certificate in the body. k3s also has keys that it shares with
// agents too old to send one.
func issue(w http.ResponseWriter, r *http.Request, ca *pki.Authority, l pki.Leaf) {
	if r.Method != http.MethodPost {
		sendError(w, r, http.StatusBadRequest, errors.New("this k3s stand-in wants a certificate request, by POST"))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, requestLimit))
	if err != nil {
		sendError(w, r, http.StatusBadRequest, err)
		return
	}
	out, err := ca.Answer(body, l)
	if err != nil {
		sendError(w, r, http.StatusBadRequest, err)
		return
	}
	text(w, out)
}

func file(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, err := os.ReadFile(name)
		if err != nil {
			sendError(w, r, http.StatusInternalServerError, err)
			return
		}
		text(w, raw)
	}
}

func text(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(body)
}

func asJSON(w http.ResponseWriter, r *http.Request, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		sendError(w, r, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
}
