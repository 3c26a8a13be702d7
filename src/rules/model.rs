//! The rule set and the k3s settings as they travel through the rule table: plain data, no behaviour beyond bounds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the controller publishes: every rule in force on this node, highest precedence first, and the k3s settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DesiredDocument {
    /// Rules in order of precedence: where several match a path, the first wins.
    pub rules: Vec<Rule>,
    /// Settings that become k3s flags.
    pub k3s: K3sSettings,
    /// Which means the rules may use.
    pub interception: Interception,
    /// The SandboxConfig that says so.
    #[serde(default)]
    pub interception_source: Option<String>,
    /// Settings of the pod network.
    #[serde(default)]
    pub network: NetworkSettings,
    /// Remedies that are turned off.
    #[serde(default)]
    pub remedies_off: Vec<Remedy>,
    /// The SandboxConfig that says so.
    #[serde(default)]
    pub remedies_source: Option<String>,
}

/// One rule and the SandboxConfig that it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// `metadata.name` of the SandboxConfig.
    pub source: String,
    /// What is to be seen.
    pub action: Action,
}

/// What a rule makes a tracee see.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// A file whose content is `value`, whether or not the kernel has one there.
    #[serde(rename_all = "camelCase")]
    File {
        /// Absolute path, no wildcards.
        path: String,
        /// The bytes a reader gets.
        value: String,
        /// Whether writes are taken.
        access: Access,
    },
    /// Path syscalls on a match act on another file instead.
    #[serde(rename_all = "camelCase")]
    Redirect {
        /// Absolute path or glob (`*` inside a segment, `**` for any number of segments).
        from: String,
        /// Where the call goes.
        target: Target,
    },
    /// `statfs` below `path`, on the filesystem that `path` lies on, reports another type.
    #[serde(rename_all = "camelCase")]
    Filesystem {
        /// Absolute path, no wildcards.
        path: String,
        /// The type that is reported.
        report_as: FilesystemType,
    },
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Target {
    /// An absolute path in the supervisor's own mount namespace.
    To(String),
    /// The name of a real file beside the match.
    Sibling(String),
}

/// Whether a fake file takes writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// Writable opens fail with EACCES, as for a 0444 sysctl.
    #[default]
    ReadOnly,
    /// A written value is what the next reader gets.
    ReadWrite,
}

/// Filesystem types that a rule may report. Kernel pseudo-filesystems are left out on purpose: claiming procfs or
/// cgroupfs for an object that is neither would defeat runc's hardening checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum FilesystemType {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
    Overlay,
}

impl FilesystemType {
    /// The `f_type` magic of statfs(2), from linux/magic.h.
    pub fn magic(self) -> i64 {
        match self {
            Self::Ext4 => 0xEF53,
            Self::Xfs => 0x5846_5342,
            Self::Btrfs => 0x9123_683E,
            Self::Tmpfs => 0x0102_1994,
            Self::Overlay => 0x794C_7630,
        }
    }
}

/// Which means may serve rules (`spec.interception`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Interception {
    #[default]
    Auto,
    Trace,
    Mount,
}

/// Settings that become k3s flags; `None` leaves k3s's default (or its config file) in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct K3sSettings {
    /// `--flannel-backend`.
    pub flannel_backend: Option<Sourced<String>>,
    /// `--snapshotter`.
    pub snapshotter: Option<Sourced<String>>,
    /// Further flags, as they stand on the command line; the list of the highest precedence first.
    pub extra_args: Vec<Sourced<Vec<String>>>,
    /// TOML that is merged over containerd's configuration.
    #[serde(default)]
    pub containerd_config: Option<Sourced<String>>,
    /// Whether a changed setting restarts k3s by itself.
    pub restart_policy: RestartPolicy,
}

/// What the supervisor does on a node about what a sandbox lacks, beside rules and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// k3s gets a mount namespace of its own whose mounts are shared with its containers; it ends with the supervisor.
    PrivateMounts,
    /// The root of a procfs has the inode number by which runc knows it.
    ProcfsRoot,
    /// `spec.k3s.containerdConfig` is merged over the configuration that k3s makes for containerd.
    ContainerdConfig,
    /// The pause image is supplied, so that the first pod needs no registry.
    PauseImage,
    /// CNI plugins and configuration of the pod network, as real files.
    PodNetwork,
}

impl Remedy {
    /// All of them, in the order in which they are applied.
    pub const ALL: [Self; 5] =
        [Self::PrivateMounts, Self::ProcfsRoot, Self::ContainerdConfig, Self::PauseImage, Self::PodNetwork];

    /// Whether it is applied at each start of k3s; the others are when the supervisor starts.
    pub fn is_of_k3s(self) -> bool {
        match self {
            Self::PrivateMounts | Self::ProcfsRoot => false,
            Self::ContainerdConfig | Self::PauseImage | Self::PodNetwork => true,
        }
    }

    /// As it is written in a SandboxConfig and in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrivateMounts => "private-mounts",
            Self::ProcfsRoot => "procfs-root",
            Self::ContainerdConfig => "containerd-config",
            Self::PauseImage => "pause-image",
            Self::PodNetwork => "pod-network",
        }
    }
}

/// Settings of the pod network; `None` leaves the choice to the supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSettings {
    /// `auto`, `bridge`, `none` or `upstream`.
    pub cni: Option<Sourced<String>>,
}

/// A value and the SandboxConfig that set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Sourced<T> {
    pub value: T,
    pub source: String,
}

/// When changed k3s settings take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// k3s is restarted with them at once.
    #[default]
    Automatic,
    /// They wait for `sandbar restart`.
    Manual,
}

impl Action {
    /// `File`, `Redirect` or `Filesystem`, as `sandbar rules` prints it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "File",
            Self::Redirect { .. } => "Redirect",
            Self::Filesystem { .. } => "Filesystem",
        }
    }

    /// The path or glob that the rule is about.
    pub fn pattern(&self) -> &str {
        match self {
            Self::File { path, .. } | Self::Filesystem { path, .. } => path,
            Self::Redirect { from, .. } => from,
        }
    }
}
