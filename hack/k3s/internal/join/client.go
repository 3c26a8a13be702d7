// How an agent speaks to k3s's supervisor API: with its token, and with kubelet's certificate once
// it has one.
package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/supervisor"
	"sandbar.dev/hack/k3s/internal/token"
)

// requestTimeout is k3s's.
const requestTimeout = 10 * time.Second

// client is a server whose CA is that of the token.
type client struct {
	url   string
	token token.Token
	http  *http.Client
}

// connect fetches the CA from whoever answers, and takes it if its hash is the token's. The
// certificate is used if it is there.
func connect(ctx context.Context, url string, t token.Token, certFile, keyFile string) (*client, error) {
	anybody := &client{url: url, http: httpClient(&tls.Config{InsecureSkipVerify: true})} //nolint:gosec // the hash is checked
	ca, err := anybody.do(ctx, http.MethodGet, "/cacerts", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("failed to get CA certs: %w", err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(ca)
	anybody.http = httpClient(config)
	if _, err := anybody.do(ctx, http.MethodGet, "/cacerts", nil, nil); err != nil {
		return nil, fmt.Errorf("CA cert validation failed: %w", err)
	}
	if t.CAHash == "" {
		logrus.Warn("Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash. " +
			"Use the full token from the server's node-token file to enable Cluster CA validation.")
	}
	if err := t.CheckCA(ca); err != nil {
		return nil, err
	}
	if t.CAHash, err = token.HashCA(ca); err != nil { // whoever is trusted once stays so
		return nil, err
	}
	if cert, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil {
		config.Certificates = []tls.Certificate{cert}
	}
	return &client{url: url, token: t, http: httpClient(config)}, nil
}

// httpClient uses no proxy.
func httpClient(config *tls.Config) *http.Client {
	return &http.Client{Timeout: requestTimeout, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
}

// statusError is an answer that is none.
type statusError struct {
	url, status string
	code        int
}

func (e *statusError) Error() string { return e.url + ": " + e.status }

func (c *client) do(ctx context.Context, method, path string, body []byte, headers map[string]string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	switch {
	case c.token.Bootstrap != "":
		req.Header.Set("Authorization", "Bearer "+c.token.Bootstrap)
	case c.token.Secret != "":
		req.SetBasicAuth("node", c.token.Secret) // whatever user the token names, as k3s's agent
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{c.url + path, resp.Status, resp.StatusCode}
	}
	return io.ReadAll(resp.Body)
}

// config fetches what the server wants its agents to know.
func (c *client) config(ctx context.Context) (*supervisor.Config, error) {
	raw, err := c.do(ctx, http.MethodGet, supervisor.Prefix+"config", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("failed to retrieve configuration from server: %w", err)
	}
	out := &supervisor.Config{}
	return out, json.Unmarshal(raw, out)
}

// issuer gets the node's certificates from the server, anew at every start.
type issuer struct {
	*client
	ctx      context.Context
	password string
	ips      []net.IP
}

func (i *issuer) Authority(name string) ([]byte, error) {
	return i.do(i.ctx, http.MethodGet, supervisor.Prefix+name+"-ca.crt", nil, nil)
}

// Ensure asks by the name of the file. What the certificate says is the server's business.
func (i *issuer) Ensure(l pki.Leaf) error {
	request, err := pki.Request(l.Key)
	if err != nil {
		return fmt.Errorf("failed to create certificate request: %w", err)
	}
	headers := map[string]string{}
	name := filepath.Base(l.Cert)
	if strings.HasSuffix(name, "-kubelet.crt") {
		node := strings.TrimPrefix(l.CommonName, "system:node:")
		headers = map[string]string{supervisor.NodeName: node, supervisor.NodePassword: i.password, supervisor.NodeIP: joinIPs(i.ips)}
	}
	cert, err := i.do(i.ctx, http.MethodPost, supervisor.Prefix+name, request, headers)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusForbidden && len(headers) > 0 {
		return fmt.Errorf("Node password rejected, duplicate hostname or contents of '%s' may not match server node-passwd entry, "+ //nolint:staticcheck // k3s's words
			"try enabling a unique node name with the --with-node-id flag", agent.PasswordFile)
	}
	if err != nil {
		return err
	}
	return pki.WriteFile(l.Cert, cert, 0o600)
}

func joinIPs(ips []net.IP) string {
	var out []string
	for _, ip := range ips {
		out = append(out, ip.String())
	}
	return strings.Join(out, ",")
}
