// Labels of the server's own node that kubelet sets only when it registers, or may not set at
// all: k3s brings them up to date at every start.
package server

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// nodeLabels are the role of a server and the user's own.
func nodeLabels(own []string) map[string]string {
	labels := map[string]string{"node-role.kubernetes.io/control-plane": "true"}
	for _, l := range own {
		name, value, _ := strings.Cut(l, "=")
		labels[name] = value
	}
	return labels
}

// labelNode waits for the node, which kubelet makes.
func labelNode(ctx context.Context, kubeconfig, node string, labels map[string]string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	for {
		_, err := client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
		switch {
		case err == nil:
			logrus.Infof("Labels have been set successfully on node: %s", node)
			return nil
		case ctx.Err() != nil:
			return nil
		case !apierrors.IsNotFound(err):
			logrus.Infof("Failed to set labels on node %s: %v", node, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}
