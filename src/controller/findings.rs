//! What is to be said about one SandboxConfig, from the state of table and supervisor. Pure.

use crate::api::conditions::{Finding, Tri, reasons, types};
use crate::api::convert;
use crate::k3s::args::{self, Flag};
use crate::rules::model::{DesiredDocument, Sourced};
use crate::rules::observed::{COMMAND_LINE, K3sState, ObservedDocument, StartPart};
use crate::supervisor::flags::Mode;

use super::build::Conflict;

/// Everything that conditions are derived from, at one moment.
#[derive(Clone, Copy, Debug)]
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

#[cfg(test)]
impl<'a> View<'a> {
    /// Of a first table, about which all is well.
    pub fn of(document: &'a DesiredDocument, observed: &'a ObservedDocument) -> Self {
        View {
            node: "n",
            document,
            conflicts: &[],
            settled: true,
            unpublishable: None,
            generation: 1,
            settings_generation: 0,
            observed,
        }
    }
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
        let (reason, message) = taken_back(name, &view.observed.k3s);
        return (programmed, say(Tri::False, reason, message));
    }
    if restarting(name, view) {
        let message = format!("k3s on {} is being started with the new settings", view.node);
        return (programmed, say(Tri::Unknown, reasons::RESTARTING, message));
    }
    both(programmed)
}

/// k3s's own error, or why it was not tried; and the settings that are meant: those of `name` that it does not run with now.
fn taken_back(name: &str, k3s: &K3sState) -> (&'static str, String) {
    let Some(back) = &k3s.rolled_back else { return (reasons::ROLLED_BACK, String::new()) };
    let mut tried: Vec<String> = back.parts.iter().filter(|part| is_from(part, name)).map(shown).collect();
    if tried.is_empty() {
        tried = back.parts.iter().map(shown).collect();
    }
    let tried = if tried.is_empty() { "its settings".to_owned() } else { tried.join(", ") };
    if back.tried {
        let what = format!("k3s did not stay ready with {tried} and goes back to the former settings");
        (reasons::ROLLED_BACK, format!("{what}: {}", back.error))
    } else {
        let what = format!("{tried} cannot work here, and k3s goes on with the former settings");
        (reasons::SETTINGS_REFUSED, format!("{what}: {}", back.error))
    }
}

fn shown(part: &StartPart) -> String {
    if part.what.starts_with('-') { format!("`{}`", part.what) } else { part.what.clone() }
}

fn is_from(part: &StartPart, name: &str) -> bool {
    part.source.as_deref() == Some(name)
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
        .filter(|_| setters(view).iter().any(|source| source == name));
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
    let lost = view.conflicts.iter().filter(|conflict| conflict.loser == name).map(ToString::to_string);
    let lost: Vec<String> = lost.chain(overruled(name, view)).collect();
    Finding {
        type_: types::CONFLICTED,
        status: (!lost.is_empty()).into(),
        reason: if lost.is_empty() { reasons::NO_CONFLICT } else { reasons::OVERRIDDEN },
        message: listed(&lost),
    }
}

/// The settings of `name` for which the user's own flags say something else.
fn overruled(name: &str, view: &View<'_>) -> Vec<String> {
    let settings = &view.document.k3s;
    let of_user = view.observed.k3s.args.iter().filter(|arg| arg.source == COMMAND_LINE);
    let of_user: Vec<String> = of_user.map(|arg| arg.arg.clone()).collect();
    // A line of which k3s makes no sense overrules nothing.
    let of_user = args::split(&of_user, COMMAND_LINE).unwrap_or_default();
    let fields = convert::FIELDS.into_iter().zip([&settings.flannel_backend, &settings.snapshotter]);
    let fields = fields.filter_map(|((field, flag), set)| {
        let set = set.as_ref().filter(|set| set.source == name)?;
        let words = vec![format!("--{flag}={}", set.value)];
        Some((field.to_owned(), Flag { name: flag.to_owned(), words, source: name.to_owned() }))
    });
    let lists = settings.extra_args.iter().filter(|set| set.source == name);
    let extra = lists.flat_map(|set| args::split(&set.value, name).unwrap_or_default());
    let extra = extra.map(|flag| (format!("k3s.extraArgs --{}", flag.name), flag));
    fields
        .chain(extra)
        .filter(|(_, flag)| args::contradicted(flag, &of_user))
        .map(|(about, _)| format!("{about} is taken from the {COMMAND_LINE}"))
        .collect()
}

/// Whether k3s is being restarted for the settings of `name`.
fn restarting(name: &str, view: &View<'_>) -> bool {
    view.observed.k3s.coming.iter().any(|part| is_from(part, name))
}

/// The objects whose settings k3s did not stay ready with.
pub fn blamed(view: &View<'_>) -> Vec<String> {
    let back = view.observed.k3s.rolled_back.as_ref();
    let Some(back) = back.filter(|back| back.generation >= view.settings_generation) else {
        return Vec::new();
    };
    let setters = setters(view);
    let guilty = |source: &&String| back.parts.iter().any(|part| is_from(part, source));
    let blamed: Vec<String> = setters.iter().filter(guilty).cloned().collect();
    // What nobody brought is something that was left out: then it is all of them together.
    if blamed.is_empty() { setters } else { blamed }
}

