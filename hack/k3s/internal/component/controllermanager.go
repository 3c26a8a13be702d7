// kube-controller-manager.
package component

import (
	"context"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
)

// ControllerManager is kube-controller-manager with its flags read.
type ControllerManager struct {
	options *options.KubeControllerManagerOptions
}

// NewControllerManager reads the flags.
func NewControllerManager(args []string) (*ControllerManager, error) {
	o, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, err
	}
	sets := o.Flags(app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	o.ParsedFlags = &sets
	if err := parse("kube-controller-manager", &sets, args); err != nil {
		return nil, err
	}
	return &ControllerManager{o}, nil
}

// Run runs the controllers until the context ends.
func (m *ControllerManager) Run(ctx context.Context) error {
	o := m.options
	if err := o.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(o.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	config, err := o.Config(ctx, app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	if err != nil {
		return err
	}
	gate := o.ComponentGlobalsRegistry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	gate.(featuregate.MutableFeatureGate).AddMetrics()
	o.ComponentGlobalsRegistry.AddMetrics()
	return app.Run(ctx, config.Complete())
}
