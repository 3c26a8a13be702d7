// kubelet's configuration: k3s's defaults as a drop-in file that flags go over, and the flags.
package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/util/taints"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"sandbar.dev/hack/k3s/internal/args"
	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/version"
)

// KubeletArgs writes the drop-in files and returns kubelet's flags.
func (n *Node) KubeletArgs() ([]string, error) {
	flags, config, err := kubeletDefaults(n, checkCgroups())
	if err != nil {
		return nil, fmt.Errorf("prepare default kubelet configuration: %w", err)
	}
	if err := os.MkdirAll(n.AgentConfig.PodManifests, 0o750); err != nil {
		return nil, fmt.Errorf("failed to create static pod manifest dir: %w", err)
	}
	raw, err := yaml.Marshal(config)
	if err != nil {
		return nil, err
	}
	dir := n.AgentConfig.KubeletConfigDir
	if err := pki.WriteFile(filepath.Join(dir, "00-"+version.Program+"-defaults.conf"), raw, 0o600); err != nil {
		return nil, fmt.Errorf("generate default kubelet config: %w", err)
	}
	own, err := takeConfigArgs(dir, n.AgentConfig.ExtraKubeletArgs)
	if err != nil {
		return nil, fmt.Errorf("prepare user kubelet config drop-ins: %w", err)
	}
	return args.Merge(flags, own), nil
}

func kubeletDefaults(n *Node, groups cgroups) (map[string]string, *kubelet.KubeletConfiguration, error) {
	a := &n.AgentConfig
	c, err := kubeletConfig(a)
	if err != nil {
		return nil, nil, err
	}
	c.SerializeImagePulls = ptr.To(false)
	c.ContainerRuntimeEndpoint = socketURL(a.RuntimeSocket)
	if a.ImageServiceSocket != "" {
		c.ImageServiceEndpoint = socketURL(a.ImageServiceSocket)
	}
	flags := map[string]string{
		"config-dir":  a.KubeletConfigDir,
		"kubeconfig":  a.KubeConfigKubelet,
		"node-labels": strings.Join(a.NodeLabels, ","),
		// 0 is left out of the file, where the default is another.
		"read-only-port": "0",
	}
	if strings.Contains(a.RuntimeSocket, "containerd") {
		flags["containerd"] = strings.TrimPrefix(a.RuntimeSocket, "unix://")
	}
	if a.NodeName != "" {
		flags["hostname-override"] = a.NodeName
	}
	// There is no cloud controller here, so everything is as with --disable-cloud-controller.
	if dual, err := netutils.IsDualStackIPs(a.NodeIPs); err == nil && !dual {
		flags["node-ip"] = a.NodeIP
	}
	if !groups.controllers["pids"] {
		return nil, nil, errors.New("pids cgroup controller not found")
	}
	if !groups.controllers["cpu"] {
		logrus.Warn("Disabling CPU quotas due to missing cpu controller or cpu.cfs_period_us")
		c.CPUCFSQuota = ptr.To(false)
	}
	c.KubeletCgroups = groups.kubelet
	if groups.runtime != "" {
		flags["runtime-cgroups"] = groups.runtime
	}
	if isDir(a.ImageCredProvBinDir) && ifRegular(a.ImageCredProvConfig) != "" {
		flags["image-credential-provider-bin-dir"] = a.ImageCredProvBinDir
		flags["image-credential-provider-config"] = a.ImageCredProvConfig
	}
	if a.Systemd {
		c.CgroupDriver = "systemd"
	}
	if !a.DisableServiceLB {
		c.AllowedUnsafeSysctls = []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"}
	}
	return flags, c, nil
}

