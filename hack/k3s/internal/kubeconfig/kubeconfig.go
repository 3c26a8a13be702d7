// Package kubeconfig writes the components' kubeconfigs. They name files instead of holding
// keys, so that they survive the renewal of a certificate.
package kubeconfig

import (
	"fmt"

	"sandbar.dev/hack/k3s/internal/pki"
)

// Write writes a kubeconfig for a server, its CA's file, and a client's certificate and key.
func Write(file, url, ca, cert, key string) error {
	text := fmt.Sprintf(`apiVersion: v1
clusters:
- cluster:
    server: %s
    certificate-authority: %s
  name: local
contexts:
- context:
    cluster: local
    namespace: default
    user: user
  name: Default
current-context: Default
kind: Config
preferences: {}
users:
- name: user
  user:
    client-certificate: %s
    client-key: %s
`, url, ca, cert, key)
	return pki.WriteFile(file, []byte(text), 0o600)
}
