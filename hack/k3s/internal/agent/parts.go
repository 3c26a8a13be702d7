// A node's parts: the container runtime, then kubelet, flannel and kube-proxy.
package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"

	"sandbar.dev/hack/k3s/internal/component"
	"sandbar.dev/hack/k3s/internal/running"
)

// Parts are the components of a node, with their flags read, so that a bad flag is told at once.
type Parts struct {
	Node      *Node
	kubelet   *component.Kubelet
	kubeProxy *component.KubeProxy
}

// NewParts reads the flags. In one process with an apiserver it comes after that one's: they
// close the feature gates.
func NewParts(n *Node) (*Parts, error) {
	args, err := n.KubeletArgs()
	if err != nil {
		return nil, fmt.Errorf("failed to start kubelet: %w", err)
	}
	logrus.Infof("Running kubelet %s", strings.Join(args, " "))
	p := &Parts{Node: n, kubelet: component.NewKubelet(args)}
	if n.DisableKubeProxy {
		return p, nil
	}
	args = n.KubeProxyArgs()
	logrus.Infof("Running kube-proxy %s", strings.Join(args, " "))
	if p.kubeProxy, err = component.NewKubeProxy(args); err != nil {
		return nil, fmt.Errorf("failed to start kube-proxy: %w", err)
	}
	return p, nil
}

// StartRuntime starts containerd, unless the runtime is another's; the channel gets the end of
// the wait for it.
func (p *Parts) StartRuntime(ctx context.Context, g *running.Group) <-chan error {
	if p.Node.ContainerRuntimeEndpoint == "" {
		g.Start("containerd", running.Runtime, p.Node.RunContainerd)
	}
	ready := make(chan error, 1)
	go func() { ready <- p.Node.WaitRuntime(ctx) }()
	return ready
}

// Access is with which kubeconfigs a node's object is read and labelled, and flannel runs.
type Access struct {
	Node, Flannel string
	Labels        map[string]string // besides the user's own
}

// Start comes when the apiserver and the runtime answer.
func (p *Parts) Start(ctx context.Context, g *running.Group, access Access) {
	a := &p.Node.AgentConfig
	g.Start("kubelet", running.Clients, p.kubelet.Run)
	go func() {
		if err := labelNode(ctx, access.Node, a.NodeName, nodeLabels(access.Labels, a.NodeLabels)); err != nil {
			logrus.Errorf("Failed to set labels on node %s: %v", a.NodeName, err)
		}
	}()
	if !p.Node.NoFlannel {
		g.Start("flannel", running.Clients, func(ctx context.Context) error {
			if err := waitPodCIDR(ctx, access.Node, a.NodeName); err != nil || ctx.Err() != nil {
				return err
			}
			return p.Node.RunFlannel(ctx, access.Flannel)
		})
	}
	if p.kubeProxy != nil {
		g.Start("kube-proxy", running.Clients, p.kubeProxy.Run)
	}
}
