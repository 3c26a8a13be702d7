// The CNI plugins in one program, as k3s ships them: which one it is, its name tells, and links
// to it bear the names. All but flannel are upstream's sources; build.sh copies them beside this
// file with `package main` renamed, so that one program can have them all.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sandbar.dev/hack/k3s/node/cni/flannel"
	"sandbar.dev/hack/k3s/node/cni/plugins/bandwidth"
	"sandbar.dev/hack/k3s/node/cni/plugins/bridge"
	"sandbar.dev/hack/k3s/node/cni/plugins/firewall"
	"sandbar.dev/hack/k3s/node/cni/plugins/hostlocal"
	"sandbar.dev/hack/k3s/node/cni/plugins/loopback"
	"sandbar.dev/hack/k3s/node/cni/plugins/portmap"
	"sandbar.dev/hack/k3s/node/cni/plugins/ptp"
)

func main() {
	os.Args[0] = filepath.Base(os.Args[0])
	switch os.Args[0] {
	case "bandwidth":
		bandwidth.Main()
	case "bridge":
		bridge.Main()
	case "firewall":
		firewall.Main()
	case "flannel":
		flannel.Main()
	case "host-local":
		hostlocal.Main()
	case "loopback":
		loopback.Main()
	case "portmap":
		portmap.Main()
	case "ptp":
		ptp.Main()
	default:
		fmt.Fprintf(os.Stderr, "%s: not one of this program's CNI plugins: bandwidth bridge firewall flannel host-local loopback portmap ptp\n", os.Args[0])
		os.Exit(1)
	}
}
