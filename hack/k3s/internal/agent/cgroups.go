// k3s's looks at the kernel's control groups: what it refuses to start without, and what it
// tells kubelet and containerd about them.
package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sandbar.dev/hack/k3s/internal/version"
)

const cgroupRoot = "/sys/fs/cgroup"

// unified says whether the root is a cgroup v2 hierarchy.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// ValidateCgroups refuses a kernel on which kubelet would not start.
func ValidateCgroups() error {
	if unified() {
		raw, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		if err != nil {
			return err
		}
		have := strings.Fields(string(raw))
		for _, c := range []string{"cpu", "cpuset", "memory"} {
			if !slices.Contains(have, c) {
				return fmt.Errorf("failed to find %s cgroup (v2)", c)
			}
		}
		return nil
	}
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	if !strings.Contains(string(raw), "cpuset") {
		logrus.Warn(`Failed to find cpuset cgroup, you may need to add "cgroup_enable=cpuset" to your linux cmdline (/boot/cmdline.txt on a Raspberry Pi)`)
	}
	if !strings.Contains(string(raw), "memory") {
		const msg = `ailed to find memory cgroup, you may need to add "cgroup_memory=1 cgroup_enable=memory" to your linux cmdline (/boot/cmdline.txt on a Raspberry Pi)`
		logrus.Error("F" + msg)
		return errors.New("f" + msg)
	}
	return nil
}

// cgroups are the controllers found and the groups for kubelet and the runtime.
type cgroups struct {
	kubelet, runtime string
	controllers      map[string]bool
}

// checkCgroups reads the groups of this process and of process 1.
func checkCgroups() cgroups {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return cgroups{controllers: map[string]bool{}}
	}
	init, _ := os.ReadFile("/proc/1/cgroup")
	var v2 []string
	isV2 := unified()
	if isV2 {
		raw, _ := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		v2 = strings.Fields(string(raw))
	}
	exists := func(path string) bool {
		_, err := os.Stat(filepath.Join(cgroupRoot, path))
		return err == nil
	}
	return parseCgroups(string(own), string(init), isV2, v2, exists)
}

// parseCgroups is the pure part of checkCgroups.
func parseCgroups(own, init string, isV2 bool, v2 []string, exists func(string) bool) cgroups {
	c := cgroups{controllers: map[string]bool{}}
	for _, name := range v2 {
		c.controllers[name] = true
	}
	eachCgroup(own, func(controller, path string) {
		switch {
		case controller == "name=systemd" || isV2:
			// Started from a login shell: accounting may be off in its slice.
			if strings.LastIndex(path, ".scope") > 0 {
				c.kubelet = "/" + version.Program
			}
		case controller == "cpu":
			if exists(filepath.Join(controller, path, "cpu.cfs_period_us")) {
				c.controllers[controller] = true
			}
		default:
			c.controllers[controller] = true
		}
	})
	if c.kubelet == "" {
		// Process 1 in a group of its own: we are in a container, and make our own root.
		eachCgroup(init, func(controller, path string) {
			if (controller == "name=systemd" || isV2) && path != "/" && path != "/init.scope" {
				c.kubelet, c.runtime = "/"+version.Program, "/"+version.Program
			}
		})
	}
	return c
}

// eachCgroup goes through the lines of a /proc/PID/cgroup.
func eachCgroup(text string, do func(controller, path string)) {
	for _, line := range strings.Split(text, "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) < 3 {
			continue
		}
		for _, controller := range strings.Split(parts[1], ",") {
			do(controller, parts[2])
		}
	}
}
