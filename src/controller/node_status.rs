//! One node's entry in the status of a SandboxConfig, from what the supervisor reports. Pure.

use crate::api::status::{NodeInterceptor, NodeK3s, NodeRolledBack, NodeSnapshotter, NodeStatus};
use crate::rules::observed::{K3sState, Observed, ObservedDocument, Scalar};

/// Counters, read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counters {
    pub applied: u64,
    pub tracees: u64,
    pub stops: u64,
}

impl Counters {
    /// Reads them.
    pub fn read(observed: &Observed) -> Self {
        Self {
            applied: observed.scalar(Scalar::Applied),
            tracees: observed.scalar(Scalar::Tracees),
            stops: observed.scalar(Scalar::Stops),
        }
    }
}

/// The entry of `node` for the object `name`; `hits` reads the counter of a slot.
pub fn entry(
    name: &str,
    node: &str,
    state: &ObservedDocument,
    counters: Counters,
    hits: impl Fn(usize) -> u64,
) -> NodeStatus {
    let mine = || state.rules.iter().filter(|rule| rule.source == name);
    NodeStatus {
        name: node.to_owned(),
        applied_generation: signed(counters.applied),
        rules: signed(mine().count() as u64),
        hits: signed(mine().map(|rule| hits(rule.slot)).fold(0, u64::saturating_add)),
        k3s: k3s(&state.k3s),
        interceptor: NodeInterceptor {
            backend: state.interceptor.backend.clone(),
            traced: format!("{:?}", state.interceptor.traced),
            tracees: signed(counters.tracees),
            stops: signed(counters.stops),
        },
        limits_not_enforced: state
            .limits
            .iter()
            .filter(|limit| limit.enforced != "Yes")
            .map(|limit| limit.controller.clone())
            .collect(),
    }
}

fn k3s(state: &K3sState) -> NodeK3s {
    NodeK3s {
        phase: state.phase.clone(),
        pid: state.pid.map(i64::from),
        version: state.version.clone(),
        args: state.args.iter().map(|arg| arg.arg.clone()).collect(),
        restarts: signed(state.restarts),
        snapshotter: state.snapshotter.as_ref().map(|chosen| NodeSnapshotter {
            name: chosen.name.clone(),
            why: chosen.why.clone(),
            limit: chosen.limit.clone(),
        }),
        last_error: state.last_error.clone(),
        rolled_back: state.rolled_back.as_ref().map(|back| NodeRolledBack {
            generation: signed(back.generation),
            args: back.args.clone(),
            error: back.error.clone(),
        }),
    }
}

/// Whether the entry has to be written now. Counters alone wait for `refresh`; traffic of the interceptor that hit no
/// rule of this object is not worth a write at all.
pub fn due(old: Option<&NodeStatus>, new: &NodeStatus, refresh: bool) -> bool {
    let Some(old) = old else { return true };
    let without_counters = NodeStatus {
        hits: old.hits,
        interceptor: NodeInterceptor {
            tracees: old.interceptor.tracees,
            stops: old.interceptor.stops,
            ..new.interceptor.clone()
        },
        ..new.clone()
    };
    without_counters != *old || (refresh && new.hits != old.hits)
}

/// The API has no unsigned integers.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::observed::{ObservedLimit, ObservedRule};

    fn state() -> ObservedDocument {
        let rule = |source: &str, slot| ObservedRule { source: source.into(), slot, ..Default::default() };
        ObservedDocument { rules: vec![rule("a", 0), rule("b", 1), rule("a", 2)], ..Default::default() }
    }

    #[test]
    fn hits_and_rules_are_those_of_the_object_alone() {
        let counters = Counters { applied: 4, tracees: 2, stops: 9 };
        let entry = entry("a", "n", &state(), counters, |slot| [3, 100, 4][slot]);
        assert_eq!((entry.rules, entry.hits, entry.applied_generation), (2, 7, 4));
        assert_eq!((entry.interceptor.tracees, entry.interceptor.stops), (2, 9));
    }

    #[test]
    fn a_limit_counts_only_if_it_was_seen_to_bind() {
        let limit = |controller: &str, enforced: &str| ObservedLimit {
            controller: controller.into(),
            enforced: enforced.into(),
            ..Default::default()
        };
        let limits = vec![limit("memory", "No"), limit("cpu", "Unknown"), limit("pids", "Yes")];
        let state = ObservedDocument { limits, ..state() };
        let entry = entry("a", "n", &state, Counters::default(), |_| 0);
        assert_eq!(entry.limits_not_enforced, ["memory", "cpu"]);
    }

    #[test]
    fn counters_alone_wait_for_the_refresh() {
        let at =
            |hits, stops| entry("a", "n", &state(), Counters { stops, ..Default::default() }, move |_| hits);
        assert!(due(None, &at(0, 0), false));
        assert!(!due(Some(&at(0, 0)), &at(5, 5), false));
        assert!(due(Some(&at(0, 0)), &at(5, 5), true));
        assert!(!due(Some(&at(0, 0)), &at(0, 5), true), "stops alone are not worth a write");
        let mut restarted = at(0, 0);
        restarted.k3s.restarts = 1;
        assert!(due(Some(&at(0, 0)), &restarted, false));
    }
}
