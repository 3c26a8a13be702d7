// The node's certificates and kubeconfigs, under k3s's names below <data>/agent. k3s fetches
// them from its supervisor; here the CAs lie in the server's folder of the same process.
package agent

import (
	"fmt"
	"os"
	"path/filepath"

	"sandbar.dev/hack/k3s/internal/kubeconfig"
	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/version"
)

// writeFiles makes what is missing, see package pki.
func writeFiles(n *Node, serverTLS string) error {
	a := &n.AgentConfig
	dir := filepath.Join(a.DataDir, "agent")
	for _, d := range []string{dir, filepath.Join(dir, "etc", "containerd"), a.KubeletConfigDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	for _, name := range []string{"client-ca.crt", "server-ca.crt"} {
		raw, err := os.ReadFile(filepath.Join(serverTLS, name))
		if err != nil {
			return err
		}
		if err := pki.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			return err
		}
	}
	client, err := openCA(serverTLS, "client")
	if err != nil {
		return err
	}
	server, err := openCA(serverTLS, "server")
	if err != nil {
		return err
	}

	serving := pki.Leaf{Cert: a.ServingKubeletCert, Key: a.ServingKubeletKey, CommonName: a.NodeName,
		SANs: []string{a.NodeName, "localhost", "127.0.0.1", "::1"}, Server: true}
	for _, ip := range append(a.NodeIPs, a.NodeExternalIPs...) {
		serving.SANs = append(serving.SANs, ip.String())
	}
	if _, err := server.Ensure(serving); err != nil {
		return fmt.Errorf("%s: %w", a.ServingKubeletCert, err)
	}
	controller := version.Program + "-controller"
	for _, u := range []struct{ name, cn, org, config string }{
		{"kubelet", "system:node:" + a.NodeName, "system:nodes", a.KubeConfigKubelet},
		{"kube-proxy", "system:kube-proxy", "", a.KubeConfigKubeProxy},
		{controller, "system:" + controller, "", filepath.Join(dir, version.Program+"controller.kubeconfig")},
	} {
		leaf := pki.Leaf{CommonName: u.cn, Cert: filepath.Join(dir, "client-"+u.name+".crt"), Key: filepath.Join(dir, "client-"+u.name+".key")}
		if u.org != "" {
			leaf.Organization = []string{u.org}
		}
		if _, err := client.Ensure(leaf); err != nil {
			return fmt.Errorf("%s: %w", leaf.Cert, err)
		}
		if err := kubeconfig.Write(u.config, a.URL, a.ServerCA, leaf.Cert, leaf.Key); err != nil {
			return err
		}
	}
	return nil
}

func openCA(dir, name string) (*pki.Authority, error) {
	return pki.OpenAuthority(name, filepath.Join(dir, name+"-ca.crt"), filepath.Join(dir, name+"-ca.key"))
}

// writeCrictl tells crictl where the runtime is.
func writeCrictl(n *Node) error {
	text := "runtime-endpoint: " + socketURL(n.AgentConfig.RuntimeSocket) + "\n"
	return pki.WriteFile(filepath.Join(n.AgentConfig.DataDir, "agent", "etc", "crictl.yaml"), []byte(text), 0o600)
}
