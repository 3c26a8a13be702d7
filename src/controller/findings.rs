//! What is to be said about one SandboxConfig, from the state of table and supervisor. Pure.

use crate::api::conditions::{Finding, Tri, reasons, types};
use crate::rules::model::{DesiredDocument, K3sSettings};
use crate::rules::observed::{K3sState, ObservedDocument};

use super::build::Conflict;

/// Everything that conditions are derived from, at one moment.
#[derive(Debug)]
pub struct View<'a> {
    /// This node.
    pub node: &'a str,
    /// The document that is wanted.
    pub document: &'a DesiredDocument,
    /// What was overridden in it.
    pub conflicts: &'a [Conflict],
    /// Whether it is published and acknowledged.
    pub settled: bool,
    /// Why it could not be published at all.
    pub unpublishable: Option<&'a str>,
    /// Generation last published.
    pub generation: u64,
    /// Generation that brought its k3s settings; 0 if not known.
    pub settings_generation: u64,
    /// What the supervisor reports.
    pub observed: &'a ObservedDocument,
}

/// How one object stands to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is refused, whole, for this reason.
    Invalid(String),
    /// Its node selector matches no node.
    NotSelected,
    /// It takes part.
    Selected,
}

/// The conditions of the object `name`.
pub fn findings(name: &str, standing: &Standing, view: &View<'_>) -> Vec<Finding> {
    let (programmed, ready) = outcome(name, standing, view);
    let mut findings = vec![
        Finding { type_: types::READY, ..ready.clone() },
        Finding { type_: types::RULES_PROGRAMMED, ..programmed },
        restart_pending(name, view),
        conflicted(name, view),
    ];
    // kstatus: each of the two is there only while it is true.
    match (ready.status, ready.reason) {
        (Tri::Unknown, _) => findings.push(Finding { type_: types::RECONCILING, status: Tri::True, ..ready }),
        (Tri::False, _) => findings.push(Finding { type_: types::STALLED, status: Tri::True, ..ready }),
        (Tri::True, _) => {}
    }
    findings
}

/// RulesProgrammed and Ready, in that order.
fn outcome(name: &str, standing: &Standing, view: &View<'_>) -> (Finding, Finding) {
    let say = |status, reason, message: String| Finding { type_: types::READY, status, reason, message };
    let both = |finding: Finding| (finding.clone(), finding);
    match standing {
        Standing::Invalid(why) => return both(say(Tri::False, reasons::INVALID, why.clone())),
        Standing::NotSelected => {
            let message = "spec.nodeSelector matches no node: nothing to do".to_owned();
            let idle = say(Tri::False, reasons::NOT_SELECTED, message);
            return (idle.clone(), Finding { status: Tri::True, ..idle });
        }
        Standing::Selected => {}
    }
    if let Some(why) = refusal(view) {
        return both(say(Tri::False, reasons::REFUSED, format!("{why}; the last good rules stay in force")));
    }
    if !view.settled {
        let message = format!("waiting for the interceptor on {} to take the rules", view.node);
        return both(say(Tri::Unknown, reasons::AWAITING_ACKNOWLEDGEMENT, message));
    }
    let rules = view.document.rules.iter().filter(|rule| rule.source == name).count();
    let rules = if rules == 1 { "1 rule".to_owned() } else { format!("{rules} rules") };
    let unserved = unserved(name, view);
    let programmed = if unserved.is_empty() {
        say(Tri::True, reasons::PROGRAMMED, format!("{rules} in force on {}", view.node))
    } else {
        let (count, which) = (unserved.len(), listed(&unserved));
        let message = format!("{count} of {rules} not served on {}: {which}", view.node);
        say(Tri::False, reasons::NOT_SERVED, message)
    };
    if blamed(view).iter().any(|source| source == name) {
        let (reason, message) = taken_back(&view.observed.k3s);
        return (programmed, say(Tri::False, reason, message));
    }
    if restarting(name, view) {
        let message = format!("k3s on {} is being started with the new settings", view.node);
        return (programmed, say(Tri::Unknown, reasons::RESTARTING, message));
    }
    both(programmed)
}

