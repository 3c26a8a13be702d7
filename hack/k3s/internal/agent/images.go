// Images without a registry: archives in <data>/agent/images are imported at every start, and
// lists of names (*.txt) pulled. Both are pinned, so that kubelet does not collect them.
package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"
)

// pinned is how CRI knows a pinned image, and k3s its own.
var pinned = []string{"io.cri-containerd.pinned=pinned", "io.cattle.k3s.pinned=pinned"}

// preload goes through the folder. As in k3s, no failure is fatal.
func (n *Node) preload(ctx context.Context) {
	entries, err := os.ReadDir(n.Images)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		logrus.Errorf("Unable to read images in %s: %v", n.Images, err)
		return
	}
	for _, e := range entries {
		file := filepath.Join(n.Images, e.Name())
		if st, err := os.Stat(file); err != nil || !st.Mode().IsRegular() {
			continue
		}
		began := time.Now()
		if err := n.preloadFile(ctx, file); err != nil {
			logrus.Errorf("Error encountered while importing %s: %v", file, err)
			continue
		}
		logrus.Infof("Imported images from %s in %s", file, time.Since(began))
	}
}

func (n *Node) preloadFile(ctx context.Context, file string) error {
	if strings.HasSuffix(strings.ToLower(file), ".txt") {
		return n.pull(ctx, file)
	}
	archive, err := openArchive(file)
	if err != nil {
		return err
	}
	defer archive.Close() //nolint:errcheck // read only
	logrus.Infof("Importing images from %s", file)
	args := []string{"images", "import", "--local", "--snapshotter", n.AgentConfig.Snapshotter}
	for _, l := range pinned {
		args = append(args, "--label", l)
	}
	out, err := n.ctr(ctx, archive, append(args, "-")...)
	if err != nil {
		return err
	}
	for _, name := range imported(out) {
		logrus.Infof("Imported %s", name)
		for _, registry := range n.AgentConfig.AirgapExtraRegistry {
			if tag := retag(registry, name); tag != "" && tag != name {
				if _, err := n.ctr(ctx, nil, "images", "tag", "--force", name, tag); err != nil {
					return err
				}
				logrus.Infof("Tagged %s", tag)
			}
		}
	}
	return nil
}

// imported finds the names in ctr's output: "unpacking NAME (DIGEST)...done".
func imported(out string) (names []string) {
	for _, line := range strings.Split(out, "\n") {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "unpacking "); ok {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	return names
}

// retag puts another registry before an image's path.
func retag(registry, name string) string {
	_, path, ok := strings.Cut(name, "/")
	if !ok {
		return ""
	}
	return registry + "/" + path
}

// pull pulls the images that a file lists, through CRI, where mirrors are known.
func (n *Node) pull(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	logger := klog.Background()
	client, err := cri.NewRemoteImageService(socketURL(n.AgentConfig.RuntimeSocket), 15*time.Minute, nil, &logger)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name := strings.TrimSpace(lines.Text())
		if name == "" {
			continue
		}
		image := &runtimeapi.ImageSpec{Image: name}
		if st, err := client.ImageStatus(ctx, image, false); err == nil && st.Image != nil {
			logrus.Infof("Image %s has already been pulled", name)
		} else {
			logrus.Infof("Pulling image %s", name)
			if _, err := client.PullImage(ctx, image, nil, nil); err != nil {
				return fmt.Errorf("failed to pull images from %s: %w", file, err)
			}
		}
		if _, err := n.ctr(ctx, nil, append([]string{"images", "label", name}, pinned...)...); err != nil {
			return err
		}
	}
	return lines.Err()
}

// ctr runs containerd's own client on the images of Kubernetes.
func (n *Node) ctr(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ctr", append([]string{"--address", n.Containerd.Address, "--namespace", "k8s.io"}, args...)...)
	var stderr strings.Builder
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args[:2], " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
