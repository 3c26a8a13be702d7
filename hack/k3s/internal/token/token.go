// Package token reads and writes k3s's tokens: a secret alone, a user and a secret, or both
// with the hash of the cluster's CA: K10<hash>::<user>:<secret>.
package token

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

const prefix = "K10"

// bootstrap is the form of Kubernetes' own bootstrap tokens, which k3s takes too.
var bootstrap = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)

// Token is a token's parts. Either User and Secret are set or Bootstrap is.
type Token struct {
	CAHash       string // empty: the CA is not checked
	User, Secret string
	Bootstrap    string
}

// Parse reads a token in any of its forms; the messages are k3s's.
func Parse(s string) (Token, error) {
	if s == "" {
		return Token{}, errors.New("token must not be empty")
	}
	rest, full := strings.CutPrefix(s, prefix)
	switch {
	case full:
	case bootstrap.MatchString(s):
		rest = "::" + s
	default:
		rest = ":::" + s
	}
	var t Token
	if hash, credentials, ok := strings.Cut(rest, "::"); ok {
		if hash != "" && len(hash) != hex.EncodedLen(sha256.Size) {
			return Token{}, errors.New("invalid token CA hash length")
		}
		t.CAHash, rest = hash, credentials
	}
	if bootstrap.MatchString(rest) {
		t.Bootstrap = rest
		return t, nil
	}
	user, secret, ok := strings.Cut(rest, ":")
	if !ok || secret == "" {
		return Token{}, errors.New("invalid token format")
	}
	t.User, t.Secret = user, secret
	return t, nil
}

// From returns what is in the file, if one is named, else the value.
func From(value, file string) (string, error) {
	if file == "" {
		return value, nil
	}
	raw, err := os.ReadFile(file)
	return strings.TrimSpace(string(raw)), err
}

// Format writes the full form.
func Format(user, secret string, ca []byte) (string, error) {
	hash, err := HashCA(ca)
	return prefix + hash + "::" + user + ":" + secret, err
}

// CheckCA compares the token's hash, if it has one, with a CA (PEM).
func (t Token) CheckCA(ca []byte) error {
	hash, err := HashCA(ca)
	if err != nil {
		return err
	}
	if t.CAHash != "" && t.CAHash != hash {
		return fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", t.CAHash, hash)
	}
	return nil
}

// HashCA is k3s's hash of a CA: of the file if it has one certificate, else of the root that the
// first one leads to, which stays when the others are renewed.
func HashCA(ca []byte) (string, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(ca); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return "", errors.New("data does not contain any valid RSA or ECDSA certificates")
	}
	if root := rootOf(certs); root != nil {
		ca = root.Raw
	}
	sum := sha256.Sum256(ca)
	return hex.EncodeToString(sum[:]), nil
}

func rootOf(certs []*x509.Certificate) *x509.Certificate {
	if len(certs) < 2 {
		return nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range certs[1:] {
		if len(c.AuthorityKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId) {
			roots.AddCert(c)
		} else {
			between.AddCert(c)
		}
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	if err != nil {
		return nil
	}
	return chains[0][len(chains[0])-1]
}