/// k3s's own error, or why it was not tried; and the flags that are meant: those that it does not run with now.
fn taken_back(k3s: &K3sState) -> (&'static str, String) {
    let Some(back) = &k3s.rolled_back else { return (reasons::ROLLED_BACK, String::new()) };
    let runs = |arg: &String| k3s.args.iter().any(|running| running.arg == *arg);
    let tried: Vec<&str> = back.args.iter().filter(|arg| !runs(arg)).map(String::as_str).collect();
    let tried = if tried.is_empty() { "its settings".to_owned() } else { format!("`{}`", tried.join(" ")) };
    if back.tried {
        let what = format!("k3s did not stay ready with {tried} and runs with the former settings again");
        (reasons::ROLLED_BACK, format!("{what}: {}", back.error))
    } else {
        let what = format!("{tried} cannot work here, and k3s goes on with the former settings");
        (reasons::SETTINGS_REFUSED, format!("{what}: {}", back.error))
    }
}

/// The rules of `name` that are in the table and that nothing serves here, with the reasons.
fn unserved(name: &str, view: &View<'_>) -> Vec<String> {
    let mine = view.observed.rules.iter().filter(|rule| rule.source == name);
    mine.filter_map(|rule| Some(format!("{}: {}", rule.pattern, rule.reason.as_ref()?))).collect()
}

/// Why the wanted table is not taken, by us or by the supervisor.
fn refusal(view: &View<'_>) -> Option<String> {
    let refused = view.observed.refused.as_ref().filter(|refused| refused.generation == view.generation);
    view.unpublishable.map(str::to_owned).or_else(|| refused.map(|refused| refused.reason.clone()))
}

fn restart_pending(name: &str, view: &View<'_>) -> Finding {
    let waits = view
        .observed
        .k3s
        .restart_pending
        .as_ref()
        .filter(|_| setters(view.document).iter().any(|source| source == name));
    Finding {
        type_: types::RESTART_PENDING,
        status: waits.is_some().into(),
        reason: if waits.is_some() { reasons::SETTINGS_WAIT } else { reasons::NOTHING_WAITS },
        message: waits.map(|what| format!("{what}; run `sandbar restart`")).unwrap_or_default(),
    }
}

/// At most this many overridden parts, or rules that are not served, are listed.
const LISTED: usize = 16;

fn listed(all: &[String]) -> String {
    let mut message = all[..all.len().min(LISTED)].join("; ");
    if all.len() > LISTED {
        message.push_str(&format!("; and {} more", all.len() - LISTED));
    }
    message
}

fn conflicted(name: &str, view: &View<'_>) -> Finding {
    let lost: Vec<String> =
        view.conflicts.iter().filter(|conflict| conflict.loser == name).map(ToString::to_string).collect();
    Finding {
        type_: types::CONFLICTED,
        status: (!lost.is_empty()).into(),
        reason: if lost.is_empty() { reasons::NO_CONFLICT } else { reasons::OVERRIDDEN },
        message: listed(&lost),
    }
}

/// Whether k3s is not ready and does not run with the settings of `name` yet.
fn restarting(name: &str, view: &View<'_>) -> bool {
    let k3s = &view.observed.k3s;
    let waits = k3s.restart_pending.is_some() || k3s.phase == "Ready";
    !waits && settings_of(name, &view.document.k3s).any(|flag| !runs_with(&flag, k3s))
}

