// Prepares a server, in k3s's order: files, port, flags of every component, the node's host,
// the datastore. What then runs, and how it ends, is in parts.go.
package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/component"
	"sandbar.dev/hack/k3s/internal/kine"
	"sandbar.dev/hack/k3s/internal/systemd"
)

const kineStart = 60 * time.Second

// Run runs the server until the context ends (then nil) or until a part of it fails.
func Run(ctx context.Context, c *Config) error {
	notify := systemd.TakeSocket()
	dir, err := DataDir(c.DataDir)
	if err != nil {
		return err
	}
	f := files{filepath.Join(dir, "server")}
	if err := f.prepare(c); err != nil {
		return fmt.Errorf("preparing server: %w", err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(c.BindAddress, strconv.Itoa(c.HTTPSPort)))
	if err != nil {
		return fmt.Errorf("preparing server: failed to start supervisor listener: %w", err)
	}
	parts, err := newParts(f, c, listener)
	if err != nil {
		return err
	}
	if err := f.kubeconfig(c); err != nil {
		return err
	}
	if !c.DisableAgent {
		if err := parts.prepareNode(f, c, dir); err != nil {
			return err
		}
	}

	db, err := kine.Start(kine.Options{Endpoint: c.DatastoreEndpoint, CA: c.DatastoreCA, Cert: c.DatastoreCert,
		Key: c.DatastoreKey, Debug: logrus.IsLevelEnabled(logrus.DebugLevel)}, kineStart)
	if err != nil {
		return fmt.Errorf("failed to start cluster: %w", err)
	}
	logrus.Infof("Kine available at unix://%s, pid %d", kine.Socket, db.Pid())
	return parts.run(ctx, f, c, db, func() { systemd.Ready(notify) })
}

// prepare fills the server folder and goes there.
func (f files) prepare(c *Config) error {
	if err := f.mkdirs(); err != nil {
		return err
	}
	if err := os.Chdir(f.dir); err != nil {
		return err
	}
	noProxy(c)
	if err := f.certificates(c); err != nil {
		return fmt.Errorf("failed to generate server dependencies: %w", err)
	}
	if err := f.tokens(c); err != nil {
		return err
	}
	if err := f.rights(c); err != nil {
		return err
	}
	if c.EncryptSecrets {
		return f.encryption()
	}
	return nil
}

// parts are the components, with their flags read, so that a bad flag is told at once.
type parts struct {
	api        *component.APIServer
	controller *component.ControllerManager
	scheduler  *component.Scheduler
	node       *agent.Parts // nil with --disable-agent
}

func newParts(f files, c *Config, l net.Listener) (*parts, error) {
	bind := net.ParseIP(c.BindAddress)
	if bind == nil {
		bind = net.IPv4zero
	}
	p := &parts{}
	var err error
	// The controller-manager comes first: with its flags it changes the default of a feature
	// gate, and the gates, which all share, are closed as soon as anyone has added its flags.
	if !c.DisableControllerManager {
		args := f.controllerArgs(c)
		logrus.Infof("Running kube-controller-manager %s", strings.Join(args, " "))
		if p.controller, err = component.NewControllerManager(args); err != nil {
			return nil, fmt.Errorf("controller-manager exited: %w", err)
		}
	}
	args := f.apiServerArgs(c)
	logrus.Infof("Running kube-apiserver %s", strings.Join(args, " "))
	if p.api, err = component.NewAPIServer(args, l, bind, c.AdvertisePort); err != nil {
		return nil, fmt.Errorf("apiserver exited: %w", err)
	}
	join, err := f.supervisor(c)
	if err != nil {
		return nil, fmt.Errorf("preparing server: %w", err)
	}
	p.api.Before = join.Wrap
	if !c.DisableScheduler {
		args := f.schedulerArgs(c)
		logrus.Infof("Running kube-scheduler %s", strings.Join(args, " "))
		if p.scheduler, err = component.NewScheduler(args); err != nil {
			return nil, fmt.Errorf("scheduler exited: %w", err)
		}
	}
	return p, nil
}

// noProxy keeps a proxy of the environment out of the cluster's own traffic, as k3s does.
func noProxy(c *Config) {
	list := os.Getenv("NO_PROXY")
	for _, s := range []string{".svc", "." + c.ClusterDomain, join(c.ClusterCIDRs), join(c.ServiceCIDRs)} {
		if list != "" {
			list += ","
		}
		list += s
	}
	_ = os.Setenv("NO_PROXY", list)
}
