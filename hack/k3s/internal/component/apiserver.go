// kube-apiserver.
package component

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// APIServer is kube-apiserver, its flags read and its port bound, not yet running.
type APIServer struct {
	options  *options.ServerRunOptions
	listener *advertised
	// Before, if set, gets every request before the apiserver's own handlers, which it is given,
	// with what they know clients by.
	Before func(next http.Handler, known authenticator.Request) http.Handler
}

// NewAPIServer reads the flags. The listener comes from the caller, which has bound it
// before anything else was started; advertise is the port that the "kubernetes" service
// points to (k3s patches a flag for it into the apiserver).
func NewAPIServer(args []string, l net.Listener, bind net.IP, advertise int) (*APIServer, error) {
	o := options.NewServerRunOptions()
	sets := o.Flags()
	if err := parse("kube-apiserver", &sets, args); err != nil {
		return nil, err
	}
	a := &advertised{Listener: l, ip: bind, port: advertise}
	o.SecureServing.Listener = a
	return &APIServer{options: o, listener: a}, nil
}

// Run serves until the context ends.
func (a *APIServer) Run(ctx context.Context) error {
	registry := a.options.GenericServerRunOptions.ComponentGlobalsRegistry
	if err := registry.Set(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	gate := registry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	if err := logsapi.ValidateAndApply(a.options.Logs, gate); err != nil {
		return err
	}
	completed, err := a.options.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	gate.(featuregate.MutableFeatureGate).AddMetrics()
	registry.AddMetrics()

	config, err := app.NewConfig(completed)
	if err != nil {
		return err
	}
	if a.Before != nil {
		outermost := &config.Aggregator.GenericConfig.Config
		chain := outermost.BuildHandlerChainFunc
		outermost.BuildHandlerChainFunc = func(h http.Handler, c *server.Config) http.Handler {
			return a.Before(chain(h, c), c.Authentication.Authenticator)
		}
	}
	a.listener.on.Store(true)
	full, err := config.Complete()
	if err != nil {
		return err
	}
	chain, err := app.CreateServerChain(full)
	if err != nil {
		return err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}

// advertised is a listener that names another port than its own once the apiserver has
// set up its clients to itself; what it publishes after that is the advertised port.
type advertised struct {
	net.Listener
	ip   net.IP
	port int
	on   atomic.Bool
}

func (a *advertised) Addr() net.Addr {
	own := a.Listener.Addr().(*net.TCPAddr)
	if a.on.Load() {
		return &net.TCPAddr{IP: a.ip, Port: a.port}
	}
	return &net.TCPAddr{IP: a.ip, Port: own.Port}
}
