//! Conditions: their types, their reasons, and the merge that keeps the time of the last transition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Types of conditions.
pub mod types {
    /// The summary that people and tools wait for.
    pub const READY: &str = "Ready";
    /// The rules are in the table that the interceptor acknowledged.
    pub const RULES_PROGRAMMED: &str = "RulesProgrammed";
    /// k3s settings wait for `sandbar restart`.
    pub const RESTART_PENDING: &str = "RestartPending";
    /// Another object, or the command line, overrides a part of this one.
    pub const CONFLICTED: &str = "Conflicted";
    /// kstatus: being worked on. Present only while true.
    pub const RECONCILING: &str = "Reconciling";
    /// kstatus: will not get better by itself. Present only while true.
    pub const STALLED: &str = "Stalled";
}

/// Reasons, one CamelCase word each.
#[allow(missing_docs)]
pub mod reasons {
    pub const PROGRAMMED: &str = "Programmed";
    pub const AWAITING_ACKNOWLEDGEMENT: &str = "AwaitingAcknowledgement";
    pub const NOT_SELECTED: &str = "NoNodeSelected";
    pub const INVALID: &str = "InvalidSpec";
    pub const REFUSED: &str = "TableRefused";
    pub const NOT_SERVED: &str = "RulesNotServed";
    pub const ROLLED_BACK: &str = "K3sSettingsRolledBack";
    pub const SETTINGS_REFUSED: &str = "K3sSettingsRefused";
    pub const RESTARTING: &str = "K3sRestarting";
    pub const SETTINGS_WAIT: &str = "SettingsWaitForRestart";
    pub const NOTHING_WAITS: &str = "NothingWaits";
    pub const OVERRIDDEN: &str = "Overridden";
    pub const NO_CONFLICT: &str = "NoConflict";
}

/// What a condition says, before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Finding {
    pub type_: &'static str,
    pub status: Tri,
    pub reason: &'static str,
    pub message: String,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tri {
    True,
    False,
    Unknown,
}

impl Tri {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Tri {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Longest message that the API takes, in bytes.
const MAX_MESSAGE: usize = 32_768;

/// Turns findings into conditions. One whose status is what it was keeps its transition time; what is not found any
/// more is gone.
pub fn merge(
    old: &[Condition],
    findings: &[Finding],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    findings
        .iter()
        .map(|finding| {
            let same = old
                .iter()
                .find(|known| known.type_ == finding.type_ && known.status == finding.status.as_str());
            Condition {
                last_transition_time: same
                    .map_or_else(|| Time(whole_second(now)), |known| known.last_transition_time.clone()),
                message: shorten(&finding.message, MAX_MESSAGE),
                observed_generation: generation,
                reason: finding.reason.to_owned(),
                status: finding.status.as_str().to_owned(),
                type_: finding.type_.to_owned(),
            }
        })
        .collect()
}

/// metav1.Time has whole seconds: a fraction would read back differently and look like a change.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The first `limit` bytes of `text`, cut between characters.
pub fn shorten(text: &str, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: Tri, message: &str) -> Finding {
        Finding { type_: types::READY, status, reason: reasons::PROGRAMMED, message: message.into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let first = merge(&[], &[ready(Tri::True, "a")], Some(1), at(10));
        let same = merge(&first, &[ready(Tri::True, "b")], Some(2), at(20));
        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!((same[0].message.as_str(), same[0].observed_generation), ("b", Some(2)));
        let flipped = merge(&same, &[ready(Tri::False, "b")], Some(2), at(30));
        assert_eq!(flipped[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn a_condition_that_is_no_longer_found_is_dropped() {
        let old = merge(&[], &[ready(Tri::True, "")], None, at(1));
        assert_eq!(merge(&old, &[], None, at(2)), vec![]);
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert_eq!(shorten("aé", 2), "a");
        assert_eq!(shorten("aé", 9), "aé");
    }
}
