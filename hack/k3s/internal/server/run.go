// Runs the control plane: files, port, datastore, apiserver, and when that answers the
// controller-manager and the scheduler; stops them in the opposite order.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/component"
	"sandbar.dev/hack/k3s/internal/kine"
	"sandbar.dev/hack/k3s/internal/version"
)

const (
	kineStart       = 60 * time.Second
	controllersStop = 5 * time.Second
	apiServerStop   = 6 * time.Second
	kineStop        = 5 * time.Second
)

// part is a component that runs, with the means to stop it.
type part struct {
	name   string
	cancel context.CancelFunc
	done   <-chan error
	grace  time.Duration
}

// Run runs the server until the context ends (then nil) or until a part of it fails.
func Run(ctx context.Context, c *Config) error {
	notify := takeNotifySocket()
	dir, err := serverDir(c.DataDir)
	if err != nil {
		return err
	}
	f := files{dir}
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

	db, err := kine.Start(kine.Options{Endpoint: c.DatastoreEndpoint, CA: c.DatastoreCA, Cert: c.DatastoreCert,
		Key: c.DatastoreKey, Debug: logrus.IsLevelEnabled(logrus.DebugLevel)}, kineStart)
	if err != nil {
		return fmt.Errorf("failed to start cluster: %w", err)
	}
	logrus.Infof("Kine available at unix://%s, pid %d", kine.Socket, db.Pid())
	return parts.run(ctx, f, c, db, func() { notifyReady(notify) })
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
	if !c.DisableScheduler {
		args := f.schedulerArgs(c)
		logrus.Infof("Running kube-scheduler %s", strings.Join(args, " "))
		if p.scheduler, err = component.NewScheduler(args); err != nil {
			return nil, fmt.Errorf("scheduler exited: %w", err)
		}
	}
	return p, nil
}

// run starts everything in order and waits for the first end.
func (p *parts) run(ctx context.Context, f files, c *Config, db *kine.Process, up func()) error {
	var running []part
	failed := make(chan error, 3)
	start := func(name string, grace time.Duration, run func(context.Context) error) {
		// Not a child of ctx: what is told to stop, and when, is decided below.
		own, cancel := context.WithCancel(context.Background())
		end, done := component.Go(name, func() error { return run(own) }), make(chan error, 1)
		go func() {
			err := <-end
			if own.Err() == nil {
				if err == nil {
					err = errors.New("without an error")
				}
				failed <- fmt.Errorf("%s exited: %w", name, err)
			}
			done <- err
		}()
		running = append(running, part{name, cancel, done, grace})
	}
	graceful := true
	defer func() {
		if graceful {
			stop(running, db)
		}
	}()

	start("apiserver", apiServerStop, p.api.Run)
	ready := make(chan error, 1)
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go func() { ready <- waitReady(waiting, f, c) }()

	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case err := <-db.Done:
			graceful = false // nothing can be saved any more: end at once
			return fmt.Errorf("kine %s", kine.Ended(err))
		case err := <-ready:
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			logrus.Info("Kube API server is now running")
			if p.controller != nil {
				start("controller-manager", controllersStop, p.controller.Run)
			}
			if p.scheduler != nil {
				start("scheduler", controllersStop, p.scheduler.Run)
			}
			logrus.Info(version.Program + " is up and running")
			up()
		}
	}
}

// stop ends the clients of the apiserver first, then the apiserver, then the datastore.
func stop(running []part, db *kine.Process) {
	component.Stopping()
	for i := len(running) - 1; i >= 0; i-- {
		running[i].cancel()
		if i > 1 { // the scheduler and the controller-manager go together
			continue
		}
		for _, p := range running[i:] {
			select {
			case <-p.done:
			case <-time.After(p.grace):
				logrus.Warnf("%s did not stop within %s", p.name, p.grace)
			}
		}
		running = running[:i]
	}
	component.Quiet()
	db.Stop(kineStop)
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
