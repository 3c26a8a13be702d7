// The flags with which k3s starts each component, and how the user's own go over them.
package server

import (
	"slices"
	"strconv"
	"strings"

	"sandbar.dev/hack/k3s/internal/version"
)

func (f files) apiServerArgs(c *Config) []string {
	bind := c.BindAddress
	if bind == "" {
		bind = "0.0.0.0"
	}
	issuer := "https://kubernetes.default.svc." + c.ClusterDomain
	args := map[string]string{
		"storage-backend":                    "etcd3",
		"etcd-servers":                       "unix://kine.sock", // relative to the server folder, where we are
		"cert-dir":                           f.tls("temporary-certs"),
		"allow-privileged":                   "true",
		"enable-bootstrap-token-auth":        "true",
		"service-account-signing-key-file":   f.tls("service.current.key"),
		"service-account-key-file":           f.tls("service.key"),
		"service-account-issuer":             issuer,
		"api-audiences":                      issuer + "," + version.Program,
		"service-cluster-ip-range":           join(c.ServiceCIDRs),
		"service-node-port-range":            c.ServiceNodePortRange,
		"secure-port":                        strconv.Itoa(c.HTTPSPort),
		"bind-address":                       bind,
		"tls-cert-file":                      f.tls("serving-kube-apiserver.crt"),
		"tls-private-key-file":               f.tls("serving-kube-apiserver.key"),
		"kubelet-certificate-authority":      f.tls("server-ca.crt"),
		"kubelet-client-certificate":         f.tls("client-kube-apiserver.crt"),
		"kubelet-client-key":                 f.tls("client-kube-apiserver.key"),
		"kubelet-preferred-address-types":    "InternalIP,ExternalIP,Hostname",
		"requestheader-client-ca-file":       f.tls("request-header-ca.crt"),
		"requestheader-allowed-names":        requestHeaderCN,
		"proxy-client-cert-file":             f.tls("client-auth-proxy.crt"),
		"proxy-client-key-file":              f.tls("client-auth-proxy.key"),
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"client-ca-file":                     f.tls("client-ca.crt"),
		"enable-admission-plugins":           "NodeRestriction",
		"profiling":                          "false",
		// k3s leaves its open watches behind when it ends; without this we would wait for them.
		"shutdown-watch-termination-grace-period": "1s",
		"tls-cipher-suites": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384," +
			"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256," +
			"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
	}
	if !has(c.APIServer, "authorization-config") {
		args["authorization-mode"] = "Node,RBAC"
	}
	if !has(c.APIServer, "authentication-config") {
		args["anonymous-auth"] = "false"
	}
	if c.AdvertiseAddress != "" {
		args["advertise-address"] = c.AdvertiseAddress
	}
	if c.FlannelExternalIP {
		args["kubelet-preferred-address-types"] = "ExternalIP,InternalIP,Hostname"
	}
	if c.EncryptSecrets {
		args["encryption-provider-config"] = f.cred("encryption-config.json")
		args["encryption-provider-config-automatic-reload"] = "true"
	}
	return merge(c.verbosity(args), c.APIServer)
}

func (f files) controllerArgs(c *Config) []string {
	args := map[string]string{
		"controllers":                      "*,tokencleaner",
		"kubeconfig":                       f.cred("controller.kubeconfig"),
		"authorization-kubeconfig":         f.cred("controller.kubeconfig"),
		"authentication-kubeconfig":        f.cred("controller.kubeconfig"),
		"service-account-private-key-file": f.tls("service.current.key"),
		"allocate-node-cidrs":              "true",
		"service-cluster-ip-range":         join(c.ServiceCIDRs),
		"cluster-cidr":                     join(c.ClusterCIDRs),
		"root-ca-file":                     f.tls("server-ca.crt"),
		"profiling":                        "false",
		"tls-cert-file":                    f.tls("kube-controller-manager/kube-controller-manager.crt"),
		"tls-private-key-file":             f.tls("kube-controller-manager/kube-controller-manager.key"),
		"bind-address":                     "127.0.0.1",
		"secure-port":                      "10257",
		"use-service-account-credentials":  "true",
		"cluster-signing-kube-apiserver-client-cert-file": f.tls("client-ca.nochain.crt"),
		"cluster-signing-kube-apiserver-client-key-file":  f.tls("client-ca.key"),
		"cluster-signing-kubelet-client-cert-file":        f.tls("client-ca.nochain.crt"),
		"cluster-signing-kubelet-client-key-file":         f.tls("client-ca.key"),
		"cluster-signing-kubelet-serving-cert-file":       f.tls("server-ca.nochain.crt"),
		"cluster-signing-kubelet-serving-key-file":        f.tls("server-ca.key"),
		"cluster-signing-legacy-unknown-cert-file":        f.tls("server-ca.nochain.crt"),
		"cluster-signing-legacy-unknown-key-file":         f.tls("server-ca.key"),
		"leader-elect": "false", // as k3s with its own, single datastore
	}
	if !c.DisableCCM {
		args["configure-cloud-routes"] = "false"
		args["controllers"] += ",-service,-route,-cloud-node-lifecycle"
	}
	return merge(c.verbosity(args), c.Controller)
}

func (f files) schedulerArgs(c *Config) []string {
	return merge(c.verbosity(map[string]string{
		"kubeconfig":                f.cred("scheduler.kubeconfig"),
		"authorization-kubeconfig":  f.cred("scheduler.kubeconfig"),
		"authentication-kubeconfig": f.cred("scheduler.kubeconfig"),
		"bind-address":              "127.0.0.1",
		"secure-port":               "10259",
		"tls-cert-file":             f.tls("kube-scheduler/kube-scheduler.crt"),
		"tls-private-key-file":      f.tls("kube-scheduler/kube-scheduler.key"),
		"profiling":                 "false",
		"leader-elect":              "false",
	}), c.Scheduler)
}

func (c *Config) verbosity(args map[string]string) map[string]string {
	if c.VLevel != 0 {
		args["v"] = strconv.Itoa(c.VLevel)
	}
	if c.VModule != "" {
		args["vmodule"] = c.VModule
	}
	return args
}

// merge lets the user's flags replace the defaults of the same name. A flag that is given
// twice stays twice.
func merge(defaults map[string]string, own []string) []string {
	given := map[string]bool{}
	var out []string
	for _, o := range own {
		name, value, _ := strings.Cut(strings.TrimLeft(o, "-"), "=")
		given[name] = true
		out = append(out, "--"+name+"="+value)
	}
	for name, value := range defaults {
		if !given[name] {
			out = append(out, "--"+name+"="+value)
		}
	}
	slices.Sort(out)
	return out
}

func has(own []string, flag string) bool {
	return slices.ContainsFunc(own, func(o string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(o, "-"), "=")
		return name == flag
	})
}
