// Checks the node's pure pieces: flags and defaults, control groups, kernel questions,
// registries, archives.
package agent

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"sandbar.dev/hack/k3s/internal/component"
)

func cidr(t *testing.T, s string) []*net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		t.Fatal(err)
	}
	return []*net.IPNet{n}
}

func cluster(t *testing.T) *Cluster {
	return &Cluster{DataDir: t.TempDir(), URL: "https://127.0.0.1:6443", NodeName: "n1", NodeIPs: []net.IP{net.ParseIP("192.0.2.7")},
		ClusterCIDRs: cidr(t, "10.42.0.0/16"), ServiceCIDRs: cidr(t, "10.43.0.0/16"), ClusterDomain: "cluster.local", FlannelBackend: "none"}
}

func TestNode(t *testing.T) {
	c := cluster(t)
	n, err := NewNode(&Options{Snapshotter: "native", PauseImage: "pause:1", SystemDefaultRegistry: "r.example", ResolvConf: "/r"}, c)
	if err != nil {
		t.Fatal(err)
	}
	a := n.AgentConfig
	if a.ListenAddress != "0.0.0.0" || !slices.Equal(a.ClusterDNSs, []string{"10.43.0.10"}) || a.PauseImage != "r.example/pause:1" ||
		a.ResolvConf != "/r" || a.RuntimeSocket != "/run/k3s/containerd/containerd.sock" || a.CNIConfDir != "" ||
		n.Containerd.Log != filepath.Join(c.DataDir, "agent/containerd/containerd.log") {
		t.Errorf("%+v", n)
	}
	c.ServiceCIDRs = cidr(t, "fd00::/112")
	if _, err := NewNode(&Options{}, c); err == nil || !strings.Contains(err.Error(), "must share the same IP version") {
		t.Error(err)
	}
}

func TestKubeletDefaults(t *testing.T) {
	n, err := NewNode(&Options{ResolvConf: "/r", NodeLabels: *cli.NewStringSlice("a=b", "c=d"), NodeTaints: *cli.NewStringSlice("x=y:NoSchedule")}, cluster(t))
	if err != nil {
		t.Fatal(err)
	}
	groups := cgroups{kubelet: "/k3s", runtime: "/k3s", controllers: map[string]bool{"pids": true}}
	flags, config, err := kubeletDefaults(n, groups)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"node-labels": "a=b,c=d", "node-ip": "192.0.2.7", "hostname-override": "n1",
		"runtime-cgroups": "/k3s", "read-only-port": "0", "containerd": "/run/k3s/containerd/containerd.sock"} {
		if flags[name] != want {
			t.Errorf("--%s=%s, want %s", name, flags[name], want)
		}
	}
	if _, ok := flags["cloud-provider"]; ok {
		t.Error("nobody would initialize the node")
	}
	if *config.CPUCFSQuota || config.CgroupDriver != "cgroupfs" || config.KubeletCgroups != "/k3s" || config.EvictionHard["nodefs.available"] != "5%" ||
		len(config.RegisterWithTaints) != 1 || config.ContainerRuntimeEndpoint != "unix:///run/k3s/containerd/containerd.sock" {
		t.Errorf("%+v", config)
	}
	if _, _, err := kubeletDefaults(n, cgroups{}); err == nil || err.Error() != "pids cgroup controller not found" {
		t.Error(err)
	}
}

func TestConfigArgsBecomeDropIns(t *testing.T) {
	dir, own := t.TempDir(), filepath.Join(t.TempDir(), "own.conf")
	if err := os.WriteFile(own, []byte("x: y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rest, err := takeConfigArgs(dir, []string{"config=" + own, "--config-dir=" + filepath.Dir(own), "max-pods=3"})
	if err != nil || !slices.Equal(rest, []string{"max-pods=3"}) {
		t.Errorf("%q, %v", rest, err)
	}
	for _, f := range []string{"10-cli-config.conf", "20-cli-config-dir/own.conf"} {
		if raw, err := os.ReadFile(filepath.Join(dir, f)); err != nil || string(raw) != "x: y\n" {
			t.Errorf("%s: %q, %v", f, raw, err)
		}
	}
	if rest, err = takeConfigArgs(dir, nil); err != nil || rest != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("drop-ins of an earlier start are left: %v", entries)
	}
}

func TestKubeProxyArgs(t *testing.T) {
	n, err := NewNode(&Options{ResolvConf: "/r", KubeProxyArgs: *cli.NewStringSlice("proxy-mode=nftables")}, cluster(t))
	if err != nil {
		t.Fatal(err)
	}
	got := n.KubeProxyArgs()
	for _, want := range []string{"--proxy-mode=nftables", "--cluster-cidr=10.42.0.0/16", "--conntrack-max-per-core=0", "--hostname-override=n1"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in %q", want, got)
		}
	}
}

