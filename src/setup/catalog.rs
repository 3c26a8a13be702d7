//! The tools that `sandbar setup` knows: data, with every way to come by each.

/// A way to come by a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A script that calls `k3s NAME`, where k3s is at hand.
    K3s,
    /// A link to the k3s that `sandbar up` would use, fetched if need be.
    K3sItself,
    /// A file or an archive from the project's own releases, with its published checksum.
    Download {
        /// Address without `https://`; `{v}` stands for the version.
        url: &'static str,
        /// What is appended to the address for the checksum, or the whole address if it has a slash.
        sums: &'static str,
    },
    /// A package of the distribution, by package manager.
    Package {
        /// Debian and Ubuntu.
        apt: Option<&'static str>,
        /// Fedora and its kin.
        dnf: Option<&'static str>,
        /// Alpine.
        apk: Option<&'static str>,
    },
    /// Packages built by Go, where Go is at hand.
    Go {
        /// Import paths.
        packages: &'static [&'static str],
    },
}

/// A tool.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// By which it is asked for.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// The programs that make it up.
    pub programs: &'static [&'static str],
    /// What a program prints its version for; empty if it has no version.
    pub version_arguments: &'static [&'static str],
    /// The version that is fetched or built.
    pub version: &'static str,
    /// Where it belongs, if not into the prefix.
    pub directory: Option<&'static str>,
    /// Installed without being asked for.
    pub default: bool,
    /// In order of preference: at hand, verified and quick, then slower ones.
    pub ways: &'static [Way],
}

/// The table.
pub const TOOLS: &[Tool] = &[
    Tool {
        name: "kubectl",
        purpose: "talking to the cluster",
        programs: &["kubectl"],
        version_arguments: &["version", "--client"],
        version: "v1.34.12",
        directory: None,
        default: true,
        ways: &[
            Way::K3s,
            Way::Download { url: "dl.k8s.io/release/{v}/bin/linux/amd64/kubectl", sums: ".sha256" },
            Way::Package {
                apt: Some("kubernetes-client"),
                dnf: Some("kubernetes-client"),
                apk: Some("kubectl"),
            },
        ],
    },
    Tool {
        name: "helm",
        purpose: "charts",
        programs: &["helm"],
        version_arguments: &["version", "--short"],
        version: "v3.19.2",
        directory: None,
        default: true,
        ways: &[
            Way::Download { url: "get.helm.sh/helm-{v}-linux-amd64.tar.gz", sums: ".sha256sum" },
            Way::Package { apt: None, dnf: Some("helm"), apk: Some("helm") },
            Way::Go { packages: &["helm.sh/helm/v3/cmd/helm"] },
        ],
    },
    Tool {
        name: "cni-plugins",
        purpose: "the network of pods, where k3s does not bring its own",
        programs: &["bridge", "host-local", "loopback", "portmap", "ptp"],
        version_arguments: &[],
        version: "v1.8.0",
        directory: Some("/opt/cni/bin"),
        default: true,
        ways: &[
            Way::Download {
                url: "github.com/containernetworking/plugins/releases/download/{v}/cni-plugins-linux-amd64-{v}.tgz",
                sums: ".sha256",
            },
            Way::Package {
                apt: Some("containernetworking-plugins"),
                dnf: Some("containernetworking-plugins"),
                apk: Some("cni-plugins"),
            },
            Way::Go {
                packages: &[
                    "github.com/containernetworking/plugins/plugins/main/bridge",
                    "github.com/containernetworking/plugins/plugins/ipam/host-local",
                    "github.com/containernetworking/plugins/plugins/main/loopback",
                    "github.com/containernetworking/plugins/plugins/meta/portmap",
                    "github.com/containernetworking/plugins/plugins/main/ptp",
                ],
            },
        ],
    },
    Tool {
        name: "k3s",
        purpose: "fetched now rather than by the first `sandbar up`",
        programs: &["k3s"],
        version_arguments: &["--version"],
        version: "",
        directory: None,
        default: false,
        ways: &[Way::K3sItself],
    },
    Tool {
        name: "crictl",
        purpose: "looking into the container runtime",
        programs: &["crictl"],
        version_arguments: &["--version"],
        version: "v1.34.0",
        directory: None,
        default: false,
        ways: &[
            Way::K3s,
            Way::Download {
                url: "github.com/kubernetes-sigs/cri-tools/releases/download/{v}/crictl-{v}-linux-amd64.tar.gz",
                sums: ".sha256",
            },
            Way::Go { packages: &["sigs.k8s.io/cri-tools/cmd/crictl"] },
        ],
    },
    Tool {
        name: "kustomize",
        purpose: "overlays, beyond what kubectl carries",
        programs: &["kustomize"],
        version_arguments: &["version"],
        version: "v5.7.1",
        directory: None,
        default: false,
        ways: &[
            Way::Download {
                url: "github.com/kubernetes-sigs/kustomize/releases/download/kustomize%2F{v}/kustomize_{v}_linux_amd64.tar.gz",
                sums: "github.com/kubernetes-sigs/kustomize/releases/download/kustomize%2F{v}/checksums.txt",
            },
            Way::Package { apt: None, dnf: Some("kustomize"), apk: Some("kustomize") },
            Way::Go { packages: &["sigs.k8s.io/kustomize/kustomize/v5"] },
        ],
    },
    Tool {
        name: "k9s",
        purpose: "a terminal view of the cluster",
        programs: &["k9s"],
        version_arguments: &["version", "--short"],
        version: "v0.50.16",
        directory: None,
        default: false,
        ways: &[
            Way::Download {
                url: "github.com/derailed/k9s/releases/download/{v}/k9s_Linux_amd64.tar.gz",
                sums: "github.com/derailed/k9s/releases/download/{v}/checksums.sha256",
            },
            Way::Package { apt: None, dnf: Some("k9s"), apk: Some("k9s") },
        ],
    },
    Tool {
        name: "jq",
        purpose: "JSON in scripts",
        programs: &["jq"],
        version_arguments: &["--version"],
        version: "jq-1.7.1",
        directory: None,
        default: false,
        ways: &[
            Way::Package { apt: Some("jq"), dnf: Some("jq"), apk: Some("jq") },
            Way::Download {
                url: "github.com/jqlang/jq/releases/download/{v}/jq-linux-amd64",
                sums: "github.com/jqlang/jq/releases/download/{v}/sha256sum.txt",
            },
        ],
    },
    Tool {
        name: "git",
        purpose: "GitOps",
        programs: &["git"],
        version_arguments: &["--version"],
        version: "",
        directory: None,
        default: false,
        ways: &[Way::Package { apt: Some("git"), dnf: Some("git"), apk: Some("git") }],
    },
];

/// A tool by name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_can_be_come_by() {
        for tool in TOOLS {
            assert!(!tool.ways.is_empty() && !tool.programs.is_empty(), "{}", tool.name);
            for way in tool.ways {
                let versioned = matches!(way, Way::Download { .. } | Way::Go { .. });
                assert!(!versioned || !tool.version.is_empty(), "{} has no version", tool.name);
            }
        }
    }
}
