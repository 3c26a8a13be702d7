// k3s's agents speak to the server through a port of their own, so that its certificate need not
// know the name by which they reach it. k3s balances over all servers; here there is one.
package join

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// parseServer reads --server.
func parseServer(server string) (address string, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("Invalid server url, failed to parse: %s: %w", server, err) //nolint:staticcheck // k3s's words
	}
	if u.Scheme != "https" {
		return "", errors.New("only https:// URLs are supported, invalid scheme: " + server)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// balance passes connections to the port on to the address, and returns where it listens.
func balance(ctx context.Context, port int, ipv6 bool, address string) (string, error) {
	host := "127.0.0.1"
	if ipv6 {
		host = "::1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	logrus.Infof("Running load balancer k3s-agent-load-balancer %s -> [%s]", l.Addr(), address)
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // perhaps no descriptor is left
				logrus.Warnf("Load balancer: %v", err)
				time.Sleep(time.Second)
				continue
			}
			go pass(in.(*net.TCPConn), address)
		}
	}()
	return "https://" + l.Addr().String(), nil
}

func pass(in *net.TCPConn, address string) {
	defer in.Close() //nolint:errcheck // both ends are done
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		logrus.Debugf("Dial error from load balancer: %v", err)
		return
	}
	defer conn.Close() //nolint:errcheck // both ends are done
	out := conn.(*net.TCPConn)
	var both sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{in, out}, {out, in}} {
		both.Add(1)
		go func() {
			defer both.Done()
			_, err := io.Copy(way[1], way[0])
			if err != nil { // the other way would wait for ever
				_ = way[0].Close()
			}
			_ = way[1].CloseWrite()
		}()
	}
	both.Wait()
}
