// The flags with which k3s starts each component, and how the user's own go over them.
package server

import (
	"strconv"

	"sandbar.dev/hack/k3s/internal/args"
	"sandbar.dev/hack/k3s/internal/version"
)

func (f files) apiServerArgs(c *Config) []string {
	bind := c.BindAddress
	if bind == "" {
		bind = "0.0.0.0"
	}
	issuer := "https://kubernetes.default.svc." + c.ClusterDomain
	flags := map[string]string{
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
	if !args.Has(c.APIServer, "authorization-config") {
		flags["authorization-mode"] = "Node,RBAC"
	}
	if !args.Has(c.APIServer, "authentication-config") {
		flags["anonymous-auth"] = "false"
	}
	if c.AdvertiseAddress != "" {
		flags["advertise-address"] = c.AdvertiseAddress
	}
	if c.FlannelExternalIP {
		flags["kubelet-preferred-address-types"] = "ExternalIP,InternalIP,Hostname"
	}
	if c.EncryptSecrets {
		flags["encryption-provider-config"] = f.cred("encryption-config.json")
		flags["encryption-provider-config-automatic-reload"] = "true"
	}
	return args.Merge(c.verbosity(flags), c.APIServer)
}

func (f files) controllerArgs(c *Config) []string {
	flags := map[string]string{
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
		flags["configure-cloud-routes"] = "false"
		flags["controllers"] += ",-service,-route,-cloud-node-lifecycle"
	}
	return args.Merge(c.verbosity(flags), c.Controller)
}

func (f files) schedulerArgs(c *Config) []string {
	return args.Merge(c.verbosity(map[string]string{
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

func (c *Config) verbosity(flags map[string]string) map[string]string {
	if c.VLevel != 0 {
		flags["v"] = strconv.Itoa(c.VLevel)
	}
	if c.VModule != "" {
		flags["vmodule"] = c.VModule
	}
	return flags
}
