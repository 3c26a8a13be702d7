// The node's certificates and kubeconfigs, under k3s's names below <data>/agent.
package agent

import (
	"fmt"
	"os"
	"path/filepath"

	"sandbar.dev/hack/k3s/internal/kubeconfig"
	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/version"
)

// Issuer is where the node's certificates come from: the server of the same process has the CAs,
// an agent asks its server.
type Issuer interface {
	// Authority returns the certificate of the CA `client` or `server`.
	Authority(name string) ([]byte, error)
	// Ensure puts a certificate and its key into the leaf's files.
	Ensure(pki.Leaf) error
}

// writeFiles makes what is missing, see package pki.
func writeFiles(n *Node, issuer Issuer) error {
	a := &n.AgentConfig
	dir := filepath.Join(a.DataDir, "agent")
	for _, d := range []string{dir, filepath.Join(dir, "etc", "containerd"), a.KubeletConfigDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	for name, file := range map[string]string{"client": a.ClientCA, "server": a.ServerCA} {
		raw, err := issuer.Authority(name)
		if err != nil {
			return err
		}
		if err := pki.WriteFile(file, raw, 0o600); err != nil {
			return err
		}
	}

	serving := pki.Leaf{Cert: a.ServingKubeletCert, Key: a.ServingKubeletKey, CommonName: a.NodeName,
		SANs: []string{a.NodeName, "localhost", "127.0.0.1", "::1"}, Server: true}
	for _, ip := range append(a.NodeIPs, a.NodeExternalIPs...) {
		serving.SANs = append(serving.SANs, ip.String())
	}
	if err := issuer.Ensure(serving); err != nil {
		return fmt.Errorf("%s: %w", serving.Cert, err)
	}
	controller := version.Program + "-controller"
	for _, u := range []struct{ name, cn, org, config string }{
		{"kubelet", "system:node:" + a.NodeName, "system:nodes", a.KubeConfigKubelet},
		{"kube-proxy", "system:kube-proxy", "", a.KubeConfigKubeProxy},
		{controller, "system:" + controller, "", a.KubeConfigK3sController},
	} {
		leaf := pki.Leaf{CommonName: u.cn, Cert: filepath.Join(dir, "client-"+u.name+".crt"), Key: filepath.Join(dir, "client-"+u.name+".key")}
		if u.org != "" {
			leaf.Organization = []string{u.org}
		}
		if err := issuer.Ensure(leaf); err != nil {
			return fmt.Errorf("%s: %w", leaf.Cert, err)
		}
		if err := kubeconfig.Write(u.config, a.URL, a.ServerCA, leaf.Cert, leaf.Key); err != nil {
			return err
		}
	}
	return nil
}

// LocalIssuer issues from the CAs in a server's folder: what is there and good is kept.
type LocalIssuer struct{ Dir string }

func (l LocalIssuer) Authority(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(l.Dir, name+"-ca.crt"))
}

func (l LocalIssuer) Ensure(leaf pki.Leaf) error {
	name := "client"
	if leaf.Server {
		name = "server"
	}
	ca, err := pki.OpenAuthority(name, filepath.Join(l.Dir, name+"-ca.crt"), filepath.Join(l.Dir, name+"-ca.key"))
	if err != nil {
		return err
	}
	_, err = ca.Ensure(leaf)
	return err
}

// writeCrictl tells crictl where the runtime is.
func writeCrictl(n *Node) error {
	text := "runtime-endpoint: " + socketURL(n.AgentConfig.RuntimeSocket) + "\n"
	return pki.WriteFile(filepath.Join(n.AgentConfig.DataDir, "agent", "etc", "crictl.yaml"), []byte(text), 0o600)
}
