// Prepares the data directory: folders, certificates, credentials of the components, and
// the admin's kubeconfig, all under k3s's names.
package server

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/kubeconfig"
	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/version"
)

const (
	requestHeaderCN = "system:auth-proxy"
	masters         = "system:masters"
)

// files knows every path below the server folder.
type files struct{ dir string }

func (f files) tls(name string) string  { return filepath.Join(f.dir, "tls", name) }
func (f files) cred(name string) string { return filepath.Join(f.dir, "cred", name) }
func (f files) etc(name string) string  { return filepath.Join(f.dir, "etc", name) }

func (f files) mkdirs() error {
	for _, d := range []string{"", "db", "tls", "cred", "etc", "manifests", "tls/temporary-certs",
		"tls/kube-controller-manager", "tls/kube-scheduler"} {
		if err := os.MkdirAll(filepath.Join(f.dir, d), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// certificates makes what is missing, see package pki.
func (f files) certificates(c *Config) error {
	client, err := pki.OpenAuthority("client", f.tls("client-ca.crt"), f.tls("client-ca.key"))
	if err != nil {
		return err
	}
	server, err := pki.OpenAuthority("server", f.tls("server-ca.crt"), f.tls("server-ca.key"))
	if err != nil {
		return err
	}
	header, err := pki.OpenAuthority("request-header", f.tls("request-header-ca.crt"), f.tls("request-header-ca.key"))
	if err != nil {
		return err
	}
	if err := client.WriteSingle(f.tls("client-ca.nochain.crt")); err != nil {
		return err
	}
	if err := server.WriteSingle(f.tls("server-ca.nochain.crt")); err != nil {
		return err
	}

	for _, u := range []struct{ file, cn, org, kubeconfig string }{
		{"client-admin", "system:admin", masters, "admin"},
		{"client-supervisor", "system:" + version.Program + "-supervisor", masters, "supervisor"},
		{"client-controller", "system:kube-controller-manager", "", "controller"},
		{"client-scheduler", "system:kube-scheduler", "", "scheduler"},
		{"client-kube-apiserver", "system:apiserver", masters, "api-server"},
		{"client-kube-proxy", "system:kube-proxy", "", ""},
		{"client-" + version.Program + "-controller", "system:" + version.Program + "-controller", "", ""},
		{"client-" + version.Program + "-cloud-controller", version.Program + "-cloud-controller-manager", "", "cloud-controller"},
	} {
		leaf := f.leaf(u.file, u.cn)
		if u.org != "" {
			leaf.Organization = []string{u.org}
		}
		if _, err := client.Ensure(leaf); err != nil {
			return err
		}
		if u.kubeconfig != "" {
			if err := f.credential(u.kubeconfig, c, leaf); err != nil {
				return err
			}
		}
	}
	if _, err := header.Ensure(f.leaf("client-auth-proxy", requestHeaderCN)); err != nil {
		return err
	}

	api := f.leaf("serving-kube-apiserver", "kube-apiserver")
	api.Server = true
	api.SANs = append([]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + c.ClusterDomain}, c.SANs...)
	cm := f.leaf("kube-controller-manager/kube-controller-manager", "kube-controller-manager")
	sched := f.leaf("kube-scheduler/kube-scheduler", "kube-scheduler")
	local := []string{"localhost", "127.0.0.1", "::1"}
	cm.Server, cm.SANs, sched.Server, sched.SANs = true, local, true, local
	for _, l := range []pki.Leaf{api, cm, sched} {
		if _, err := server.Ensure(l); err != nil {
			return err
		}
	}
	return pki.EnsureServiceKey(f.tls("service.key"), f.tls("service.current.key"))
}

func (f files) leaf(name, cn string) pki.Leaf {
	return pki.Leaf{Cert: f.tls(name + ".crt"), Key: f.tls(name + ".key"), CommonName: cn}
}

// credential writes a component's kubeconfig.
func (f files) credential(name string, c *Config, l pki.Leaf) error {
	return kubeconfig.Write(f.cred(name+".kubeconfig"), c.url(), f.tls("server-ca.crt"), l.Cert, l.Key)
}

// url is how this machine reaches the apiserver.
func (c *Config) url() string {
	host := "127.0.0.1"
	if ip := net.ParseIP(c.BindAddress); ip != nil && !ip.IsUnspecified() {
		host = ip.String()
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(c.HTTPSPort))
}

// kubeconfig writes the admin's kubeconfig and, like k3s, links it from the default place.
func (f files) kubeconfig(c *Config) error {
	link, err := HomeKubeconfig(true)
	if err != nil {
		link = filepath.Join(f.dir, "kubeconfig-"+version.Program+".yaml")
	}
	file := c.KubeconfigOutput
	if file == "" {
		file = link
	}
	var data [3]string
	for i, name := range []string{"server-ca.crt", "client-admin.crt", "client-admin.key"} {
		raw, err := os.ReadFile(f.tls(name))
		if err != nil {
			return err
		}
		data[i] = base64.StdEncoding.EncodeToString(raw)
	}
	text := fmt.Sprintf(`apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: %s
    server: %s
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-certificate-data: %s
    client-key-data: %s
`, data[0], c.url(), data[1], data[2])

	if st, err := os.Lstat(link); err == nil && st.Mode()&os.ModeSymlink != 0 {
		if err := os.Remove(link); err != nil {
			logrus.Errorf("failed to remove kubeconfig symlink: %v", err)
		}
	}
	if err := pki.WriteFile(file, []byte(text), c.KubeconfigPerm); err != nil {
		return fmt.Errorf("failed to write kubeconfig: %w", err)
	}
	if link != file {
		if err := relink(file, link); err != nil {
			logrus.Errorf("failed to write kubeconfig symlink: %v", err)
		}
	}
	logrus.Infof("Wrote kubeconfig %s", file)
	logrus.Infof("Run: %s kubectl", version.Program)
	return nil
}

func relink(file, link string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	return os.Symlink(file, link)
}