/// The objects whose settings k3s did not stay ready with.
pub fn blamed(view: &View<'_>) -> Vec<String> {
    let k3s = &view.observed.k3s;
    let Some(back) = k3s.rolled_back.as_ref().filter(|back| back.generation >= view.settings_generation)
    else {
        return Vec::new();
    };
    let sources = setters(view.document);
    let tried: Vec<&str> = back.args.iter().map(String::as_str).collect();
    let guilty = |source: &String| {
        settings_of(source, &view.document.k3s).any(|flag| flag.among(&tried) && !runs_with(&flag, k3s))
    };
    let blamed: Vec<String> = sources.iter().filter(|source| guilty(source)).cloned().collect();
    // A flag that came in another guise, or that the supervisor chose: then it is any of them, but only as long as the
    // table that brought it is the latest.
    if blamed.is_empty() && back.generation == view.generation { sources } else { blamed }
}

/// The objects that set anything about how k3s is started, each once.
pub fn setters(document: &DesiredDocument) -> Vec<String> {
    let settings = &document.k3s;
    let mut sources: Vec<String> =
        [&settings.flannel_backend, &settings.snapshotter, &settings.containerd_config]
            .into_iter()
            .flatten()
            .map(|set| set.source.clone())
            .chain(settings.extra_args.iter().map(|set| set.source.clone()))
            .chain(document.interception_source.clone())
            .collect();
    sources.sort();
    sources.dedup();
    sources
}

/// A flag as it may stand on a command line.
#[derive(Debug, PartialEq, Eq)]
enum Flag<'a> {
    /// `--name=value`, or the two as neighbours.
    Named(&'static str, &'a str),
    /// Word by word.
    Verbatim(&'a str),
}

impl Flag<'_> {
    fn among(&self, words: &[&str]) -> bool {
        match self {
            Self::Named(name, value) => {
                words.iter().any(|word| *word == format!("{name}={value}"))
                    || words.windows(2).any(|pair| pair == [*name, *value])
            }
            Self::Verbatim(word) => words.contains(word),
        }
    }
}

fn settings_of<'a>(source: &str, settings: &'a K3sSettings) -> impl Iterator<Item = Flag<'a>> {
    let named = [("--flannel-backend", &settings.flannel_backend), ("--snapshotter", &settings.snapshotter)]
        .into_iter()
        .filter_map(|(name, set)| Some((name, set.as_ref()?)))
        // What `auto` becomes is the supervisor's choice.
        .filter(|(_, set)| set.source == source && set.value != "auto")
        .map(|(name, set)| Flag::Named(name, set.value.as_str()))
        .collect::<Vec<_>>();
    let extra = settings.extra_args.iter().filter(|set| set.source == source).flat_map(|set| &set.value);
    let extra: Vec<_> = extra.map(|word| Flag::Verbatim(word)).collect();
    named.into_iter().chain(extra)
}

