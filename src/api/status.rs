//! The status of a SandboxConfig: what became of it, as a whole and on each node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a SandboxConfig.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SandboxConfigStatus {
    /// `metadata.generation` that the conditions are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, RulesProgrammed, RestartPending, Conflicted; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// One entry for each node that this object selects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub nodes: Vec<NodeStatus>,
}

/// A SandboxConfig on one node.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The node, or the host of a control plane without nodes.
    pub name: String,
    /// Generation of the rule table in force there.
    pub applied_generation: i64,
    /// Rules of this object in that table.
    pub rules: i64,
    /// How often they were used; at most 30 s old.
    #[serde(default)]
    pub hits: i64,
    /// k3s there.
    #[serde(default)]
    pub k3s: NodeK3s,
    /// The interceptor there.
    #[serde(default)]
    pub interceptor: NodeInterceptor,
    /// Limits of pods (memory, cpu, pids) that are accepted there and not enforced, or not known to be. Found by exceeding
    /// them when the supervisor started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits_not_enforced: Vec<String>,
}

/// k3s on one node.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeK3s {
    /// Starting, Ready, Restarting, BackingOff, Stopping or Stopped.
    #[serde(default)]
    pub phase: String,
    /// Its process, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// As `k3s --version` says.
    #[serde(default)]
    pub version: String,
    /// Its command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Starts after the first.
    #[serde(default)]
    pub restarts: i64,
    /// The snapshotter of its containers, and why it is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshotter: Option<NodeSnapshotter>,
    /// How it last ended, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Flags that were taken back because k3s did not become and stay ready with them, or that cannot work there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<NodeRolledBack>,
}

/// A snapshotter and how it came to be this one.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeSnapshotter {
    /// As in `--snapshotter`.
    #[serde(default)]
    pub name: String,
    /// Who has asked for it, or why sandbar has chosen it.
    #[serde(default)]
    pub why: String,
    /// What containers lack with it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// k3s flags that were taken back, or not even tried.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeRolledBack {
    /// Generation of the rule table that brought them.
    pub generation: i64,
    /// The flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// k3s's own error, or what the kernel lacks.
    #[serde(default)]
    pub error: String,
}

/// The interceptor on one node.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeInterceptor {
    /// seccomp-trace or ptrace-syscall; empty where nothing is traced.
    #[serde(default)]
    pub backend: String,
    /// Who is: Everything, Commands (what `sandbar exec` starts; k3s sees what mounts can serve) or Nothing.
    #[serde(default)]
    pub traced: String,
    /// Threads traced; at most 30 s old.
    #[serde(default)]
    pub tracees: i64,
    /// Stops served; at most 30 s old.
    #[serde(default)]
    pub stops: i64,
}
