// What the server does for nodes that join it: k3s's supervisor API, and the rights and passwords
// of nodes.
package server

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/sirupsen/logrus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"sandbar.dev/hack/k3s/internal/agent"
	"sandbar.dev/hack/k3s/internal/args"
	"sandbar.dev/hack/k3s/internal/pki"
	"sandbar.dev/hack/k3s/internal/supervisor"
)

// supervisor is the API by which nodes join. It wants the certificates and tokens to be there.
func (f files) supervisor(c *Config) (*supervisor.Supervisor, error) {
	client, err := pki.OpenAuthority("client", f.tls("client-ca.crt"), f.tls("client-ca.key"))
	if err != nil {
		return nil, err
	}
	server, err := pki.OpenAuthority("server", f.tls("server-ca.crt"), f.tls("server-ca.key"))
	if err != nil {
		return nil, err
	}
	kube, err := f.client()
	if err != nil {
		return nil, err
	}
	shared, err := c.shared()
	if err != nil {
		return nil, err
	}
	host := c.AdvertiseAddress
	if host == "" {
		host = c.NodeIPs[0].String()
	}
	return &supervisor.Supervisor{
		Config: shared, TLS: filepath.Clean(f.tls("")), Passwd: f.cred("passwd"),
		APIServers: []string{net.JoinHostPort(host, strconv.Itoa(c.AdvertisePort))},
		ClientCA:   client, ServerCA: server, Client: kube,
	}, nil
}

// shared is what agents take over.
func (c *Config) shared() (supervisor.Config, error) {
	names, err := agent.ClusterDNS(args.Split(c.ClusterDNS.Value()), c.ServiceCIDRs)
	if err != nil {
		return supervisor.Config{}, err
	}
	var dns []net.IP
	for _, s := range names {
		dns = append(dns, net.ParseIP(s))
	}
	return supervisor.Config{
		ClusterIPRanges: c.ClusterCIDRs, ServiceIPRanges: c.ServiceCIDRs, ClusterDNSs: dns, ClusterDomain: c.ClusterDomain,
		FlannelBackend: c.FlannelBackend, FlannelExternalIP: c.FlannelExternalIP, EgressSelectorMode: c.EgressSelectorMode,
		HTTPSPort: c.HTTPSPort, SupervisorPort: c.HTTPSPort, SystemDefaultRegistry: c.Agent.SystemDefaultRegistry,
		DisableCCM: c.DisableCCM, DisableKubeProxy: c.Agent.DisableKubeProxy, DisableNPC: c.Agent.DisableNetworkPolicy,
		DisableServiceLB: slices.Contains(args.Split(c.Disable.Value()), "servicelb"),
	}, nil
}

func (f files) client() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", f.cred("supervisor.kubeconfig"))
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// passwords keeps that of the server's own node, if it has one, so that no agent takes its name, and
// forgets those of nodes that are deleted.
func (f files) passwords(ctx context.Context, own string) {
	client, err := f.client()
	if err != nil {
		logrus.Errorf("Failed to keep node passwords: %v", err)
		return
	}
	if own != "" {
		password, err := agent.NodePassword(agent.PasswordFile)
		if err == nil {
			err = supervisor.EnsurePassword(ctx, client, own, password)
		}
		if err != nil && ctx.Err() == nil {
			logrus.Errorf("Failed to verify the password of node %s: %v", own, err)
		}
	}
	supervisor.ForgetPasswords(ctx, client)
}

// agentRights are those of flannel on an agent: kubelet's own end at its node.
const agentRights = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: system:k3s-controller
rules:
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [nodes/status]
  verbs: [patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: system:k3s-controller
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: system:k3s-controller
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: User
  name: system:k3s-controller
`

// rights lays them where k3s has its own, among the manifests. Without flannel nobody needs them.
func (f files) rights(c *Config) error {
	if c.FlannelBackend == "none" {
		return nil
	}
	return pki.WriteFile(filepath.Join(f.dir, "manifests", "rolebindings.yaml"), []byte(agentRights), 0o600)
}
