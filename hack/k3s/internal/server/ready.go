// Waits for the apiserver.
package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"time"

	"github.com/sirupsen/logrus"
)

// waitReady polls /readyz with the supervisor's certificate until it says ok.
func waitReady(ctx context.Context, f files, c *Config) error {
	cert, err := tls.LoadX509KeyPair(f.tls("client-supervisor.crt"), f.tls("client-supervisor.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(f.tls("server-ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{ // no proxy
			TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
			DisableKeepAlives: true,
		},
	}
	began, told := time.Now(), time.Now()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url()+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			logrus.Infof("Waiting for API server to become available (%s)", time.Since(began).Round(time.Second))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
