// Package pki makes the keys and certificates of a k3s server, under k3s's file names,
// once: what exists is kept, except a certificate that is about to expire, that lacks a
// name which is now asked for, or whose CA has changed; that one is issued anew.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	certLifetime = 365 * 24 * time.Hour
	// renewBefore is k3s's CertificateRenewDays.
	renewBefore = 120 * 24 * time.Hour
)

// Leaf describes a certificate to issue.
type Leaf struct {
	Cert, Key    string // files
	CommonName   string
	Organization []string
	SANs         []string // names and addresses
	Server       bool     // for serving; otherwise for clients
}

// Authority is a certificate authority kept in two files.
type Authority struct {
	cert    *x509.Certificate
	key     crypto.Signer
	created bool // just now: everything it has signed before is void
}

// OpenAuthority loads the CA from its files, or makes them if either is missing.
func OpenAuthority(name, certFile, keyFile string) (*Authority, error) {
	fresh := !exists(certFile) || !exists(keyFile)
	key, err := loadOrMakeKey(keyFile, false)
	if err != nil {
		return nil, err
	}
	if fresh {
		now := time.Now()
		cn := fmt.Sprintf("k3s-%s-ca@%d", name, now.Unix())
		der, err := sign(&x509.Certificate{
			Subject:               pkix.Name{CommonName: cn},
			NotBefore:             now.UTC(),
			NotAfter:              now.Add(caLifetime).UTC(),
			KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			BasicConstraintsValid: true,
			IsCA:                  true,
		}, nil, key.Public(), key)
		if err != nil {
			return nil, err
		}
		if err := writeCerts(certFile, der); err != nil {
			return nil, err
		}
	}
	certs, err := readCerts(certFile)
	if err != nil {
		return nil, err
	}
	return &Authority{cert: certs[0], key: key, created: fresh}, nil
}

// Ensure issues the certificate unless a good one is there. It says whether it did.
func (a *Authority) Ensure(l Leaf) (bool, error) {
	renew := a.created || stale(l, a.cert)
	if !renew && exists(l.Cert) && exists(l.Key) {
		return false, nil
	}
	key, err := loadOrMakeKey(l.Key, renew)
	if err != nil {
		return false, err
	}
	der, err := a.issue(l, key.Public())
	if err != nil {
		return false, err
	}
	return true, writeCerts(l.Cert, der, a.cert.Raw)
}

// Answer issues the certificate for another's key, which is named by a request (DER), and
// returns it with the CA's, as PEM. Nothing but the key is taken from the request.
func (a *Authority) Answer(request []byte, l Leaf) ([]byte, error) {
	r, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, err
	}
	if err := r.CheckSignature(); err != nil {
		return nil, err
	}
	der, err := a.issue(l, r.PublicKey)
	if err != nil {
		return nil, err
	}
	return encodeCerts(der, a.cert.Raw), nil
}

// Request makes a request for a certificate (DER) with the key in the file, made if it is missing.
func Request(keyFile string) ([]byte, error) {
	key, err := loadOrMakeKey(keyFile, false)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

func (a *Authority) issue(l Leaf, pub crypto.PublicKey) ([]byte, error) {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: l.CommonName, Organization: l.Organization},
		NotBefore:   a.cert.NotBefore, // as k3s does: a clock that is behind does no harm
		NotAfter:    time.Now().Add(certLifetime).UTC(),
		KeyUsage:    x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if l.Server {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	t.DNSNames, t.IPAddresses = names(l.SANs)
	return sign(t, a.cert, pub, a.key)
}

// WriteSingle writes the CA's certificate alone: the controller-manager's signer wants no chain.
func (a *Authority) WriteSingle(file string) error { return writeCerts(file, a.cert.Raw) }

// stale says whether the certificate that is there must not be used any longer.
func stale(l Leaf, ca *x509.Certificate) bool {
	certs, err := readCerts(l.Cert)
	if err != nil {
		return false // missing: it is made, with the key that may be there
	}
	c := certs[0]
	if time.Until(c.NotAfter) < renewBefore || c.Subject.CommonName != l.CommonName ||
		!sameSet(c.Subject.Organization, l.Organization) || !bytes.Equal(c.AuthorityKeyId, ca.SubjectKeyId) {
		return true
	}
	dns, ips := names(l.SANs)
	for _, n := range dns {
		if !slices.Contains(c.DNSNames, n) {
			return true
		}
	}
	for _, ip := range ips {
		if !slices.ContainsFunc(c.IPAddresses, ip.Equal) {
			return true
		}
	}
	return false
}

func sign(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).SetInt64(1<<62))
	if err != nil {
		return nil, err
	}
	t.SerialNumber = serial
	if parent == nil {
		parent = t
		// Named, so that a CA that was made anew from the same key still counts as the same.
		raw, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			return nil, err
		}
		id := sha1.Sum(raw)
		t.SubjectKeyId = id[:]
	}
	return x509.CreateCertificate(rand.Reader, t, parent, pub, key)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func names(sans []string) (dns []string, ips []net.IP) {
	for _, s := range sans {
		if ip := net.ParseIP(s); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, s)
		}
	}
	return dns, ips
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
