// kube-scheduler.
package component

import (
	"context"

	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// Scheduler is kube-scheduler with its flags read.
type Scheduler struct{ options *options.Options }

// NewScheduler reads the flags.
func NewScheduler(args []string) (*Scheduler, error) {
	o := options.NewOptions()
	if err := parse("kube-scheduler", o.Flags, args); err != nil {
		return nil, err
	}
	return &Scheduler{o}, nil
}

// Run schedules until the context ends.
func (s *Scheduler) Run(ctx context.Context) error {
	o := s.options
	if err := o.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	gate := o.ComponentGlobalsRegistry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	if err := logsapi.ValidateAndApply(o.Logs, gate); err != nil {
		return err
	}
	config, scheduler, err := app.Setup(ctx, o)
	if err != nil {
		return err
	}
	gate.(featuregate.MutableFeatureGate).AddMetrics()
	o.ComponentGlobalsRegistry.AddMetrics()
	return app.Run(ctx, config, scheduler)
}
