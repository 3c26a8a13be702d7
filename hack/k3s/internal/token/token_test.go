// Checks the forms of a token, and that its hash is that of k3s's published rule.
package token

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sandbar.dev/hack/k3s/internal/pki"
)

func TestParse(t *testing.T) {
	hash := strings.Repeat("a", 64)
	for s, want := range map[string]Token{
		"secret":                                   {Secret: "secret"},
		"se:cret":                                  {Secret: "se:cret"},
		"K10" + hash + "::server:secret":           {CAHash: hash, User: "server", Secret: "secret"},
		"K10" + hash + "::node:se::cret":           {CAHash: hash, User: "node", Secret: "se::cret"},
		"K10::node:secret":                         {User: "node", Secret: "secret"},
		"abcdef.0123456789abcdef":                  {Bootstrap: "abcdef.0123456789abcdef"},
		"K10" + hash + "::abcdef.0123456789abcdef": {CAHash: hash, Bootstrap: "abcdef.0123456789abcdef"},
	} {
		if got, err := Parse(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"":                        "token must not be empty",
		"K10abc::server:secret":   "invalid token CA hash length",
		"K10" + hash + "::server": "invalid token format",
		"K10" + hash + "::node:":  "invalid token format",
	} {
		if _, err := Parse(s); err == nil || err.Error() != want {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestCA(t *testing.T) {
	dir := t.TempDir()
	ca := func(name string) []byte {
		file := filepath.Join(dir, name)
		if _, err := pki.OpenAuthority(name, file, file+".key"); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	own, other := ca("own"), ca("other")
	full, err := Format("node", "secret", own)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(own)
	if full != "K10"+hex.EncodeToString(sum[:])+"::node:secret" {
		t.Error(full)
	}
	parsed, err := Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.CheckCA(own); err != nil {
		t.Error(err)
	}
	if err := parsed.CheckCA(other); err == nil || !strings.HasPrefix(err.Error(), "token CA hash does not match the Cluster CA certificate hash: ") {
		t.Error(err)
	}
	if err := (Token{Secret: "secret"}).CheckCA(other); err != nil {
		t.Errorf("without a hash every CA does: %v", err)
	}
	if err := parsed.CheckCA([]byte("nothing")); err == nil {
		t.Error("no certificate, no complaint")
	}
}

// A CA that another has issued counts as its root, so that it can be renewed.
func TestBundle(t *testing.T) {
	at := func(name string) string { return filepath.Join(t.TempDir(), name) }
	file := at("root.crt")
	root, err := pki.OpenAuthority("root", file, at("root.key"))
	if err != nil {
		t.Fatal(err)
	}
	issued := pki.Leaf{Cert: at("issued.crt"), Key: at("issued.key"), CommonName: "issued", Server: true}
	if _, err := root.Ensure(issued); err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(issued.Cert)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(alone)
	sum := sha256.Sum256(block.Bytes)
	if got, err := HashCA(bundle); err != nil || got != hex.EncodeToString(sum[:]) {
		t.Error(got, err)
	}
}

func TestFrom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := From("flag", file); err != nil || got != "from-file" {
		t.Error(got, err)
	}
	if got, err := From("flag", ""); err != nil || got != "flag" {
		t.Error(got, err)
	}
}
