// Node passwords: the first who asks for a node's certificates sets it; a hash lies in the Secret
// NAME.node-password.k3s, and goes with the node. So whoever has a token cannot become a node
// that is already there.
package supervisor

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/scrypt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/auth/nodeidentifier"

	"sandbar.dev/hack/k3s/internal/version"
)

// errVerify is a password that is not the one of before.
var errVerify = errors.New("unable to verify password")

// node says which node a request is for, once it is sure that it comes from there, or with
// which HTTP code it is refused.
func (s *Supervisor) node(r *http.Request) (string, int, error) {
	name, password := strings.ToLower(r.Header.Get(NodeName)), r.Header.Get(NodePassword)
	switch {
	case name == "":
		return "", http.StatusBadRequest, errors.New("node name not set")
	case password == "":
		return "", http.StatusBadRequest, errors.New("node password not set")
	}
	who, _ := request.UserFrom(r.Context())
	if own, isNode := nodeidentifier.NewDefaultNodeIdentifier().NodeIdentity(who); isNode {
		if own != name {
			return "", http.StatusBadRequest, errors.New("header node name does not match auth node name")
		}
		// The certificate of a node that was deleted opens nothing.
		if _, err := s.Client.CoreV1().Nodes().Get(r.Context(), name, metav1.GetOptions{}); err != nil {
			return "", http.StatusUnauthorized, fmt.Errorf("unable to verify node identity: %w", err)
		}
	}
	switch err := EnsurePassword(r.Context(), s.Client, name, password); {
	case errors.Is(err, errVerify):
		return "", http.StatusForbidden, err
	case err != nil: // k3s lets it in and checks later
		return "", http.StatusInternalServerError, err
	}
	return name, http.StatusOK, nil
}

func secretName(node string) string {
	return strings.ToLower(node + ".node-password." + version.Program)
}

// EnsurePassword compares a node's password with the one of before, or keeps it.
func EnsurePassword(ctx context.Context, client kubernetes.Interface, node, password string) error {
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	kept, err := secrets.Get(ctx, secretName(node), metav1.GetOptions{})
	if err == nil {
		return verify(node, kept, password)
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	hash, err := hashOf(password)
	if err != nil {
		return fmt.Errorf("unable to create hash for node '%s': %w", node, err)
	}
	immutable := true
	_, err = secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secretName(node)},
		Immutable:  &immutable,
		Data:       map[string][]byte{"hash": []byte(hash)},
	}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	if kept, err = secrets.Get(ctx, secretName(node), metav1.GetOptions{}); err != nil { // another was faster
		return err
	}
	return verify(node, kept, password)
}

func verify(node string, secret *corev1.Secret, password string) error {
	hash, ok := secret.Data["hash"]
	if !ok {
		return fmt.Errorf("%w: unable to locate hash data for node secret '%s'", errVerify, secret.Name)
	}
	if err := matches(string(hash), password); err != nil {
		return fmt.Errorf("%w: unable to verify hash for node '%s': %w", errVerify, node, err)
	}
	return nil
}

// format is k3s's: version, salt, cost (as a power of two), block size, parallelism, key.
const format = "$%d:%x:%d:%d:%d:%s"

func hashOf(password string) (string, error) {
	salt := make([]byte, 8)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	key, err := scrypt.Key([]byte(password), salt, 1<<15, 8, 1, 64)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(format, 1, salt, 15, 8, 1, base64.RawStdEncoding.EncodeToString(key)), nil
}

func matches(hash, password string) error {
	var version, cost, block, parallel int
	fields := strings.Split(strings.TrimPrefix(hash, "$"), ":")
	if len(fields) != 6 {
		return errors.New("hash has another format")
	}
	if _, err := fmt.Sscan(strings.Join([]string{fields[0], fields[2], fields[3], fields[4]}, " "), &version, &cost, &block, &parallel); err != nil {
		return err
	}
	if version != 1 || cost < 1 || cost > 20 {
		return fmt.Errorf("hash version %d, cost %d are not those expected", version, cost)
	}
	salt, err := hex.DecodeString(fields[1])
	if err != nil {
		return err
	}
	key, err := base64.RawStdEncoding.DecodeString(fields[5])
	if err != nil {
		return err
	}
	got, err := scrypt.Key([]byte(password), salt, 1<<cost, block, parallel, len(key))
	if err != nil {
		return err
	}
	if len(key) == 0 || subtle.ConstantTimeCompare(key, got) != 1 {
		return errors.New("hash does not match")
	}
	return nil
}

// ForgetPasswords removes the password of every node that is deleted, so that another machine may
// have its name.
func ForgetPasswords(ctx context.Context, client kubernetes.Interface) {
	nodes := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll, fields.Everything())
	_, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: nodes, ObjectType: &corev1.Node{},
		Handler: cache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) {
			node, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
			if err != nil {
				return
			}
			err = client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, secretName(node), metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				logrus.Errorf("Failed to delete the password of node %s: %v", node, err)
			}
		}},
	})
	controller.Run(ctx.Done())
}
