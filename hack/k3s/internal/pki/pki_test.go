// Checks that certificates are made once, and anew exactly when they must be.
package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func authority(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := OpenAuthority("server", filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func leaf(dir string, sans ...string) Leaf {
	return Leaf{Cert: filepath.Join(dir, "a.crt"), Key: filepath.Join(dir, "a.key"),
		CommonName: "kube-apiserver", SANs: sans, Server: true}
}

func ensure(t *testing.T, a *Authority, l Leaf, want bool) {
	t.Helper()
	got, err := a.Ensure(l)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("issued: %v, want %v", got, want)
	}
}

func TestIssuedOnceAndVerifies(t *testing.T) {
	dir := t.TempDir()
	ensure(t, authority(t, dir), leaf(dir, "localhost", "127.0.0.1"), true)
	before, _ := os.ReadFile(filepath.Join(dir, "a.crt"))
	a := authority(t, dir) // a second start
	ensure(t, a, leaf(dir, "localhost", "127.0.0.1"), false)
	ensure(t, a, leaf(dir, "127.0.0.1"), false) // fewer names: kept
	after, _ := os.ReadFile(filepath.Join(dir, "a.crt"))
	if string(before) != string(after) {
		t.Error("the certificate changed")
	}

	certs, err := readCerts(filepath.Join(dir, "a.crt"))
	if err != nil || len(certs) != 2 {
		t.Fatalf("want the certificate and its CA: %d, %v", len(certs), err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if st, _ := os.Stat(filepath.Join(dir, "a.key")); st.Mode().Perm() != 0o600 {
		t.Errorf("key mode %v", st.Mode())
	}
}

func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, dir)
	ensure(t, a, leaf(dir, "a"), true)
	a = authority(t, dir)
	ensure(t, a, leaf(dir, "a", "b"), true) // another name
	l := leaf(dir, "a", "b")
	l.CommonName = "other"
	ensure(t, a, l, true)

	certs, _ := readCerts(l.Cert)
	if left := time.Until(certs[0].NotAfter); left < renewBefore {
		t.Errorf("a fresh certificate would be renewed at once: %v left", left)
	}
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	ensure(t, authority(t, dir), l, true) // a new CA
	ensure(t, authority(t, dir), l, false)
}

func TestExpiringCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, dir)
	ensure(t, a, leaf(dir), true)
	key, err := readKey(filepath.Join(dir, "a.key"))
	if err != nil {
		t.Fatal(err)
	}
	soon := &x509.Certificate{NotAfter: time.Now().Add(renewBefore - time.Hour)}
	soon.Subject.CommonName = "kube-apiserver"
	der, err := sign(soon, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeCerts(filepath.Join(dir, "a.crt"), der); err != nil {
		t.Fatal(err)
	}
	ensure(t, authority(t, dir), leaf(dir), true)
}

// What a request asks for is not what it gets: only its key counts.
func TestAnswer(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, dir)
	file := filepath.Join(dir, "node.key")
	var last *x509.Certificate
	for range 2 { // the key is made once
		request, err := Request(file)
		if err != nil {
			t.Fatal(err)
		}
		out, err := a.Answer(request, Leaf{CommonName: "system:node:n1", Organization: []string{"system:nodes"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "node.crt"), out, 0o600); err != nil {
			t.Fatal(err)
		}
		certs, err := readCerts(filepath.Join(dir, "node.crt"))
		if err != nil || len(certs) != 2 || certs[0].Subject.CommonName != "system:node:n1" || !certs[1].Equal(a.cert) {
			t.Fatalf("%v, %v", certs, err)
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.crt"), file); err != nil {
			t.Error(err)
		}
		if last != nil && !last.PublicKey.(*ecdsa.PublicKey).Equal(certs[0].PublicKey) {
			t.Error("another key")
		}
		last = certs[0]
	}
	request, err := Request(file)
	if err != nil {
		t.Fatal(err)
	}
	request[len(request)-1] ^= 1 // its signature
	if _, err := a.Answer(request, Leaf{CommonName: "x"}); err == nil {
		t.Error("a request that its key has not signed was answered")
	}
}

func TestServiceKeyStays(t *testing.T) {
	dir := t.TempDir()
	file, current := filepath.Join(dir, "service.key"), filepath.Join(dir, "service.current.key")
	for range 2 {
		if err := EnsureServiceKey(file, current); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := os.ReadFile(file)
	b, _ := os.ReadFile(current)
	if len(a) == 0 || string(a) != string(b) {
		t.Error("the current key is not the first one")
	}
}
