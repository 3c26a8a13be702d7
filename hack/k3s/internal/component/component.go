// Package component runs Kubernetes' own programs inside this process, as k3s does: their
// options, their flags and their Run functions, upstream and unchanged. Their commands are
// not used because each would install a signal handler, and upstream allows one per process.
package component

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"

	// Metrics of the clients that the components use.
	_ "k8s.io/component-base/metrics/prometheus/restclient"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func init() {
	// The components share one log: a second one that asks for the same is content.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
}

// stopping is closed when the server is being stopped.
var stopping = make(chan struct{})

// Stopping tells the package that components now end because they are to. Upstream ends
// the whole process when a component with leader election loses its lease; on the way
// down that is no failure, and the datastore has still to be closed.
func Stopping() {
	close(stopping)
	exit := klog.OsExit
	klog.OsExit = func(code int) {
		select {
		case <-stopping:
			select {} // only this goroutine
		default:
			exit(code)
		}
	}
}

// Quiet drops what the components' leftovers, which lose their datastore now, still log.
func Quiet() {
	klog.Flush()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
}

// parse reads a component's flags like its own command would.
func parse(name string, sets *cliflag.NamedFlagSets, args []string) error {
	verflag.AddFlags(sets.FlagSet("global"))
	globalflag.AddGlobalFlags(sets.FlagSet("global"), name, logs.SkipLoggingConfigurationFlags())
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	fs.Usage = func() {}
	fs.SetOutput(os.Stderr)
	for _, f := range sets.FlagSets {
		fs.AddFlagSet(f)
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	cliflag.PrintFlags(fs)
	return nil
}

// Go runs a component in the background. Its end, or its panic, arrives on the channel.
func Go(name string, run func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				select {
				case <-stopping: // upstream's are not all made for a stop while they start
					done <- fmt.Errorf("panic: %v", p)
					return
				default:
				}
				logrus.WithField("stack", string(debug.Stack())).Fatalf("%s panic: %v", name, p)
			}
		}()
		done <- run()
	}()
	return done
}
