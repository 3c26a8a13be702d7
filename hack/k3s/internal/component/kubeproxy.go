// kube-proxy.
package component

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
)

// KubeProxy is kube-proxy with its flags read.
type KubeProxy struct{ options *app.Options }

// NewKubeProxy reads the flags.
func NewKubeProxy(args []string) (*KubeProxy, error) {
	o, fs, err := proxyFlags(args)
	if err != nil {
		return nil, err
	}
	if err := o.Complete(fs); err != nil {
		return nil, fmt.Errorf("failed complete: %w", err)
	}
	cliflag.PrintFlags(fs)
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("failed validate: %w", err)
	}
	return &KubeProxy{o}, nil
}

// Run serves until the process ends: upstream's loop knows no other end but a failure.
func (p *KubeProxy) Run(ctx context.Context) error {
	utilfeature.DefaultMutableFeatureGate.AddMetrics()
	done := make(chan error, 1)
	go func() { done <- p.options.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil
	}
}

// Conntrack is what kube-proxy's flags ask of connection tracking. k3s sets that by itself,
// so that a refusal by the kernel is no failure, and tells kube-proxy to leave it alone.
type Conntrack struct {
	MaxPerCore, Min              int32
	TCPEstablished, TCPCloseWait time.Duration
}

// ReadConntrack reads the user's flags for kube-proxy.
func ReadConntrack(args []string) (*Conntrack, error) {
	_, fs, err := proxyFlags(args)
	if err != nil {
		return nil, err
	}
	c := &Conntrack{}
	if c.MaxPerCore, err = fs.GetInt32("conntrack-max-per-core"); err != nil {
		return nil, err
	}
	if c.Min, err = fs.GetInt32("conntrack-min"); err != nil {
		return nil, err
	}
	if c.TCPEstablished, err = fs.GetDuration("conntrack-tcp-timeout-established"); err != nil {
		return nil, err
	}
	c.TCPCloseWait, err = fs.GetDuration("conntrack-tcp-timeout-close-wait")
	return c, err
}

func proxyFlags(args []string) (*app.Options, *pflag.FlagSet, error) {
	o := app.NewOptions()
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	fs.Usage = func() {}
	o.AddFlags(fs)
	fs.AddGoFlagSet(flag.CommandLine)
	logs.AddFlags(fs, logs.SkipLoggingConfigurationFlags())
	return o, fs, fs.Parse(args)
}
