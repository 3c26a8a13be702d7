// Package running runs what a process is made of: each part in the background with a context of
// its own. The first end of any is told; all are stopped stage by stage.
package running

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/component"
)

// Stage says when a part stops: the clients of the apiserver first, then the runtime, then the
// apiserver.
type Stage int

const (
	API Stage = iota
	Runtime
	Clients
)

// grace is how long the parts of a stage may take to stop.
func (s Stage) grace() time.Duration {
	if s == API {
		return 6 * time.Second
	}
	return 5 * time.Second
}

type part struct {
	name   string
	stage  Stage
	cancel context.CancelFunc
	done   <-chan error
}

// Group is the parts that were started.
type Group struct {
	parts  []part
	failed chan error
}

// New returns an empty group.
func New() *Group { return &Group{failed: make(chan error, 8)} }

// Failed gets the end of every part that was not told to stop.
func (g *Group) Failed() <-chan error { return g.failed }

// Start runs a part. What it is told to stop by, and when, is decided by Stop.
func (g *Group) Start(name string, stage Stage, run func(context.Context) error) {
	own, cancel := context.WithCancel(context.Background())
	end, done := component.Go(name, func() error { return run(own) }), make(chan error, 1)
	go func() {
		err := <-end
		if own.Err() == nil {
			if err == nil {
				err = errors.New("without an error")
			}
			g.failed <- fmt.Errorf("%s exited: %w", name, err)
		}
		done <- err
	}()
	g.parts = append(g.parts, part{name, stage, cancel, done})
}

// Stop stops all parts. What upstream's leave behind says nothing any more.
func (g *Group) Stop() {
	component.Stopping()
	for stage := Clients; stage >= API; stage-- {
		var ending []part
		for _, p := range g.parts {
			if p.stage == stage {
				p.cancel()
				ending = append(ending, p)
			}
		}
		for _, p := range ending {
			select {
			case <-p.done:
			case <-time.After(stage.grace()):
				logrus.Warnf("%s did not stop within %s", p.name, stage.grace())
			}
		}
	}
	component.Quiet()
}
