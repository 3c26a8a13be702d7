//! `sandbar.dev/v1alpha1` SandboxConfig: what a user writes. The CEL rules say the same as [`crate::rules::bounds`], so
//! that a mistake is refused by `kubectl apply` already.

// clippy takes the repeated keys of `printcolumn` for attributes given twice.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::SandboxConfigStatus;
use crate::rules::model::{Access, FilesystemType, Interception, Remedy, RestartPolicy};

/// What processes of the cluster see of the kernel, and how k3s is started. Several objects merge, rule by rule and
/// setting by setting.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "sandbar.dev",
    version = "v1alpha1",
    kind = "SandboxConfig",
    plural = "sandboxconfigs",
    singular = "sandboxconfig",
    shortname = "sbx",
    category = "sandbar",
    status = "SandboxConfigStatus",
    derive = "PartialEq",
    cel,
    doc = "What the processes of this cluster see of the kernel, and how k3s is started.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Rules", type_ = "integer", json_path = ".status.nodes[0].rules"),
    printcolumn(name = "Table", type_ = "integer", json_path = ".status.nodes[0].appliedGeneration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Flannel", type_ = "string", priority = 1, json_path = ".spec.k3s.flannelBackend"),
    printcolumn(name = "Snapshotter", type_ = "string", priority = 1, json_path = ".spec.k3s.snapshotter")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SandboxConfigSpec {
    /// Where objects say different things the higher priority wins, then the name that sorts first. The built-in
    /// profiles have -100.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// Labels of the nodes that this is for. Empty: every node, and a control plane without nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Files whose content is given here, whether or not the kernel has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    pub files: Vec<FileRule>,
    /// Paths that stand for other files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["from".into()]))]
    pub redirects: Vec<RedirectRule>,
    /// Filesystems whose type statfs(2) reports differently. Off unless a consumer needs it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    pub filesystems: Vec<FilesystemRule>,
    /// By which means rules are served: Trace serves all of them, Mount traces nothing and serves files and redirects of
    /// paths alone. Auto is Trace on a node; in a control plane it does not trace k3s, which gets what can be mounted,
    /// and traces what `sandbar exec` starts. A change restarts k3s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interception: Option<Interception>,
    /// The pod network. A change restarts k3s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSpec>,
    /// How k3s is started. A change restarts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k3s: Option<K3sSpec>,
    /// What sandbar does beside rules and flags about what a sandbox lacks. A change restarts k3s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedies: Option<RemediesSpec>,
}

/// A file whose content is given.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRule {
    /// Absolute path below /proc or /sys, or /dev/kmsg; no wildcards.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self == '/dev/kmsg' || self.startsWith('/proc/') || self.startsWith('/sys/')")
            .message("outside the allow-list: /proc/**, /sys/**, /dev/kmsg"),
        validation = Rule::new("!self.matches('//|/[.][.]?(/|$)|/$')")
            .message("not in canonical form: no `.`, `..`, `//` or trailing `/`"),
        validation = Rule::new("!self.contains('*')").message("wildcards are for redirects only")
    )]
    pub path: String,
    /// What a reader gets, to the byte: a sysctl ends with a newline.
    #[schemars(length(max = 65_536))]
    pub value: String,
    /// Whether a written value is taken, as for a writable sysctl.
    #[serde(default)]
    pub access: Access,
}

