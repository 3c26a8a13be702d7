// Runs what the server is made of: the apiserver and the container runtime at once, then the
// controller-manager and the scheduler, then the node. The first end of any ends them all,
// stage by stage in the opposite order.
package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/component"
	"sandbar.dev/hack/k3s/internal/deploy"
	"sandbar.dev/hack/k3s/internal/kine"
	"sandbar.dev/hack/k3s/internal/version"
)

const (
	apiServerStop = 6 * time.Second
	othersStop    = 5 * time.Second
	kineStop      = 5 * time.Second
)

// The stages in which parts stop, the highest first.
const (
	stageAPI = iota
	stageRuntime
	stageClients
)

// part is a component that runs, with the means to stop it.
type part struct {
	name   string
	stage  int
	cancel context.CancelFunc
	done   <-chan error
}

// running are the parts that were started.
type running struct {
	parts  []part
	failed chan error
}

// start runs a part in the background. It has a context of its own: what is told to stop, and
// when, is decided by stop.
func (r *running) start(name string, stage int, run func(context.Context) error) {
	own, cancel := context.WithCancel(context.Background())
	end, done := component.Go(name, func() error { return run(own) }), make(chan error, 1)
	go func() {
		err := <-end
		if own.Err() == nil {
			if err == nil {
				err = errors.New("without an error")
			}
			r.failed <- fmt.Errorf("%s exited: %w", name, err)
		}
		done <- err
	}()
	r.parts = append(r.parts, part{name, stage, cancel, done})
}

// stop ends the clients of the apiserver first, then the runtime, the apiserver, the datastore.
func (r *running) stop(db *kine.Process) {
	component.Stopping()
	for stage := stageClients; stage >= stageAPI; stage-- {
		grace := othersStop
		if stage == stageAPI {
			grace = apiServerStop
		}
		ending := slices.DeleteFunc(slices.Clone(r.parts), func(p part) bool { return p.stage != stage })
		for _, p := range ending {
			p.cancel()
		}
		for _, p := range ending {
			select {
			case <-p.done:
			case <-time.After(grace):
				logrus.Warnf("%s did not stop within %s", p.name, grace)
			}
		}
	}
	component.Quiet()
	db.Stop(kineStop)
}

// run starts everything in order and waits for the first end.
func (p *parts) run(ctx context.Context, f files, c *Config, db *kine.Process, up func()) error {
	r := &running{failed: make(chan error, 8)}
	graceful := true
	defer func() {
		if graceful {
			r.stop(db)
		}
	}()
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()

	r.start("apiserver", stageAPI, p.api.Run)
	api, runtime := make(chan error, 1), make(chan error, 1)
	go func() { api <- waitReady(waiting, f, c) }()
	if p.node != nil {
		if p.node.ContainerRuntimeEndpoint == "" {
			r.start("containerd", stageRuntime, p.node.RunContainerd)
		}
		go func() { runtime <- p.node.WaitRuntime(waiting) }()
	}

	for waits := 2; ; {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case err = <-r.failed:
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
					if err := deploy.Run(waiting, f.cred("supervisor.kubeconfig"), filepath.Join(f.dir, "manifests"), split(c.Disable.Value())); err != nil {
						logrus.Errorf("Failed to start deploying manifests: %v", err)
					}
				}()
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if waits == 0 {
			p.startNode(waiting, r, f)
		}
	}
}

func (p *parts) startControllers(r *running, up func()) {
	logrus.Info("Kube API server is now running")
	if p.controller != nil {
		r.start("controller-manager", stageClients, p.controller.Run)
	}
	if p.scheduler != nil {
		r.start("scheduler", stageClients, p.scheduler.Run)
	}
	logrus.Info(version.Program + " is up and running")
	up()
}

// startNode comes when the apiserver and the runtime answer.
func (p *parts) startNode(ctx context.Context, r *running, f files) {
	r.start("kubelet", stageClients, p.kubelet.Run)
	go func() {
		a := &p.node.AgentConfig
		if err := labelNode(ctx, f.cred("supervisor.kubeconfig"), a.NodeName, nodeLabels(a.NodeLabels)); err != nil {
			logrus.Errorf("Failed to set labels on node %s: %v", a.NodeName, err)
		}
	}()
	if !p.node.NoFlannel {
		r.start("flannel", stageClients, func(ctx context.Context) error {
			if err := waitPodCIDR(ctx, f.cred("supervisor.kubeconfig"), p.node.AgentConfig.NodeName); err != nil || ctx.Err() != nil {
				return err
			}
			return p.node.RunFlannel(ctx, f.cred("supervisor.kubeconfig"))
		})
	}
	if p.kubeProxy != nil {
		r.start("kube-proxy", stageClients, p.kubeProxy.Run)
	}
}
