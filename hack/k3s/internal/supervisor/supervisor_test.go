// Checks who gets what from the supervisor API, and that a node's name is its first owner's.
package supervisor

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"sandbar.dev/hack/k3s/internal/pki"
)

// api is a supervisor before an apiserver that answers 418, and which knows clients by a header.
func api(t *testing.T, client kubernetes.Interface) http.Handler {
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
	s := &Supervisor{TLS: dir, Passwd: at("passwd"), ClientCA: open("client"), ServerCA: open("server"), Client: client}
	passwd := "agents,node,node,k3s:agent\nservers,server,server,k3s:server\n"
	if err := os.WriteFile(s.Passwd, []byte(passwd), 0o600); err != nil {
		t.Fatal(err)
	}
	apiserver := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	known := authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		name, group, ok := strings.Cut(r.Header.Get("Known"), "/")
		return &authenticator.Response{User: &user.DefaultInfo{Name: name, Groups: []string{group}}}, ok, nil
	})
	return s.Wrap(apiserver, known)
}

func ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "token" {
			name, secret, _ := strings.Cut(header[i+1], ":")
			r.SetBasicAuth(name, secret)
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWho(t *testing.T) {
	h := api(t, fake.NewClientset())
	for _, c := range []struct {
		path string
		code int
		as   []string
	}{
		{"/cacerts", 200, nil},
		{"/ping", 200, nil},
		{"/v1-k3s/config", 403, nil},
		{"/v1-k3s/config", 200, []string{"token", "node:agents"}},
		{"/v1-k3s/config", 401, []string{"token", "node:wrong"}},
		{"/v1-k3s/config", 401, []string{"token", "nobody:agents"}},
		{"/v1-k3s/config", 401, []string{"token", "node:"}},
		{"/v1-k3s/config", 403, []string{"token", "server:servers"}}, // an agent comes as `node`
		{"/v1-k3s/config", 200, []string{"Known", "system:node:a/system:nodes"}},
		{"/v1-k3s/config", 200, []string{"Known", "system:bootstrap:a/system:bootstrappers"}},
		{"/v1-k3s/config", 403, []string{"Known", "admin/system:masters"}},
		// Who has a certificate may have a token that is no longer good.
		{"/v1-k3s/config", 200, []string{"token", "node:wrong", "Known", "system:node:a/system:nodes"}},
		{"/v1-k3s/readyz", 200, []string{"token", "node:agents"}},
		{"/v1-k3s/client-ca.crt", 200, []string{"token", "node:agents"}},
		{"/v1-k3s/client-ca.key", 418, []string{"token", "node:agents"}},
		{"/v1-k3s/../cacerts", 418, nil},
		{"/v1-k3s/", 418, nil},
		{"/api/v1/nodes", 418, nil},
		{"/", 418, nil},
	} {
		if got := ask(h, http.MethodGet, c.path, "", c.as...); got.Code != c.code {
			t.Errorf("%s %q: %d, want %d (%s)", c.path, c.as, got.Code, c.code, got.Body)
		}
	}
}

// get asks for a certificate as a node does.
func get(t *testing.T, h http.Handler, name string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	request, err := pki.Request(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return ask(h, http.MethodPost, "/v1-k3s/"+name, string(request), header...)
}

func parse(t *testing.T, w *httptest.ResponseRecorder) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(w.Body.Bytes())
	if w.Code != http.StatusOK || block == nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || strings.Contains(w.Body.String(), "PRIVATE") {
		t.Error("not the key of the request")
	}
	return c
}

func TestCertificates(t *testing.T) {
	h := api(t, fake.NewClientset())
	as := []string{"token", "node:agents", NodeName, "N2", NodePassword, "mine", NodeIP, "192.0.2.7,192.0.2.8"}
	c := parse(t, get(t, h, "serving-kubelet.crt", as...))
	if c.Subject.CommonName != "n2" || c.VerifyHostname("192.0.2.8") != nil || c.VerifyHostname("n2") != nil || c.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("%+v", c.Subject)
	}
	c = parse(t, get(t, h, "client-kubelet.crt", as...))
	if c.Subject.CommonName != "system:node:n2" || c.Subject.Organization[0] != "system:nodes" || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("%+v", c.Subject)
	}
	for name, want := range map[string]string{"client-kube-proxy.crt": "system:kube-proxy", "client-k3s-controller.crt": "system:k3s-controller"} {
		if c := parse(t, get(t, h, name, as...)); c.Subject.CommonName != want || len(c.Subject.Organization) != 0 {
			t.Errorf("%+v", c.Subject)
		}
	}
	as[len(as)-1] = "x"
	if got := get(t, h, "serving-kubelet.crt", as...); got.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got := ask(h, http.MethodGet, "/v1-k3s/client-kube-proxy.crt", "", as...); got.Code != http.StatusBadRequest {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestNodeNames(t *testing.T) {
	client := fake.NewClientset()
	h := api(t, client)
	as := func(name, password string) []string {
		return []string{"token", "node:agents", NodeName, name, NodePassword, password}
	}
	node := func(want int, says string, header ...string) {
		t.Helper()
		if got := get(t, h, "client-kubelet.crt", header...); got.Code != want || !strings.Contains(got.Body.String(), says) {
			t.Errorf("%q: %d, want %d: %s", header, got.Code, want, got.Body)
		}
	}
	node(400, "node name not set", as("", "mine")...)
	node(400, "node password not set", as("n2", "")...)
	node(200, "", as("n2", "mine")...)
	node(200, "", as("n2", "mine")...)
	node(403, "hash does not match", as("n2", "another's")...)
	secret, err := client.CoreV1().Secrets("kube-system").Get(t.Context(), "n2.node-password.k3s", metav1.GetOptions{})
	if err != nil || !*secret.Immutable || !strings.HasPrefix(string(secret.Data["hash"]), "$1:") {
		t.Errorf("%+v, %v", secret, err)
	}

	// A node that is known by its certificate asks for itself, and only while it exists.
	known := func(name string) []string {
		return []string{"Known", "system:node:n2/system:nodes", NodeName, name, NodePassword, "mine"}
	}
	node(400, "does not match auth node name", known("n3")...)
	node(401, "unable to verify node identity", known("n2")...)
	if _, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node(200, "", known("n2")...)
}

func TestHash(t *testing.T) {
	hash, err := hashOf("password")
	if err != nil || matches(hash, "password") != nil || matches(hash, "passwort") == nil {
		t.Error(hash, err)
	}
	for _, bad := range []string{"", "$1:00:15:8:1:", "$2" + hash[2:], "$1:zz:15:8:1:AA", "$1:00:63:8:1:AA"} {
		if err := matches(bad, "password"); err == nil {
			t.Errorf("%q matches", bad)
		}
	}
	if err := verify("n", &corev1.Secret{}, "password"); !errors.Is(err, errVerify) {
		t.Error(err)
	}
}

func TestRequestsAreShort(t *testing.T) {
	h := api(t, fake.NewClientset())
	r := httptest.NewRequest(http.MethodPost, "/v1-k3s/client-kube-proxy.crt", io.LimitReader(zeros{}, requestLimit+1))
	r.SetBasicAuth("node", "agents")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "too large") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
