// What is done to the Node object besides kubelet: labels that kubelet sets only when it
// registers, or may not set at all, are brought up to date at every start; flannel waits for
// its subnet.
package agent

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// nodeLabels are those of the node's role and the user's own.
func nodeLabels(role map[string]string, own []string) map[string]string {
	labels := maps.Clone(role)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, l := range own {
		name, value, _ := strings.Cut(l, "=")
		labels[name] = value
	}
	return labels
}

func nodeClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// labelNode waits for the node, which kubelet makes.
func labelNode(ctx context.Context, kubeconfig, node string, labels map[string]string) error {
	client, err := nodeClient(kubeconfig)
	if err != nil {
		return err
	}
	if len(labels) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	return poll(ctx, func() bool {
		_, err := client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
		if err == nil {
			logrus.Infof("Labels have been set successfully on node: %s", node)
		} else if ctx.Err() == nil && !apierrors.IsNotFound(err) {
			logrus.Infof("Failed to set labels on node %s: %v", node, err)
		}
		return err == nil
	})
}

// waitPodCIDR waits for the node's subnet, which the controller-manager assigns.
func waitPodCIDR(ctx context.Context, kubeconfig, node string) error {
	client, err := nodeClient(kubeconfig)
	if err != nil {
		return err
	}
	return poll(ctx, func() bool {
		n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil || n.Spec.PodCIDR == "" {
			return false
		}
		logrus.Info("Flannel found PodCIDR assigned for node " + node)
		return true
	})
}

// poll tries until it is done, or the context, which is no failure.
func poll(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil
}
