// Runs what the server is made of: the apiserver and the container runtime at once, then the
// controller-manager and the scheduler, then the node. The first end of any ends them all,
// stage by stage in the opposite order.
package server

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/args"
	"sandbar.dev/hack/k3s/internal/deploy"
	"sandbar.dev/hack/k3s/internal/kine"
	"sandbar.dev/hack/k3s/internal/running"
	"sandbar.dev/hack/k3s/internal/version"
)

const kineStop = 5 * time.Second

// run starts everything in order and waits for the first end.
func (p *parts) run(ctx context.Context, f files, c *Config, db *kine.Process, up func()) error {
	r := running.New()
	graceful := true
	defer func() {
		if graceful {
			r.Stop()
			db.Stop(kineStop)
		}
	}()
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()

	r.Start("apiserver", running.API, p.api.Run)
	api := make(chan error, 1)
	go func() { api <- waitReady(waiting, f, c) }()
	var runtime <-chan error // without a node nothing ever comes
	if p.node != nil {
		runtime = p.node.StartRuntime(waiting, r)
	}

	for waits := 2; ; {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case err = <-r.Failed():
			return err
		case err = <-db.Done:
			graceful = false // nothing can be saved any more: end at once
			return fmt.Errorf("kine %s", kine.Ended(err))
		case err = <-runtime:
			waits--
		case err = <-api:
			waits--
			if err == nil {
				p.startControllers(r, up)
				go func() {
					if err := deploy.Run(waiting, f.cred("supervisor.kubeconfig"), filepath.Join(f.dir, "manifests"), args.Split(c.Disable.Value())); err != nil {
						logrus.Errorf("Failed to start deploying manifests: %v", err)
					}
				}()
				go f.passwords(waiting, p.nodeName())
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if waits == 0 {
			p.node.Start(waiting, r, f.access())
		}
	}
}

func (p *parts) startControllers(r *running.Group, up func()) {
	logrus.Info("Kube API server is now running")
	if p.controller != nil {
		r.Start("controller-manager", running.Clients, p.controller.Run)
	}
	if p.scheduler != nil {
		r.Start("scheduler", running.Clients, p.scheduler.Run)
	}
	logrus.Info(version.Program + " is up and running")
	up()
}

func (p *parts) nodeName() string {
	if p.node == nil {
		return ""
	}
	return p.node.Node.AgentConfig.NodeName
}
