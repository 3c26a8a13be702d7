//! Kubernetes Events from what the supervisor reports and from what is refused here. Pure.
//!
//! kube's own recorder names an Event by the time of its writing; here the name comes from what is told, so that a
//! restarted controller, which reads the same report again, finds its Events already there.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Resource;
use sha2::{Digest, Sha256};

use super::findings::{self, View};
use crate::api::SandboxConfig;
use crate::api::conditions::shorten;
use crate::rules::model::{Action, DesiredDocument, Rule};
use crate::rules::observed::SupervisorEvent;

/// Events of cluster-scoped objects live here.
pub const NAMESPACE: &str = "default";
/// The API server forgets an Event after an hour: what is older would be told as news.
const NEWS: SignedDuration = SignedDuration::from_hours(1);

/// Whom an Event is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Regarding {
    /// Name of the SandboxConfig.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
}

/// The Event for something that the supervisor reports, or `None` if it is no news any more.
pub fn from_supervisor(
    event: &SupervisorEvent,
    regarding: &Regarding,
    node: &str,
    now: Timestamp,
) -> Option<Event> {
    let at: Timestamp = event.at.parse().unwrap_or(now);
    if now.duration_since(at) > NEWS {
        return None;
    }
    let identity = format!("{node} {} {} {}", event.sequence, event.at, event.reason);
    Some(make(&identity, &event.reason, &event.message, regarding, node, at))
}

/// The Event for an object that is refused; one for each generation of it.
pub fn refused(regarding: &Regarding, generation: i64, why: &str, node: &str, now: Timestamp) -> Event {
    make(&format!("{node} {generation} refused"), "Refused", why, regarding, node, now)
}

/// The Event for an object on account of which the whole table cannot be published.
pub fn unpublishable(regarding: &Regarding, generation: i64, why: &str, node: &str, now: Timestamp) -> Event {
    make(&format!("{node} {generation} unpublishable"), "TableRefused", why, regarding, node, now)
}

/// The objects on account of which `wanted` cannot be published: those with rules that `last`, which could be, has not;
/// all, if there are none.
pub fn behind(wanted: &DesiredDocument, last: Option<&DesiredDocument>) -> Vec<String> {
    fn key(rule: &Rule) -> (&str, &str, &str) {
        (&rule.source, rule.action.kind(), rule.action.pattern())
    }
    let last = last.map_or(&[][..], |last| &last.rules);
    let known: HashMap<_, &Action> = last.iter().map(|rule| (key(rule), &rule.action)).collect();
    let is_new = |rule: &&Rule| known.get(&key(rule)) != Some(&&rule.action);
    let new: Vec<&Rule> = wanted.rules.iter().filter(is_new).collect();
    let rules = if new.is_empty() { wanted.rules.iter().collect() } else { new };
    let sources: BTreeSet<&str> = rules.into_iter().map(|rule| rule.source.as_str()).collect();
    sources.into_iter().map(str::to_owned).collect()
}

/// The objects that an event of the supervisor is about: those that it names, or that caused a rollback, else those that
/// set anything about k3s, else the one of highest precedence.
pub fn about(event: &SupervisorEvent, view: &View<'_>) -> Vec<String> {
    if !event.sources.is_empty() {
        return event.sources.clone();
    }
    let settings = ["RolledBack", "Rollback", "SettingsRefused"];
    let taken_back = settings.iter().any(|what| event.reason.contains(what));
    let blamed = if taken_back { findings::blamed(view) } else { Vec::new() };
    if !blamed.is_empty() {
        return blamed;
    }
    let setters = findings::setters(view);
    if !setters.is_empty() {
        return setters;
    }
    view.document.rules.first().map(|rule| vec![rule.source.clone()]).unwrap_or_default()
}

