// Runs containerd as a child that cannot outlive us. The containers can: their shims are
// processes of their own, and the next containerd finds them again.
package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	cri "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"
)

// checkPrograms says early, and clearly, that there is nothing to run containers with.
func checkPrograms(n *Node) error {
	var names []string
	if n.ContainerRuntimeEndpoint == "" {
		names = []string{"containerd", "containerd-shim-runc-v2", "runc"}
	}
	if !n.NoFlannel {
		names = append(names, "flanneld", "flannel")
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("failed to find %s: %w (this k3s stand-in was built without its node programs: build it with `build.sh --node`, or start it with --disable-agent)", name, err)
		}
	}
	return nil
}

// RunContainerd runs containerd until the context ends.
func (n *Node) RunContainerd(ctx context.Context) error {
	args, env := containerdCommand(n, os.Environ())
	if err := os.MkdirAll(filepath.Dir(n.Containerd.Log), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(n.Containerd.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	logrus.Infof("Logging containerd to %s", n.Containerd.Log)
	logrus.Infof("Running containerd %s", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, "containerd", args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, env
	// Its own process group: Ctrl-C in a terminal must not stop it before kubelet.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// The death signal is bound to the thread that forks: keep it until containerd is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		return fmt.Errorf("status 0")
	}
	return fmt.Errorf("%w (its log: %s)", err, n.Containerd.Log)
}

// containerdCommand returns containerd's flags and environment. CONTAINERD_LOG_LEVEL is a flag;
// other variables with that prefix lose it: a proxy for containerd alone can be set that way.
func containerdCommand(n *Node, environ []string) (args, env []string) {
	args = []string{"-c", n.Containerd.Config}
	if n.Containerd.ConfigVersion < 3 { // older templates do not say these
		args = append(args, "-a", n.Containerd.Address, "--state", n.Containerd.State, "--root", n.Containerd.Root)
	}
	var own []string
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case name == "NOTIFY_SOCKET":
		case name == "CONTAINERD_LOG_LEVEL":
			args = append(args, "--log-level", value)
		case strings.HasPrefix(name, "CONTAINERD_"):
			own = append(own, strings.TrimPrefix(e, "CONTAINERD_"))
		default:
			env = append(env, e)
		}
	}
	return args, append(env, own...)
}

// WaitRuntime returns when the runtime answers and has the images of the airgap folder.
func (n *Node) WaitRuntime(ctx context.Context) error {
	name := "containerd"
	if n.ContainerRuntimeEndpoint != "" {
		name = "container runtime"
	}
	began, told := time.Now(), time.Now()
	for {
		err := answers(ctx, socketURL(n.AgentConfig.RuntimeSocket))
		if err == nil {
			break
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			logrus.Infof("Waiting for %s startup (%s): %v", name, time.Since(began).Round(time.Second), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	logrus.Infof("%s is now running", name)
	if n.ContainerRuntimeEndpoint == "" {
		n.preload(ctx)
	}
	return nil
}

// answers asks the runtime for its version.
func answers(ctx context.Context, endpoint string) error {
	if path := strings.TrimPrefix(endpoint, "unix://"); path != endpoint {
		if _, err := os.Stat(path); err != nil {
			return err // quieter than a client that dials for seconds
		}
	}
	logger := klog.LoggerWithValues(klog.Background())
	client, err := cri.NewRemoteRuntimeService(endpoint, 3*time.Second, nil, &logger)
	if err != nil {
		return err
	}
	_, err = client.Version(ctx, "")
	return err
}

func socketURL(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return "unix://" + address
}
