//! The state of it all in the shape of `sandbar status -o json`, and the one definition of "ready".

use serde::Serialize;

use crate::rules::observed::{
    K3sArg, Observed, ObservedDocument, ObservedLimit, ObservedRemedy, ObservedRule, ObservedSnapshotter,
    RefusedTable, RolledBack, Scalar, SupervisorEvent, Traced,
};
use crate::rules::table::TableError;

/// Everything that `status` shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Status {
    pub ready: bool,
    /// What it waits for, if it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    pub mode: String,
    pub supervisor: Supervisor,
    pub controller: Controller,
    pub k3s: K3s,
    pub interceptor: Interceptor,
    pub table: Table,
    /// What sandbar does about what this environment lacks.
    pub remedies: Vec<ObservedRemedy>,
    /// On a node: whether the limits of pods are enforced.
    pub limits: Vec<ObservedLimit>,
    pub events: Vec<SupervisorEvent>,
}

/// The supervisor process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Supervisor {
    pub pid: u32,
}

/// The controller process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Controller {
    pub pid: Option<u32>,
    pub ready: bool,
    pub restarts: u64,
}

/// k3s.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct K3s {
    pub phase: String,
    pub pid: Option<u32>,
    pub version: String,
    /// The command line, without the program.
    pub args: Vec<String>,
    /// The same with where each argument came from.
    pub arg_sources: Vec<K3sArg>,
    pub restarts: u64,
    pub started_at: Option<String>,
    /// The snapshotter and why it is this one.
    pub snapshotter: Option<ObservedSnapshotter>,
    pub last_error: Option<String>,
    pub restart_pending: Option<String>,
    pub rolled_back: Option<RolledBack>,
}

/// The interceptor.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Interceptor {
    pub backend: String,
    pub traced: Traced,
    pub stop_order: String,
    pub memory_access: String,
    pub tracees: u64,
    pub stops: u64,
    pub panics: u64,
}

/// The rule table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Table {
    pub published: u64,
    pub acknowledged: u64,
    pub applied: u64,
    pub rules: Vec<RuleStatus>,
    pub error: Option<String>,
}

/// A rule in force with its hits.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct RuleStatus {
    pub source: String,
    pub kind: String,
    pub pattern: String,
    /// `trace`, `mount` or `none`.
    pub means: String,
    /// Why it is not served, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was used; what is mounted is not counted.
    pub hits: u64,
}

/// Counters as they were at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counters {
    pub acknowledged: u64,
    pub tracees: u64,
    pub stops: u64,
    pub panics: u64,
}

impl Counters {
    /// Reads them.
    pub fn read(observed: &Observed) -> Self {
        let scalar = |scalar| observed.scalar(scalar);
        Self {
            acknowledged: scalar(Scalar::Acknowledged),
            tracees: scalar(Scalar::Tracees),
            stops: scalar(Scalar::Stops),
            panics: scalar(Scalar::Panics),
        }
    }
}

/// Whether all is up: `Ok`, or what is waited for. The one definition, for `up`, `status` and the init system.
pub fn ready(document: &ObservedDocument, acknowledged: u64) -> Result<(), String> {
    let k3s = &document.k3s;
    // Mounts can be lost while it still answers.
    if k3s.phase != "Ready" || k3s.waiting_for.is_some() {
        let failed = k3s.last_error.as_ref().map(|error| format!("; it last failed: {error}"));
        let lacks = k3s.waiting_for.as_ref().map(|lack| format!("; {lack}"));
        let why = lacks.or(failed).unwrap_or_default();
        return Err(format!("k3s to become ready (now {}{why})", k3s.phase));
    }
    if document.controller.pid.is_none() {
        return Err("the controller to run".into());
    }
    if let Some(why) = document.controller.unpublishable.as_ref().filter(|_| !document.controller.ready) {
        return Err(format!("a rule table that can be published: {why}"));
    }
    if !document.controller.ready {
        return Err(
            "the controller to reach the API server and apply the SandboxConfig definition and the built-in profile"
                .into(),
        );
    }
    if acknowledged < document.published {
        return Err(format!("rule table {} to be taken", document.published));
    }
    Ok(())
}

impl Status {
    /// Reads the observed table.
    pub fn read(observed: &Observed) -> Result<Self, TableError> {
        let document = observed.read()?;
        let hits = |rule: &ObservedRule| observed.hits(rule.slot);
        Ok(Self::of(&document, Counters::read(observed), hits))
    }

    /// From a document and its counters.
    pub fn of(document: &ObservedDocument, counters: Counters, hits: impl Fn(&ObservedRule) -> u64) -> Self {
        let waiting_for = ready(document, counters.acknowledged).err();
        let k3s = document.k3s.clone();
        let rule = |rule: &ObservedRule| RuleStatus {
            source: rule.source.clone(),
            kind: rule.kind.clone(),
            pattern: rule.pattern.clone(),
            means: rule.means.clone(),
            reason: rule.reason.clone(),
            hits: hits(rule),
        };
        let refused =
            |table: &RefusedTable| format!("generation {} refused: {}", table.generation, table.reason);
        let unpublished =
            || document.controller.unpublishable.as_ref().map(|why| format!("not published: {why}"));
        Self {
            ready: waiting_for.is_none(),
            waiting_for,
            mode: document.mode.clone(),
            supervisor: Supervisor { pid: document.supervisor },
            controller: Controller {
                pid: document.controller.pid,
                ready: document.controller.ready,
                restarts: document.controller.restarts,
            },
            k3s: K3s {
                phase: k3s.phase,
                pid: k3s.pid,
                version: k3s.version,
                args: super::flags::plain(&k3s.args),
                arg_sources: k3s.args,
                restarts: k3s.restarts,
                started_at: k3s.started_at,
                snapshotter: k3s.snapshotter,
                last_error: k3s.last_error,
                restart_pending: k3s.restart_pending,
                rolled_back: k3s.rolled_back,
            },
            interceptor: Interceptor {
                backend: document.interceptor.backend.clone(),
                traced: document.interceptor.traced,
                stop_order: document.interceptor.stop_order.clone(),
                memory_access: document.interceptor.memory_access.clone(),
                tracees: counters.tracees,
                stops: counters.stops,
                panics: counters.panics,
            },
            table: Table {
                published: document.published,
                acknowledged: counters.acknowledged,
                applied: document.applied,
                rules: document.rules.iter().map(rule).collect(),
                error: document.refused.as_ref().map(refused).or_else(unpublished),
            },
            remedies: document.remedies.clone(),
            limits: document.limits.clone(),
            events: document.events.clone(),
        }
    }
}