func TestCgroups(t *testing.T) {
	const v1 = "4:memory:/\n3:cpu,cpuacct:/c\n2:pids:/\n1:name=systemd:/\n0::/\n"
	yes := func(string) bool { return true }
	for name, c := range map[string]struct {
		own, init        string
		v2               []string
		kubelet, missing string
	}{
		"plain":                {v1, v1, nil, "", ""},
		"container":            {v1, "1:name=systemd:/docker/x\n", nil, "/k3s", ""},
		"login shell":          {"1:name=systemd:/user.slice/session-1.scope\n2:pids:/\n", v1, nil, "/k3s", "cpu"},
		"unified in container": {"0::/x\n", "0::/x\n", []string{"cpu", "memory", "pids"}, "/k3s", ""},
		"gVisor's, no systemd": {"2:pids:/\n3:cpu:/\n", "2:pids:/\n", nil, "", ""},
	} {
		got := parseCgroups(c.own, c.init, c.v2 != nil, c.v2, yes)
		if got.kubelet != c.kubelet || !got.controllers["pids"] || got.controllers["cpu"] == (c.missing == "cpu") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := parseCgroups(v1, v1, false, nil, func(string) bool { return false }); got.controllers["cpu"] {
		t.Error("cpu without cpu.cfs_period_us counts")
	}
}

func TestKernel(t *testing.T) {
	for release, want := range map[string]bool{"4.4.0": false, "4.11.0": true, "4.19.0-gvisor": true, "6.1": true, "5.0-rc1": true, "odd": true} {
		if releaseAtLeast(release, 4, 11) != want {
			t.Errorf("%s: want %v", release, want)
		}
	}
	if mapsIDs("         0          0 4294967295\n") || !mapsIDs("0 1000 1\n") {
		t.Error("user namespaces")
	}
}

func TestSysctls(t *testing.T) {
	got := sysctls(false, &component.Conntrack{MaxPerCore: 32768, Min: 131072, TCPEstablished: 24 * time.Hour}, 2)
	if got["net/netfilter/nf_conntrack_max"] != 131072 || got["net/netfilter/nf_conntrack_tcp_timeout_established"] != 86400 ||
		got["net/ipv4/conf/all/forwarding"] != 1 || len(got) != 5 {
		t.Errorf("%v", got)
	}
	if got := sysctls(true, &component.Conntrack{MaxPerCore: 32768, Min: 131072}, 8)["net/netfilter/nf_conntrack_max"]; got != 8*32768 {
		t.Error(got)
	}
}

func TestRegistries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registries.yaml")
	text := "mirrors:\n  docker.io:\n    endpoint: [\"https://m.example:5000/own\", \"localhost:5001\"]\n" +
		"configs:\n  m.example:5000:\n    auth: {username: me}\n    tls: {ca_file: /ca, insecure_skip_verify: true}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := readRegistries(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := writeHosts(dir, r, false); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(filepath.Join(dir, "docker.io", "hosts.toml"))
	for _, want := range []string{`server = "https://registry-1.docker.io/v2"`, `[host."https://m.example:5000/own"]`, "override_path = true",
		`ca = ["/ca"]`, "skip_verify = true", `[host."http://localhost:5001/v2"]`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in\n%s", want, raw)
		}
	}
	if err := writeHosts(dir, &Registry{}, false); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

func TestArchives(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte("text"))
	_ = w.Close()
	file := filepath.Join(t.TempDir(), "A.TAR.GZ")
	if err := os.WriteFile(file, z.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := openArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(a); string(raw) != "text" || err != nil || a.Close() != nil {
		t.Errorf("%q, %v", raw, err)
	}
	if _, err := openArchive("/dev/null"); err == nil {
		t.Error("/dev/null is no archive")
	}
	if got := imported("unpacking docker.io/library/a:1 (sha256:00)...done\nelse\n"); !slices.Equal(got, []string{"docker.io/library/a:1"}) {
		t.Error(got)
	}
	if got := retag("r.example", "docker.io/library/a:1"); got != "r.example/library/a:1" {
		t.Error(got)
	}
}

func TestFlannel(t *testing.T) {
	dir := t.TempDir()
	n := &Node{FlannelBackend: "wireguard-native", FlannelConfFile: filepath.Join(dir, "flannel/net-conf.json"),
		AgentConfig: Agent{CNIConfDir: filepath.Join(dir, "cni"), ClusterCIDRs: cidr(t, "10.42.0.0/16")}}
	if err := writeFlannel(n); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(n.FlannelConfFile)
	for _, want := range []string{`"Network": "10.42.0.0/16"`, `"EnableIPv6": false`, `"Type": "wireguard"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	if raw, _ := os.ReadFile(filepath.Join(dir, "cni/10-flannel.conflist")); !strings.Contains(string(raw), `"type":"flannel"`) {
		t.Errorf("%s", raw)
	}
	n.FlannelBackend = "tailscale"
	if err := writeFlannel(n); err == nil {
		t.Error("tailscale is accepted")
	}
	l := &lastLine{out: io.Discard}
	if _, err := l.Write([]byte("one\nthe reason\n")); err != nil || l.text != "the reason" {
		t.Errorf("%q, %v", l.text, err)
	}
}
