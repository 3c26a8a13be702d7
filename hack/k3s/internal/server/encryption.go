// --secrets-encryption: the key with which the apiserver encrypts Secrets, made once.
package server

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"

	"sandbar.dev/hack/k3s/internal/pki"
)

func (f files) encryption() error {
	if st, err := os.Stat(f.cred("encryption-config.json")); err == nil && st.Size() > 0 {
		return nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	type m = map[string]any
	raw, err := json.Marshal(m{
		"kind":       "EncryptionConfiguration",
		"apiVersion": "apiserver.config.k8s.io/v1",
		"resources": []m{{
			"resources": []string{"secrets"},
			"providers": []m{
				{"aescbc": m{"keys": []m{{"name": "aescbckey", "secret": base64.StdEncoding.EncodeToString(key)}}}},
				{"identity": m{}},
			},
		}},
	})
	if err != nil {
		return err
	}
	if err := pki.WriteFile(f.cred("encryption-config.json"), raw, 0o600); err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	return pki.WriteFile(f.cred("encryption-state.json"), []byte("start-"+hex.EncodeToString(sum[:])), 0o600)
}
