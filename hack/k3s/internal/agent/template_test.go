// Checks what containerd is told: k3s's defaults, users' templates over them, and that the
// result is TOML without a table twice.
package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testNode() *Node {
	return &Node{
		NoFlannel: true,
		Containerd: Containerd{Address: "/run/k3s/containerd/containerd.sock", State: "/run/k3s/containerd", Root: "/d/agent/containerd",
			Opt: "/d/agent/containerd", Template: "/d/agent/etc/containerd", Registry: "/d/agent/etc/containerd/certs.d"},
		AgentConfig: Agent{Snapshotter: "native", PauseImage: "rancher/mirrored-pause:3.6"},
	}
}

func lines(text string) map[string]int {
	out := map[string]int{}
	for _, l := range strings.Split(text, "\n") {
		out[strings.TrimSpace(l)]++
	}
	return out
}

func TestBaseTemplates(t *testing.T) {
	c := &ContainerdConfig{NodeConfig: testNode(), EnableUnprivileged: true, Program: "k3s",
		ExtraRuntimes: map[string]ContainerdRuntimeConfig{"crun": {"io.containerd.runc.v2", "/usr/bin/crun"}},
		PrivateRegistryConfig: &Registry{Configs: map[string]RegistryConfig{
			"r.example": {Auth: &AuthConfig{Username: "me", Password: "pass\"word"}}, "tls.example": {TLS: &TLSConfig{}}}}}
	for base, want := range map[string][]string{
		baseV3: {"version = 3", `address = "/run/k3s/containerd/containerd.sock"`, `imports = ["/d/agent/etc/containerd/config-v3.toml.d/*.toml"]`,
			`[plugins.'io.containerd.cri.v1.images'.registry.configs.'r.example'.auth]`, `sandbox = "rancher/mirrored-pause:3.6"`},
		baseV2: {"version = 2", `[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".auth]`, `sandbox_image = "rancher/mirrored-pause:3.6"`},
	} {
		out, err := render(base, base, c)
		if err != nil {
			t.Fatal(err)
		}
		got := lines(out)
		for _, w := range append(want, "enable_unprivileged_ports = true", "enable_unprivileged_icmp = true", "enable_selinux = false",
			`snapshotter = "native"`, `root = "/d/agent/containerd"`, `password = "pass\"word"`, `BinaryName = "/usr/bin/crun"`) {
			if got[w] == 0 {
				t.Errorf("no line %q in\n%s", w, out)
			}
		}
		for l, n := range got {
			if strings.HasPrefix(l, "[") && n > 1 {
				t.Errorf("table %s is there %d times", l, n)
			}
			if strings.Contains(l, "conf_dir") || strings.Contains(l, "tls.example") {
				t.Errorf("not asked for: %q", l)
			}
		}
	}
}

func TestUserTemplates(t *testing.T) {
	n := testNode()
	dir := t.TempDir()
	n.Containerd.Template, n.Containerd.Config = dir, filepath.Join(dir, "config.toml")
	n.AgentConfig.CNIBinDir, n.AgentConfig.CNIConfDir = "/d/data/cni", "/d/net.d"
	c := &ContainerdConfig{NodeConfig: n, Program: "k3s"}
	run := func() string {
		t.Helper()
		if err := writeContainerdConfig(n, c); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(n.Containerd.Config)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := run(); !strings.Contains(out, "version = 3") || !strings.Contains(out, `bin_dirs = ["/d/data/cni"]`) || n.Containerd.ConfigVersion != 3 {
		t.Error(out)
	}
	put("config.toml.tmpl", "# mine\n{{ template \"base\" . }}\n[debug]\n  level = \"{{ .NodeConfig.AgentConfig.Snapshotter }}\"\n")
	if out := run(); !strings.HasPrefix(out, "# mine\n") || !strings.Contains(out, "version = 2") || !strings.Contains(out, `level = "native"`) || n.Containerd.ConfigVersion != 2 {
		t.Error(out)
	}
	put("config-v3.toml.tmpl", "version = 3\naddress = {{ deschemify \"unix:///a/b\" | printf \"%q\" }}\n\n\n")
	if out := run(); out != "version = 3\naddress = \"/a/b\"\n" || n.Containerd.ConfigVersion != 3 {
		t.Errorf("%q", out)
	}
	put("config-v3.toml.tmpl", "{{ .NoSuchField }}")
	if err := writeContainerdConfig(n, c); err == nil {
		t.Error("a broken template is accepted")
	}
}

func TestContainerdCommand(t *testing.T) {
	n := testNode()
	n.Containerd.Config, n.Containerd.ConfigVersion = "/c.toml", 2
	args, env := containerdCommand(n, []string{"A=1", "NOTIFY_SOCKET=x", "CONTAINERD_LOG_LEVEL=debug", "CONTAINERD_HTTPS_PROXY=p=q"})
	if got := strings.Join(args, " "); got != "-c /c.toml -a /run/k3s/containerd/containerd.sock --state /run/k3s/containerd --root /d/agent/containerd --log-level debug" {
		t.Error(got)
	}
	if got := strings.Join(env, " "); got != "A=1 HTTPS_PROXY=p=q" {
		t.Error(got)
	}
}