func kubeletConfig(a *Agent) (*kubelet.KubeletConfiguration, error) {
	healthz := "127.0.0.1"
	if netutils.IsIPv6String(a.NodeIP) {
		healthz = "::1"
	}
	after := func(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
	c := &kubelet.KubeletConfiguration{
		TypeMeta:                         metav1.TypeMeta{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration"},
		Address:                          a.ListenAddress,
		CPUManagerReconcilePeriod:        after(10 * time.Second),
		CgroupDriver:                     "cgroupfs",
		ClusterDNS:                       a.ClusterDNSs,
		ClusterDomain:                    a.ClusterDomain,
		EvictionHard:                     map[string]string{"imagefs.available": "5%", "nodefs.available": "5%"},
		EvictionMinimumReclaim:           map[string]string{"imagefs.available": "10%", "nodefs.available": "10%"},
		EvictionPressureTransitionPeriod: after(5 * time.Minute),
		FailSwapOn:                       ptr.To(false),
		FileCheckFrequency:               after(20 * time.Second),
		HTTPCheckFrequency:               after(20 * time.Second),
		HealthzBindAddress:               healthz,
		ImageMinimumGCAge:                after(2 * time.Minute),
		NodeStatusReportFrequency:        after(5 * time.Minute),
		NodeStatusUpdateFrequency:        after(10 * time.Second),
		ProtectKernelDefaults:            a.ProtectKernelDefaults,
		RuntimeRequestTimeout:            after(2 * time.Minute),
		StaticPodPath:                    a.PodManifests,
		StreamingConnectionIdleTimeout:   after(4 * time.Hour),
		SyncFrequency:                    after(time.Minute),
		TLSCertFile:                      a.ServingKubeletCert,
		TLSPrivateKeyFile:                a.ServingKubeletKey,
		VolumeStatsAggPeriod:             after(time.Minute),
		Authentication: kubelet.KubeletAuthentication{
			Anonymous: kubelet.KubeletAnonymousAuthentication{Enabled: ptr.To(false)},
			Webhook:   kubelet.KubeletWebhookAuthentication{Enabled: ptr.To(true), CacheTTL: after(2 * time.Minute)},
			X509:      kubelet.KubeletX509Authentication{ClientCAFile: a.ClientCA},
		},
		Authorization: kubelet.KubeletAuthorization{
			Mode: kubelet.KubeletAuthorizationModeWebhook,
			Webhook: kubelet.KubeletWebhookAuthorization{
				CacheAuthorizedTTL: after(5 * time.Minute), CacheUnauthorizedTTL: after(30 * time.Second)},
		},
		Logging: logsapi.LoggingConfiguration{
			Format:    "text",
			Verbosity: logsapi.VerbosityLevel(a.VLevel),
			FlushFrequency: logsapi.TimeOrMetaDuration{
				Duration: after(5 * time.Second), SerializeAsString: true},
		},
	}
	if a.ResolvConf != "" {
		c.ResolverConfig = ptr.To(a.ResolvConf)
	}
	registered, _, err := taints.ParseTaints(a.NodeTaints)
	if err != nil {
		return nil, fmt.Errorf("failed to parse node taints: %w", err)
	}
	c.RegisterWithTaints = registered
	return c, logsapi.VModuleConfigurationPflag(&c.Logging.VModule).Set(a.VModule)
}

// takeConfigArgs takes --config and --config-dir out of the user's flags and copies what they
// name beside our own drop-in file, to be read after it.
func takeConfigArgs(dir string, own []string) ([]string, error) {
	for _, stale := range []string{"10-cli-config.conf", "20-cli-config-dir"} {
		if err := os.RemoveAll(filepath.Join(dir, stale)); err != nil {
			return nil, err
		}
	}
	var rest []string
	for _, arg := range own {
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name != "config" && name != "config-dir" || strings.HasPrefix(value, dir) && value != "" {
			rest = append(rest, arg)
			continue
		}
		if value == "" {
			return nil, fmt.Errorf("value required for kubelet-arg --%s", name)
		}
		var err error
		if name == "config" {
			err = copyTo(value, filepath.Join(dir, "10-cli-config.conf"))
		} else {
			err = os.CopyFS(filepath.Join(dir, "20-cli-config-dir"), os.DirFS(value))
		}
		if err != nil {
			return nil, fmt.Errorf("copy %s %q into managed drop-in dir %q: %w", name, value, dir, err)
		}
	}
	return rest, nil
}

func copyTo(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // read only
	raw, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return pki.WriteFile(to, raw, 0o600)
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
