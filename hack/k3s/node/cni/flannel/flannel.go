// Package flannel is a CNI plugin in the place of flannel's own, whose module cannot be
// fetched: it reads the node's subnet from subnet.env and lets another plugin, bridge unless
// the configuration says otherwise, do the work with host-local addresses from that subnet.
package flannel

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// conf is the plugin's configuration, as in flannel's.
type conf struct {
	types.NetConf
	SubnetFile string         `json:"subnetFile"`
	DataDir    string         `json:"dataDir"`
	Delegate   map[string]any `json:"delegate"`
}

// Main is the program.
func Main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Check: check, Del: del}, version.All, "CNI plugin flannel (stand-in)")
}

func load(stdin []byte) (*conf, error) {
	c := &conf{SubnetFile: "/run/flannel/subnet.env", DataDir: "/var/lib/cni/flannel"}
	if err := json.Unmarshal(stdin, c); err != nil {
		return nil, fmt.Errorf("failed to load netconf: %w", err)
	}
	return c, nil
}

func add(args *skel.CmdArgs) error {
	c, err := load(args.StdinData)
	if err != nil {
		return err
	}
	env, err := readEnv(c.SubnetFile)
	if err != nil {
		return fmt.Errorf("loadFlannelSubnetEnv failed: %w", err)
	}
	d, err := delegate(c, env)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	// Kept for the end: subnet.env may be another by then.
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.DataDir, args.ContainerID), raw, 0o600); err != nil {
		return err
	}
	result, err := invoke.DelegateAdd(context.TODO(), d["type"].(string), raw, nil)
	if err != nil {
		return fmt.Errorf("failed to delegate add: %w", err)
	}
	return types.PrintResult(result, c.CNIVersion)
}

// stored returns what add has kept, and the name of the plugin in it.
func stored(args *skel.CmdArgs) (file, plugin string, raw []byte, err error) {
	c, err := load(args.StdinData)
	if err != nil {
		return "", "", nil, err
	}
	file = filepath.Join(c.DataDir, args.ContainerID)
	if raw, err = os.ReadFile(file); err != nil {
		return "", "", nil, err
	}
	n := types.NetConf{}
	err = json.Unmarshal(raw, &n)
	return file, n.Type, raw, err
}

func check(args *skel.CmdArgs) error {
	_, plugin, raw, err := stored(args)
	if err != nil {
		return err
	}
	return invoke.DelegateCheck(context.TODO(), plugin, raw, nil)
}

func del(args *skel.CmdArgs) error {
	file, plugin, raw, err := stored(args)
	if os.IsNotExist(err) {
		return nil // deleted before, or never added
	}
	if err != nil {
		return err
	}
	if err := invoke.DelegateDel(context.TODO(), plugin, raw, nil); err != nil {
		return fmt.Errorf("failed to delegate delete: %w", err)
	}
	return os.Remove(file)
}

// delegate is the other plugin's configuration.
func delegate(c *conf, env map[string]string) (map[string]any, error) {
	d := map[string]any{"type": "bridge", "isGateway": true, "ipMasq": env["FLANNEL_IPMASQ"] != "true"}
	for k, v := range c.Delegate {
		d[k] = v
	}
	if _, ok := d["type"].(string); !ok {
		return nil, fmt.Errorf("'delegate' dictionary, if present, must have (string) 'type' field")
	}
	for _, k := range []string{"name", "ipam"} {
		if _, ok := c.Delegate[k]; ok {
			return nil, fmt.Errorf("'delegate' dictionary must not have '%s' field, it'll be set by flannel", k)
		}
	}
	d["name"], d["cniVersion"] = c.Name, c.CNIVersion
	if _, ok := d["mtu"]; !ok {
		mtu, err := strconv.Atoi(env["FLANNEL_MTU"])
		if err != nil {
			return nil, fmt.Errorf("FLANNEL_MTU: %w", err)
		}
		d["mtu"] = mtu
	}
	type object = map[string]any
	var ranges [][]object
	var routes []object
	for _, family := range []string{"FLANNEL", "FLANNEL_IPV6"} {
		if env[family+"_SUBNET"] == "" {
			continue
		}
		_, own, err := net.ParseCIDR(env[family+"_SUBNET"]) // which names the gateway's address
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, []object{{"subnet": own.String()}})
		routes = append(routes, object{"dst": env[family+"_NETWORK"]})
	}
	if len(ranges) == 0 {
		return nil, fmt.Errorf("subnet.env has no subnet")
	}
	d["ipam"] = object{"type": "host-local", "ranges": ranges, "routes": routes}
	return d, nil
}

func readEnv(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	env := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), "="); ok {
			env[k] = v
		}
	}
	return env, lines.Err()
}
