// Runs an agent: it waits for its server, fetches what it needs, and runs a node.
package join

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	netutils "k8s.io/utils/net"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/running"
	"sandbar.dev/hack/k3s/internal/systemd"
	"sandbar.dev/hack/k3s/internal/token"
	"sandbar.dev/hack/k3s/internal/version"
)

// How long k3s waits before it asks again; the second up to twice as long, so that not all agents
// come at once.
const (
	connectAgain   = 2 * time.Second
	configureAgain = 5 * time.Second
)

// Run runs the agent until the context ends (then nil) or until a part of it fails.
func Run(ctx context.Context, c *Config) error {
	notify := systemd.TakeSocket()
	if err := agent.ValidateCgroups(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(c.DataDir, "agent"), 0o700); err != nil {
		return err
	}
	url, err := balance(ctx, c.LBServerPort, netutils.IsIPv6(c.NodeIPs[0]), c.Address)
	if err != nil {
		return err
	}
	trusted, err := c.reach(ctx, url)
	if err != nil {
		return ended(err)
	}
	node, err := c.get(ctx, url, trusted)
	if err != nil {
		return ended(err)
	}
	if err := node.PrepareHost(); err != nil {
		return err
	}
	parts, err := agent.NewParts(node)
	if err != nil {
		return err
	}
	return c.run(ctx, parts, func() {
		if notify != "" {
			logrus.Info(version.Program + " agent is up and running")
			systemd.Ready(notify)
		}
	})
}

// ended makes a stop while it waited no failure.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// reach waits for a server that is the token's, and returns the token with that one's CA.
func (c *Config) reach(ctx context.Context, url string) (token.Token, error) {
	try := func() (t token.Token, err error) {
		if c.Token != "" { // else the certificate must do
			if t, err = token.Parse(c.Token); err != nil {
				return t, err
			}
		}
		server, err := c.connect(ctx, url, t)
		if err != nil {
			return t, err
		}
		return server.token, nil
	}
	for {
		t, err := try()
		if err == nil || ctx.Err() != nil {
			return t, ctx.Err()
		}
		logrus.Errorf("Failed to validate connection to cluster at %s: %v", c.ServerURL, err)
		if err := pause(ctx, connectAgain); err != nil {
			return t, err
		}
	}
}

func (c *Config) connect(ctx context.Context, url string, t token.Token) (*client, error) {
	cert, key := c.clientCert()
	return connect(ctx, url, t, cert, key)
}

// get waits until the server has given all that the node needs.
func (c *Config) get(ctx context.Context, url string, t token.Token) (*agent.Node, error) {
	for {
		node, err := c.tryGet(ctx, url, t)
		if err == nil || ctx.Err() != nil {
			return node, ctx.Err()
		}
		logrus.Infof("Waiting to retrieve agent configuration; server is not ready: %v", err)
		if err := pause(ctx, configureAgain+rand.N(configureAgain)); err != nil {
			return nil, err
		}
	}
}

func (c *Config) tryGet(ctx context.Context, url string, t token.Token) (*agent.Node, error) {
	server, err := c.connect(ctx, url, t)
	if err != nil {
		return nil, err
	}
	shared, err := server.config(ctx)
	if err != nil {
		return nil, err
	}
	password, err := agent.NodePassword(agent.PasswordFile)
	if err != nil {
		return nil, err
	}
	cluster := c.cluster(shared, url)
	cluster.Issuer = &issuer{client: server, ctx: ctx, password: password, ips: slices.Concat(c.NodeIPs, c.ExternalIPs)}
	return agent.Configure(c.node(shared), cluster)
}

// run starts the parts in order and waits for the first end.
func (c *Config) run(ctx context.Context, parts *agent.Parts, up func()) error {
	g := running.New()
	defer g.Stop()
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	runtime := parts.StartRuntime(waiting, g)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-g.Failed():
			return err
		case err := <-runtime:
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("failed to start container runtime: %w", err)
			}
			runtime = nil
			a := &parts.Node.AgentConfig
			parts.Start(waiting, g, agent.Access{Node: a.KubeConfigKubelet, Flannel: a.KubeConfigK3sController})
			up()
		}
	}
}

// pause ends with the context too.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