/// A path that stands for another file.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.to) != has(self.sibling)").message("give exactly one of `to` and `sibling`"))]
pub struct RedirectRule {
    /// Absolute path or glob below /proc or /sys, or /dev/kmsg: `*` inside a segment, `**` for any number of segments, at
    /// most two of them and not side by side.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self == '/dev/kmsg' || self.startsWith('/proc/') || self.startsWith('/sys/')")
            .message("outside the allow-list: /proc/**, /sys/**, /dev/kmsg"),
        validation = Rule::new("!self.matches('//|/[.][.]?(/|$)|/$')")
            .message("not in canonical form: no `.`, `..`, `//` or trailing `/`"),
        validation = Rule::new("!self.matches('(?s)/[*][*]((/.*)?/[*][*](/.*)?)?/[*][*](/|$)')")
            .message("at most 2 `**` in a glob, and not side by side")
    )]
    pub from: String,
    /// An absolute path on the node: /dev/null, or a file below /var/lib/sandbar/files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self == '/dev/null' || self.startsWith('/var/lib/sandbar/files/')")
            .message("target outside the allow-list: a sibling, /dev/null, /var/lib/sandbar/files/**"),
        validation = Rule::new("!self.matches('//|/[.][.]?(/|$)|/$|[*]')")
            .message("target not in canonical form: no `.`, `..`, `//`, trailing `/` or `*`")
    )]
    pub to: Option<String>,
    /// The name of a real file beside the match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(
        validation = Rule::new("!self.contains('/') && self != '.' && self != '..'").message("not a file name")
    )]
    pub sibling: Option<String>,
}

/// A filesystem whose type statfs(2) reports differently.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilesystemRule {
    /// Absolute path of a directory; what lies below it on the same filesystem is meant. Never /proc or /sys.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self.startsWith('/')").message("not absolute"),
        validation = Rule::new("self == '/' || !self.matches('//|/[.][.]?(/|$)|/$|[*]')")
            .message("not in canonical form: no `.`, `..`, `//`, trailing `/` or `*`"),
        validation = Rule::new("!self.matches('^/(proc|sys)(/|$)')")
            .message("the type of a kernel filesystem is never faked")
    )]
    pub path: String,
    /// The type that is reported.
    pub report_as: FilesystemType,
}

/// The pod network.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSpec {
    /// Which CNI plugin is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<Cni>,
}

/// Remedies, each of them on unless it is turned off here.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemediesSpec {
    /// Those that are turned off. The list of the object with the highest priority is taken whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub disabled: Option<Vec<Remedy>>,
}

/// How k3s is started. What is left out keeps k3s's default, or what another object says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct K3sSpec {
    /// `--flannel-backend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flannel_backend: Option<FlannelBackend>,
    /// `--snapshotter`; auto takes the best one that works here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshotter: Option<Snapshotter>,
    /// Further flags, as they stand on k3s's command line; any but those that move its data, datastore or kubeconfig,
    /// or name the node.
    /// One that a field stands for goes by priority with it; an object that gives both is refused.
    /// The lists of several objects merge flag by flag; `--flag=false` takes a switch of another object back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 2048)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new(
            "!self.exists(arg, arg.matches('^-+(data-dir|d|datastore-endpoint|datastore-cafile|datastore-certfile|\
             datastore-keyfile|cluster-init|cluster-reset|cluster-reset-restore-path|write-kubeconfig|o|config|c|\
             node-name|with-node-id)(=|$)'))"
        )
        .message(
            "an argument moves k3s's data, datastore or kubeconfig, or names the node, which sandbar must know; \
             give it to `sandbar up -- …` instead"
        )
    )]
    pub extra_args: Option<Vec<String>>,
    /// TOML that is merged over the configuration that k3s makes for containerd (its `config-v3.toml.d`); for a node only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub containerd_config: Option<String>,
    /// Whether a changed setting restarts k3s by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
}

/// Flannel backends of k3s that can work where sandbar runs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum FlannelBackend {
    None,
    HostGw,
    Vxlan,
    WireguardNative,
}

/// Snapshotters of k3s's containerd.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Snapshotter {
    Auto,
    Native,
    FuseOverlayfs,
    Overlayfs,
}

/// Ways to give pods a network.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Cni {
    Auto,
    Bridge,
    None,
    Upstream,
}

impl FlannelBackend {
    /// As k3s spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::HostGw => "host-gw",
            Self::Vxlan => "vxlan",
            Self::WireguardNative => "wireguard-native",
        }
    }
}

impl Snapshotter {
    /// As k3s spells it; `auto` is sandbar's own.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::FuseOverlayfs => "fuse-overlayfs",
            Self::Overlayfs => "overlayfs",
        }
    }
}

impl Cni {
    /// As it stands in the rule table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bridge => "bridge",
            Self::None => "none",
            Self::Upstream => "upstream",
        }
    }
}