/// The objects that set anything about how k3s is started, each once.
pub fn setters(view: &View<'_>) -> Vec<String> {
    let (document, settings) = (view.document, &view.document.k3s);
    let fields = [&settings.flannel_backend, &settings.snapshotter];
    let source = |set: &'_ Option<Sourced<String>>| set.as_ref().map(|set| set.source.clone());
    let of_node = [
        source(&settings.containerd_config),
        source(&document.network.cni),
        document.remedies_source.clone(),
    ];
    let is_node = view.observed.mode == Mode::Node.name();
    let mut sources: Vec<String> = fields
        .into_iter()
        .flatten()
        .map(|set| &set.source)
        .chain(settings.extra_args.iter().map(|set| &set.source))
        .chain(&document.interception_source)
        .cloned()
        .chain(of_node.into_iter().flatten().filter(|_| is_node))
        .collect();
    sources.sort();
    sources.dedup();
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{Access, Action, K3sSettings, NetworkSettings, Rule};
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
        View { generation: 3, settings_generation: 2, ..View::of(document, observed) }
    }

    /// `Ready` and what is there besides, as `Type=Status/Reason`.
    fn said(name: &str, standing: &Standing, view: &View<'_>) -> Vec<String> {
        findings(name, standing, view)
            .iter()
            .map(|finding| format!("{}={}/{}", finding.type_, finding.status.as_str(), finding.reason))
            .collect()
    }

    fn part(what: &str, source: &str) -> StartPart {
        StartPart { what: what.into(), source: Some(source.into()) }
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

    /// Without the flag that `mine` has set.
    fn rolled_back(error: &str, tried: bool) -> ObservedDocument {
        let mut observed = running(&["server", "--flannel-backend=none"]);
        observed.k3s.rolled_back = Some(RolledBack {
            generation: 3,
            args: vec!["--flannel-backend=none".into(), "--no-such-flag".into()],
            parts: vec![part("--no-such-flag", "mine")],
            error: error.into(),
            tried,
        });
        observed
    }

    #[test]
    fn a_rollback_is_told_to_the_object_that_set_the_flag_with_k3s_own_error() {
        let (document, observed) = (document(), rolled_back("flag provided but not defined", true));
        let view = view(&document, &observed);
        let all = findings("mine", &Standing::Selected, &view);
        assert_eq!((all[0].status, all[0].reason), (Tri::False, reasons::ROLLED_BACK));
        assert_eq!(
            all[0].message,
            "k3s did not stay ready with `--no-such-flag` and goes back to the former settings: flag provided but not defined"
        );
        assert_eq!(all[1].status, Tri::True, "the rules are in force all the same");
        assert!(said("profile", &Standing::Selected, &view).contains(&"Ready=True/Programmed".to_owned()));
        let later = View { settings_generation: 4, ..view };
        assert!(said("mine", &Standing::Selected, &later).contains(&"Ready=True/Programmed".to_owned()));
    }

    #[test]
    fn what_cannot_work_is_told_to_its_object_with_what_the_kernel_lacks() {
        let (document, observed) = (document(), rolled_back("vxlan: EOPNOTSUPP", false));
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
    fn what_is_no_flag_is_told_to_the_object_that_set_it_and_stays_told() {
        let (mut document, mut observed) = (document(), running(&["--no-such-flag"]));
        document.network =
            NetworkSettings { cni: Some(Sourced { value: "none".into(), source: "net".into() }) };
        document.remedies_source = Some("off".into());
        observed.mode = "node".into();
        let mut back = RolledBack {
            generation: 2,
            parts: vec![part("another containerdConfig", "mine"), part("pod network none", "net")],
            error: "not ready within 180 s".into(),
            tried: true,
            ..Default::default()
        };
        observed.k3s.rolled_back = Some(back.clone());
        // The rules have changed since; the settings are as they were.
        let view = view(&document, &observed);
        assert_eq!(blamed(&view), ["mine", "net"]);
        let all = findings("net", &Standing::Selected, &view);
        assert_eq!(
            all[0].message,
            "k3s did not stay ready with pod network none and goes back to the former settings: not ready within 180 s"
        );
        assert!(said("profile", &Standing::Selected, &view).contains(&"Ready=True/Programmed".to_owned()));
        back.parts.clear();
        let mut left_out = ObservedDocument {
            k3s: K3sState { rolled_back: Some(back), ..Default::default() },
            ..observed.clone()
        };
        assert_eq!(blamed(&View { observed: &left_out, ..view }), ["mine", "net", "off", "profile"]);
        left_out.mode = "control-plane".into();
        assert_eq!(blamed(&View { observed: &left_out, ..view }), ["mine", "profile"], "there are no pods");
    }

    #[test]
    fn flags_of_the_command_line_that_say_something_else_are_a_conflict() {
        let (mut document, mut observed) = (document(), running(&["server"]));
        let given = ["--v=2", "--debug", "--kubelet-arg=v=2", "--token", "a"];
        document.k3s.extra_args[0].value = given.map(str::to_owned).to_vec();
        let user = |arg: &str| K3sArg { arg: arg.into(), source: COMMAND_LINE.into() };
        let given = ["--v", "4", "--debug", "--kubelet-arg=v=4", "-token=b", "--flannel-backend=host-gw"];
        observed.k3s.args.extend(given.map(user));
        let view = view(&document, &observed);
        let told = |name: &str| findings(name, &Standing::Selected, &view)[3].message.clone();
        assert_eq!(
            told("mine"),
            "k3s.extraArgs --v is taken from the command line; k3s.extraArgs --token is taken from the command line"
        );
        assert_eq!(told("profile"), "k3s.flannelBackend is taken from the command line");
        assert_eq!(told("other"), "");
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
        observed.k3s.coming = vec![part("--no-such-flag", "mine")];
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
