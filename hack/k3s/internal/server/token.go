// The secrets with which servers and agents join: made once, kept in cred/passwd, and
// published as K10<hash of the CA>::<user>:<secret> where k3s puts them.
package server

import (
	"crypto/rand"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/token"
	"sandbar.dev/hack/k3s/internal/version"
)

// tokens settles both secrets and writes server/token, node-token and agent-token.
func (f files) tokens(c *Config) error {
	kept, err := f.readPasswd()
	if err != nil {
		return err
	}
	server := c.TokenValue
	switch {
	case server == "" && kept["server"] != "":
		server = kept["server"]
	case server == "":
		if server, err = random(16); err != nil {
			return err
		}
	case kept["server"] != "" && kept["server"] != server:
		// k3s finds this out when it cannot decrypt its bootstrap data.
		return errors.New("failed to bootstrap cluster data: bootstrap data already found and encrypted with different token")
	}
	node := c.AgentTokenValue
	if node == "" {
		node = server
	}
	passwd := fmt.Sprintf("%s,node,node,%s:agent\n%s,server,server,%s:server\n", node, version.Program, server, version.Program)
	if err := pki.WriteFile(f.cred("passwd"), []byte(passwd), 0o600); err != nil {
		return err
	}

	ca, err := os.ReadFile(f.tls("server-ca.crt"))
	if err != nil {
		return err
	}
	full, err := token.Format("server", server, ca)
	if err != nil {
		return err
	}
	file := filepath.Join(f.dir, "token")
	if err := pki.WriteFile(file, []byte(full+"\n"), 0o600); err != nil {
		return err
	}
	if err := relink(file, filepath.Join(f.dir, "node-token")); err != nil {
		return err
	}
	agent := filepath.Join(f.dir, "agent-token")
	if c.AgentTokenValue == "" {
		return relink(file, agent)
	}
	if full, err = token.Format("node", node, ca); err != nil {
		return err
	}
	return pki.WriteFile(agent, []byte(full+"\n"), 0o600)
}

// readPasswd returns the secret of each user.
func (f files) readPasswd() (map[string]string, error) {
	out := map[string]string{}
	raw, err := os.ReadFile(f.cred("passwd"))
	if os.IsNotExist(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(strings.NewReader(string(raw)))
	r.FieldsPerRecord = -1
	records, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.cred("passwd"), err)
	}
	for _, rec := range records {
		if len(rec) >= 2 {
			out[rec[1]] = rec[0]
		}
	}
	return out, nil
}

func random(n int) (string, error) {
	b := make([]byte, n)
	_, err := rand.Read(b)
	return hex.EncodeToString(b), err
}
