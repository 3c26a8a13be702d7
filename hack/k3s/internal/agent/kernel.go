// Small questions to the kernel and the host on which containerd's configuration depends.
package agent

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelAtLeast compares uname's release. One that cannot be read counts as new, as in k3s.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return true
	}
	return releaseAtLeast(unix.ByteSliceToString(u.Release[:]), major, minor)
}

func releaseAtLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n < 2 {
		return true
	}
	return a > major || a == major && b >= minor
}

// runningInUserNS says whether our ids are mapped.
func runningInUserNS() bool {
	raw, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false // a kernel without user namespaces
	}
	return mapsIDs(string(raw))
}

func mapsIDs(uidMap string) bool {
	var inside, outside, count int64
	line, _, _ := strings.Cut(uidMap, "\n")
	if n, _ := fmt.Sscan(strings.TrimSpace(line), &inside, &outside, &count); n < 3 {
		return len(bytes.TrimSpace([]byte(line))) == 0 // not mapped yet
	}
	return !(inside == 0 && outside == 0 && count == 4294967295)
}

func writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }

// findRuntimes finds the other runtimes that k3s configures when their programs are there.
func findRuntimes() map[string]ContainerdRuntimeConfig {
	found := map[string]ContainerdRuntimeConfig{}
	for name, binary := range map[string]string{
		"crun": "crun", "nvidia": "nvidia-container-runtime", "nvidia-cdi": "nvidia-container-runtime.cdi",
	} {
		if path, err := exec.LookPath(binary); err == nil {
			found[name] = ContainerdRuntimeConfig{RuntimeType: "io.containerd.runc.v2", BinaryName: path}
		}
	}
	for _, name := range []string{"lunatic", "slight", "spin", "wws", "wasmedge", "wasmer", "wasmtime"} {
		if _, err := exec.LookPath("containerd-shim-" + name + "-v1"); err == nil {
			found[name] = ContainerdRuntimeConfig{RuntimeType: "io.containerd." + name + ".v1"}
		}
	}
	return found
}