fn make(
    identity: &str,
    reason: &str,
    message: &str,
    regarding: &Regarding,
    node: &str,
    at: Timestamp,
) -> Event {
    let uid = regarding.uid.clone().unwrap_or_default();
    let digest = Sha256::digest(format!("{uid} {identity} {reason}"));
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{hash}", shorten(&regarding.name, 200))),
            namespace: Some(NAMESPACE.to_owned()),
            ..Default::default()
        },
        event_time: Some(MicroTime(at)),
        type_: Some(if is_bad(reason) { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(shorten(reason, 128)),
        action: Some(if reason == "Refused" { "Validate" } else { "Supervise" }.to_owned()),
        note: Some(shorten(message, 1000)),
        reporting_controller: Some("sandbar.dev/controller".to_owned()),
        reporting_instance: Some(shorten(node, 128)),
        regarding: Some(ObjectReference {
            api_version: Some(SandboxConfig::api_version(&()).into_owned()),
            kind: Some(SandboxConfig::kind(&()).into_owned()),
            name: Some(regarding.name.clone()),
            uid: regarding.uid.clone(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn is_bad(reason: &str) -> bool {
    [
        "Refused",
        "NotServed",
        "RolledBack",
        "Rollback",
        "Failed",
        "Crash",
        "BackOff",
        "BackingOff",
        "Exited",
        "Panic",
        "Lost",
        "NotTakenBack",
    ]
    .iter()
    .any(|bad| reason.contains(bad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{Access, K3sSettings, Sourced};
    use crate::rules::observed::ObservedDocument;

    fn regarding() -> Regarding {
        Regarding { name: "mine".into(), uid: Some("u".into()) }
    }

    fn event(sequence: u64) -> SupervisorEvent {
        SupervisorEvent {
            sequence,
            at: "2026-01-01T00:00:00Z".into(),
            reason: "K3sSettingsRolledBack".into(),
            message: "flag provided but not defined".into(),
            sources: Vec::new(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_same_report_has_the_same_name_and_another_one_another() {
        let now = at("2026-01-01T00:10:00Z");
        let name =
            |event: &SupervisorEvent| from_supervisor(event, &regarding(), "n", now).unwrap().metadata.name;
        assert_eq!(name(&event(1)), name(&event(1)));
        assert_ne!(name(&event(1)), name(&event(2)));
        assert!(name(&event(1)).unwrap().starts_with("mine."));
    }

    #[test]
    fn a_rollback_is_a_warning_with_k3s_own_words() {
        let event = from_supervisor(&event(1), &regarding(), "n", at("2026-01-01T00:00:01Z")).unwrap();
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.note.as_deref(), Some("flag provided but not defined"));
        assert_eq!(event.regarding.unwrap().kind.as_deref(), Some("SandboxConfig"));
    }

    #[test]
    fn an_event_is_about_whom_it_names_else_about_those_that_set_something() {
        let flannel = Some(Sourced { value: "none".into(), source: "net".into() });
        let document = DesiredDocument {
            k3s: K3sSettings { flannel_backend: flannel, ..Default::default() },
            ..Default::default()
        };
        let observed = ObservedDocument::default();
        let view = View { settings_generation: 1, ..View::of(&document, &observed) };
        let named =
            SupervisorEvent { reason: "RuleNotServed".into(), sources: vec!["redirects".into()], ..event(1) };
        assert_eq!(about(&named, &view), ["redirects"]);
        assert_eq!(about(&event(2), &view), ["net"]);
    }

    #[test]
    fn who_brings_new_rules_is_behind_a_table_that_cannot_be_published() {
        let rule = |source: &str, value: &str| {
            let action = Action::File {
                path: format!("/proc/{source}"),
                value: value.into(),
                access: Access::ReadOnly,
            };
            Rule { source: source.into(), action }
        };
        let document = |rules: &[(&str, &str)]| DesiredDocument {
            rules: rules.iter().map(|(source, value)| rule(source, value)).collect(),
            ..Default::default()
        };
        let wanted = document(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(behind(&wanted, Some(&document(&[("a", "1"), ("b", "1")]))), ["b", "c"]);
        assert_eq!(behind(&wanted, Some(&wanted)), ["a", "b", "c"]);
        assert_eq!(behind(&wanted, None), ["a", "b", "c"]);
    }

    #[test]
    fn what_the_api_server_has_forgotten_is_not_told_again() {
        assert_eq!(from_supervisor(&event(1), &regarding(), "n", at("2026-01-01T02:00:00Z")), None);
    }
}