fn runs_with(flag: &Flag<'_>, k3s: &K3sState) -> bool {
    let words: Vec<&str> = k3s.args.iter().map(|arg| arg.arg.as_str()).collect();
    flag.among(&words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{Access, Action, Rule, Sourced};
    use crate::rules::observed::{K3sArg, ObservedRule, RefusedTable, RolledBack};

    fn document() -> DesiredDocument {
        let action = Action::File { path: "/proc/x".into(), value: "1".into(), access: Access::ReadOnly };
        let extra = Sourced { value: vec!["--no-such-flag".to_owned()], source: "mine".into() };
        let flannel = Sourced { value: "none".to_owned(), source: "profile".into() };
        DesiredDocument {
            rules: vec![Rule { source: "mine".into(), action }],
            k3s: K3sSettings {
                extra_args: vec![extra],
                flannel_backend: Some(flannel),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn running(args: &[&str]) -> ObservedDocument {
        let args = args.iter().map(|arg| K3sArg { arg: (*arg).into(), source: "x".into() }).collect();
        ObservedDocument {
            k3s: K3sState { phase: "Ready".into(), args, ..Default::default() },
            ..Default::default()
        }
    }

    fn view<'a>(document: &'a DesiredDocument, observed: &'a ObservedDocument) -> View<'a> {
        View {
            node: "n",
            document,
            conflicts: &[],
            settled: true,
            unpublishable: None,
            generation: 3,
            settings_generation: 2,
            observed,
        }
    }

    /// `Ready` and what is there besides, as `Type=Status/Reason`.
    fn said(name: &str, standing: &Standing, view: &View<'_>) -> Vec<String> {
        findings(name, standing, view)
            .iter()
            .map(|finding| format!("{}={}/{}", finding.type_, finding.status.as_str(), finding.reason))
            .collect()
    }

    #[test]
    fn an_acknowledged_table_is_ready_and_neither_reconciling_nor_stalled() {
        let (document, observed) = (document(), running(&["--no-such-flag", "--flannel-backend=none"]));
        assert_eq!(
            said("mine", &Standing::Selected, &view(&document, &observed)),
            [
                "Ready=True/Programmed",
                "RulesProgrammed=True/Programmed",
                "RestartPending=False/NothingWaits",
                "Conflicted=False/NoConflict"
            ]
        );
    }

    #[test]
    fn until_the_acknowledgement_ready_is_unknown_and_reconciling() {
        let (document, observed) = (document(), running(&[]));
        let said = said("mine", &Standing::Selected, &View { settled: false, ..view(&document, &observed) });
        assert!(said.contains(&"Ready=Unknown/AwaitingAcknowledgement".to_owned()), "{said:?}");
        assert!(said.contains(&"Reconciling=True/AwaitingAcknowledgement".to_owned()), "{said:?}");
    }

    #[test]
    fn a_refused_table_is_stalled_with_the_reason() {
        let (document, mut observed) = (document(), running(&[]));
        observed.refused = Some(RefusedTable { generation: 3, reason: "damaged".into() });
        let all = findings("mine", &Standing::Selected, &view(&document, &observed));
        let stalled = all.iter().find(|finding| finding.type_ == types::STALLED).unwrap();
        assert!(stalled.message.contains("damaged"), "{stalled:?}");
        observed.refused = Some(RefusedTable { generation: 2, reason: "old".into() });
        let said = said("mine", &Standing::Selected, &view(&document, &observed));
        assert!(said.contains(&"Ready=True/Programmed".to_owned()), "an older refusal counts: {said:?}");
    }

    #[test]
    fn a_rule_that_nothing_serves_is_told_to_its_object_alone() {
        let (document, mut observed) = (document(), running(&["--no-such-flag", "--flannel-backend=none"]));
        observed.rules = vec![ObservedRule {
            source: "mine".into(),
            pattern: "/proc/x".into(),
            means: "none".into(),
            reason: Some("a pattern".into()),
            ..Default::default()
        }];
        let view = view(&document, &observed);
        let all = findings("mine", &Standing::Selected, &view);
        assert_eq!((all[0].status, all[0].reason), (Tri::False, reasons::NOT_SERVED));
        assert_eq!(all[1].message, "1 of 1 rule not served on n: /proc/x: a pattern");
        assert!(said("profile", &Standing::Selected, &view).contains(&"Ready=True/Programmed".to_owned()));
    }

    #[test]
    fn a_rollback_is_told_to_the_object_that_set_the_flag_with_k3s_own_error() {
        let (document, mut observed) = (document(), running(&["server", "--flannel-backend=none"]));
        let args = vec!["--flannel-backend=none".into(), "--no-such-flag".into()];
        observed.k3s.rolled_back = Some(RolledBack {
            generation: 3,
            args,
            error: "flag provided but not defined".into(),
            tried: true,
        });
        let view = view(&document, &observed);
        let all = findings("mine", &Standing::Selected, &view);
        assert_eq!((all[0].status, all[0].reason), (Tri::False, reasons::ROLLED_BACK));
        assert_eq!(
            all[0].message,
            "k3s did not stay ready with `--no-such-flag` and runs with the former settings again: flag provided but not defined"
        );
        assert_eq!(all[1].status, Tri::True, "the rules are in force all the same");
        assert!(said("profile", &Standing::Selected, &view).contains(&"Ready=True/Programmed".to_owned()));
        let later = View { settings_generation: 4, ..view };
        assert!(said("mine", &Standing::Selected, &later).contains(&"Ready=True/Programmed".to_owned()));
    }

    #[test]
    fn what_cannot_work_is_told_to_its_object_with_what_the_kernel_lacks() {
        let (document, mut observed) = (document(), running(&["server", "--flannel-backend=none"]));
        let args = vec!["--flannel-backend=none".into(), "--no-such-flag".into()];
        observed.k3s.rolled_back =
            Some(RolledBack { generation: 3, args, error: "vxlan: EOPNOTSUPP".into(), tried: false });
        let view = view(&document, &observed);
        let all = findings("mine", &Standing::Selected, &view);
        assert_eq!((all[0].status, all[0].reason), (Tri::False, reasons::SETTINGS_REFUSED));
        assert_eq!(
            all[0].message,
            "`--no-such-flag` cannot work here, and k3s goes on with the former settings: vxlan: EOPNOTSUPP"
        );
        assert!(said("profile", &Standing::Selected, &view).contains(&"Ready=True/Programmed".to_owned()));
    }

    #[test]
    fn waiting_settings_are_pending_and_leave_ready_alone() {
        let (document, mut observed) = (document(), running(&["--flannel-backend", "none"]));
        observed.k3s.restart_pending = Some("--no-such-flag waits".into());
        let said = said("mine", &Standing::Selected, &view(&document, &observed));
        assert!(said.contains(&"Ready=True/Programmed".to_owned()), "{said:?}");
        assert!(said.contains(&"RestartPending=True/SettingsWaitForRestart".to_owned()), "{said:?}");
    }

    #[test]
    fn while_k3s_starts_with_new_settings_their_object_is_reconciling() {
        let (document, mut observed) = (document(), running(&["--flannel-backend", "none"]));
        observed.k3s.phase = "Restarting".into();
        let view = view(&document, &observed);
        assert!(
            said("mine", &Standing::Selected, &view).contains(&"Reconciling=True/K3sRestarting".to_owned())
        );
        assert!(said("profile", &Standing::Selected, &view).contains(&"Ready=True/Programmed".to_owned()));
    }

    #[test]
    fn an_invalid_object_is_stalled_and_one_for_other_nodes_is_ready() {
        let (document, observed) = (document(), running(&[]));
        let view = view(&document, &observed);
        let invalid = said("bad", &Standing::Invalid("why".into()), &view);
        assert!(invalid.contains(&"Stalled=True/InvalidSpec".to_owned()), "{invalid:?}");
        let idle = said("other", &Standing::NotSelected, &view);
        assert!(idle.contains(&"Ready=True/NoNodeSelected".to_owned()), "{idle:?}");
        assert!(idle.contains(&"RulesProgrammed=False/NoNodeSelected".to_owned()), "{idle:?}");
    }

    #[test]
    fn the_loser_of_a_conflict_names_winner_and_path() {
        let (document, observed) = (document(), running(&[]));
        let conflicts: Vec<Conflict> = (0..20)
            .map(|n| Conflict { loser: "mine".into(), winner: "top".into(), about: format!("/proc/{n}") })
            .collect();
        let view = View { conflicts: &conflicts, ..view(&document, &observed) };
        let all = findings("mine", &Standing::Selected, &view);
        let conflicted = all.iter().find(|finding| finding.type_ == types::CONFLICTED).unwrap();
        assert!(conflicted.message.starts_with("/proc/0 is taken from top; "), "{}", conflicted.message);
        assert!(conflicted.message.ends_with("; and 4 more"), "{}", conflicted.message);
    }
}
