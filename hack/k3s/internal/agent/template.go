// Renders containerd's configuration: k3s's own, or the user's template, which may include
// k3s's as {{ template "base" . }}.
package agent

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/version"
)

//go:embed templates/config-v3.toml.tmpl
var baseV3 string

//go:embed templates/config-v2.toml.tmpl
var baseV2 string

// ContainerdConfig is what a template sees.
type ContainerdConfig struct {
	NodeConfig                        *Node
	DisableCgroup, SystemdCgroup      bool
	IsRunningInUserNS                 bool
	EnableUnprivileged                bool
	NoDefaultEndpoint, NonrootDevices bool
	PrivateRegistryConfig             *Registry
	ExtraRuntimes                     map[string]ContainerdRuntimeConfig
	Program                           string
}

// ContainerdRuntimeConfig is an OCI runtime besides runc that was found on the host.
type ContainerdRuntimeConfig struct{ RuntimeType, BinaryName string }

// userTemplates in the order in which they are looked for.
var userTemplates = []struct {
	file    string
	version int
	base    *string
}{
	{"config-v3.toml.tmpl", 3, &baseV3},
	{"config.toml.tmpl", 2, &baseV2},
}

// writeContainerdConfig renders config.toml and notes which version it has.
func writeContainerdConfig(n *Node, c *ContainerdConfig) error {
	text, base := baseV3, baseV3
	n.Containerd.ConfigVersion = 3
	for _, t := range userTemplates {
		file := filepath.Join(n.Containerd.Template, t.file)
		raw, err := os.ReadFile(file)
		if err == nil {
			logrus.Infof("Using containerd config template at %s", file)
			text, base, n.Containerd.ConfigVersion = string(raw), *t.base, t.version
			break
		}
		if !os.IsNotExist(err) {
			return err
		}
	}
	out, err := render(text, base, c)
	if err != nil {
		return fmt.Errorf("containerd config template: %w", err)
	}
	return pki.WriteFile(n.Containerd.Config, []byte(out), 0o600)
}

// newContainerdConfig looks at the host.
func newContainerdConfig(n *Node) (*ContainerdConfig, error) {
	c := &ContainerdConfig{
		NodeConfig:            n,
		IsRunningInUserNS:     runningInUserNS(),
		EnableUnprivileged:    kernelAtLeast(4, 11),
		NoDefaultEndpoint:     n.Containerd.NoDefault,
		NonrootDevices:        n.Containerd.NonrootDevices,
		PrivateRegistryConfig: n.AgentConfig.Registry,
		ExtraRuntimes:         findRuntimes(),
		Program:               version.Program,
	}
	have := checkCgroups().controllers
	c.DisableCgroup = c.IsRunningInUserNS && (!have["cpu"] || !have["pids"] || !writable(cgroupRoot))
	if c.DisableCgroup {
		logrus.Warn("cgroup v2 controllers are not delegated for rootless. Disabling cgroup.")
	} else {
		n.AgentConfig.Systemd = !c.IsRunningInUserNS && have["cpuset"] && os.Getenv("INVOCATION_ID") != ""
	}
	c.SystemdCgroup = n.AgentConfig.Systemd
	if _, ok := c.ExtraRuntimes[n.DefaultRuntime]; !ok && n.DefaultRuntime != "" && n.DefaultRuntime != "runc" {
		return nil, fmt.Errorf("default runtime %s was not found", n.DefaultRuntime)
	}
	return c, nil
}

// render fills a template in, and leaves its empty lines out.
func render(text, base string, data any) (string, error) {
	t, err := template.New("compiled_template").Funcs(template.FuncMap{
		"deschemify": func(s string) string {
			if _, rest, ok := strings.Cut(s, "://"); ok {
				return rest
			}
			return s
		},
	}).Parse(text)
	if err != nil {
		return "", err
	}
	if _, err := t.New("base").Parse(base); err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return "", err
	}
	var lines strings.Builder
	for _, line := range strings.Split(out.String(), "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if strings.HasPrefix(line, "[") {
			lines.WriteByte('\n')
		}
		lines.WriteString(line + "\n")
	}
	return lines.String(), nil
}
