// Package server is `k3s server`: what was asked for (Options), what that means
// (Config), and the control plane that runs it.
package server

import (
	"github.com/urfave/cli/v2"

	"sandbar.dev/hack/k3s/internal/agent"
)

// Options holds the flags of `k3s server` on which the stand-in acts, as they were given.
type Options struct {
	DataDir, BindAddress, AdvertiseAddress      string
	HTTPSPort, AdvertisePort                    int
	TLSSan                                      cli.StringSlice
	ClusterCIDR, ServiceCIDR, ClusterDNS        cli.StringSlice
	ServiceNodePortRange, ClusterDomain         string
	FlannelBackend, EgressSelectorMode          string
	FlannelExternalIP                           bool
	KubeconfigOutput, KubeconfigMode            string
	Token, TokenFile, AgentToken                string
	AgentTokenFile                              string
	APIServerArgs, ControllerArgs               cli.StringSlice
	SchedulerArgs                               cli.StringSlice
	DatastoreEndpoint                           string
	DatastoreCA, DatastoreCert, DatastoreKey    string
	Disable                                     cli.StringSlice
	DisableAgent, DisableScheduler              bool
	DisableControllerManager, DisableCCM        bool
	EncryptSecrets, Rootless                    bool
	NodeName                                    string
	NodeIP, NodeExternalIP                      cli.StringSlice
	ServerURL                                   string
	ClusterInit, ClusterReset, DisableAPIServer bool
	VLevel                                      int
	VModule, LogFile                            string
	AlsoLogToStderr, Debug                      bool
	Agent                                       agent.Options
}
