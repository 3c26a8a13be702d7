//! The merge: all SandboxConfigs that select a node become one document. Pure.

use std::collections::{BTreeMap, HashMap};

use kube::ResourceExt;

use crate::api::convert;
use crate::api::v1alpha1::{K3sSpec, SandboxConfig};
use crate::k3s::args::{self, Flag, Overridden};
use crate::rules::canonical::canonical;
use crate::rules::matcher::Matcher;
use crate::rules::model::{
    Action, DesiredDocument, K3sSettings, NetworkSettings, Remedy, RestartPolicy, Rule, Sourced,
};

/// A part of one object that another one overrides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Name of the object that is overridden.
    pub loser: String,
    /// Name of the one that is obeyed.
    pub winner: String,
    /// The path, glob or setting.
    pub about: String,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} is taken from {}", self.about, self.winner)
    }
}

/// Whether `config` is for a node with these labels.
pub fn selects(config: &SandboxConfig, node_labels: &BTreeMap<String, String>) -> bool {
    config.spec.node_selector.iter().all(|(key, value)| node_labels.get(key) == Some(value))
}

/// The document for a node with these labels, and what was overridden in it. Objects that are invalid are left out
/// whole; [`convert::rules`] says why.
pub fn desired<'a>(
    objects: impl IntoIterator<Item = &'a SandboxConfig>,
    node_labels: &BTreeMap<String, String>,
) -> (DesiredDocument, Vec<Conflict>) {
    let mut ranked: Vec<(&SandboxConfig, Vec<Rule>)> = objects
        .into_iter()
        .filter(|config| selects(config, node_labels))
        .filter_map(|config| Some((config, convert::rules(config).ok()?)))
        .collect();
    ranked.sort_by_key(|(config, _)| (-i64::from(config.spec.priority), config.name_any()));
    let mut conflicts = Vec::new();
    let settings = Settings { ranked: ranked.iter().map(|(config, _)| *config).collect() };
    let interception = settings.first("interception", &mut conflicts, |config| config.spec.interception);
    let remedies = settings.remedies_off(&mut conflicts);
    let document = DesiredDocument {
        k3s: settings.k3s(&mut conflicts),
        interception: interception.as_ref().map(|set| set.value).unwrap_or_default(),
        interception_source: interception.map(|set| set.source),
        network: settings.network(&mut conflicts),
        remedies_source: remedies.as_ref().map(|set| set.source.clone()),
        remedies_off: remedies.map_or_else(Vec::new, |set| set.value),
        rules: rules(ranked.into_iter().flat_map(|(_, rules)| rules).collect(), &mut conflicts),
    };
    conflicts.sort();
    conflicts.dedup();
    (document, conflicts)
}

/// Leaves out what could never match because a rule of higher precedence has the same pattern, and tells of literal
/// paths that a glob of higher precedence covers.
fn rules(all: Vec<Rule>, conflicts: &mut Vec<Conflict>) -> Vec<Rule> {
    let mut first: HashMap<(bool, String), usize> = HashMap::new();
    let mut kept: Vec<Rule> = Vec::with_capacity(all.len());
    for rule in all {
        // A file and a redirect with one path contradict each other; a filesystem rule is about something else.
        let filesystem = matches!(rule.action, Action::Filesystem { .. });
        let key = (filesystem, canonical(rule.action.pattern()).into_owned());
        match first.get(&key) {
            Some(winner) => tell(&rule, &kept[*winner], conflicts),
            None => {
                first.insert(key, kept.len());
                kept.push(rule);
            }
        }
    }
    let matcher = Matcher::compile(&kept);
    for (index, rule) in kept.iter().enumerate() {
        let literal =
            !matches!(rule.action, Action::Filesystem { .. }) && !rule.action.pattern().contains('*');
        let winner = literal.then(|| matcher.lookup(rule.action.pattern())).flatten();
        if let Some(winner) = winner.filter(|winner| *winner != index) {
            tell(rule, &kept[winner], conflicts);
        }
    }
    kept
}

fn tell(loser: &Rule, winner: &Rule, conflicts: &mut Vec<Conflict>) {
    if loser.action != winner.action {
        conflicts.push(Conflict {
            loser: loser.source.clone(),
            winner: winner.source.clone(),
            about: loser.action.pattern().to_owned(),
        });
    }
}

/// The objects, highest precedence first, asked one setting at a time.
struct Settings<'a> {
    ranked: Vec<&'a SandboxConfig>,
}

impl Settings<'_> {
    fn first<T: PartialEq>(
        &self,
        about: &str,
        conflicts: &mut Vec<Conflict>,
        get: impl Fn(&SandboxConfig) -> Option<T>,
    ) -> Option<Sourced<T>> {
        let mut set = self
            .ranked
            .iter()
            .filter_map(|config| Some(Sourced { value: get(config)?, source: config.name_any() }));
        let winner = set.next()?;
        conflicts.extend(set.filter(|other| other.value != winner.value).map(|other| Conflict {
            loser: other.source,
            winner: winner.source.clone(),
            about: about.to_owned(),
        }));
        Some(winner)
    }

    fn k3s(&self, conflicts: &mut Vec<Conflict>) -> K3sSettings {
        fn k3s<T>(get: impl Fn(&K3sSpec) -> Option<T>) -> impl Fn(&SandboxConfig) -> Option<T> {
            move |config| config.spec.k3s.as_ref().and_then(&get)
        }
        let mut flannel_backend = self.first(
            "k3s.flannelBackend",
            conflicts,
            k3s(|k3s| k3s.flannel_backend.map(|backend| backend.as_str().to_owned())),
        );
        let mut snapshotter = self.first(
            "k3s.snapshotter",
            conflicts,
            k3s(|k3s| k3s.snapshotter.map(|snapshotter| snapshotter.as_str().to_owned())),
        );
        let list = |config: &&SandboxConfig| {
            let value = config.spec.k3s.as_ref()?.extra_args.clone()?;
            Some(Sourced { value, source: config.name_any() })
        };
        let mut lists: Vec<_> = self.ranked.iter().filter_map(list).collect();
        for (field, set) in
            [(&convert::FIELDS[0], &mut flannel_backend), (&convert::FIELDS[1], &mut snapshotter)]
        {
            self.one_of(*field, set, &mut lists, conflicts);
        }
        K3sSettings {
            flannel_backend,
            snapshotter,
            extra_args: merged(lists, conflicts),
            containerd_config: self.first(
                "k3s.containerdConfig",
                conflicts,
                k3s(|k3s| k3s.containerd_config.clone()),
            ),
            restart_policy: self
                .first("k3s.restartPolicy", conflicts, k3s(|k3s| k3s.restart_policy))
                .map_or(RestartPolicy::default(), |set| set.value),
        }
    }

    /// A field and a flag in the list of another object may mean the same: the one of higher precedence is obeyed.
    fn one_of(
        &self,
        (field, flag): (&str, &str),
        set: &mut Option<Sourced<String>>,
        lists: &mut Vec<Sourced<Vec<String>>>,
        conflicts: &mut Vec<Conflict>,
    ) {
        let Some(typed) = set.clone() else { return };
        let rank = |source: &str| self.ranked.iter().position(|config| config.name_any() == source);
        let words = vec![format!("--{flag}={}", typed.value)];
        let typed_flag = [Flag { name: flag.to_owned(), words, source: typed.source.clone() }];
        let mut tell = |loser: &str, winner: &str, about: &str| {
            let (loser, winner, about) = (loser.to_owned(), winner.to_owned(), about.to_owned());
            conflicts.push(Conflict { loser, winner, about });
        };
        for list in lists.iter_mut() {
            let flags = args::split(&list.value, &list.source).unwrap_or_default();
            let (same, others): (Vec<_>, Vec<_>) = flags.into_iter().partition(|given| given.name == flag);
            let Some(given) = same.last() else { continue };
            let differs = args::contradicted(given, &typed_flag);
            if rank(&list.source) < rank(&typed.source) {
                if differs {
                    tell(&typed.source, &list.source, field);
                }
                *set = None;
                return;
            }
            if differs {
                tell(&list.source, &typed.source, &format!("k3s.extraArgs --{flag}"));
            }
            list.value = others.into_iter().flat_map(|other| other.words).collect();
        }
        lists.retain(|list| !list.value.is_empty());
    }

    fn network(&self, conflicts: &mut Vec<Conflict>) -> NetworkSettings {
        let cni =
            |config: &SandboxConfig| config.spec.network.as_ref()?.cni.map(|cni| cni.as_str().to_owned());
        NetworkSettings { cni: self.first("network.cni", conflicts, cni) }
    }

    fn remedies_off(&self, conflicts: &mut Vec<Conflict>) -> Option<Sourced<Vec<Remedy>>> {
        let disabled = |config: &SandboxConfig| config.spec.remedies.as_ref()?.disabled.clone();
        self.first("remedies.disabled", conflicts, disabled)
    }
}

/// All lists: they merge flag by flag, which is the supervisor's to do.
fn merged(lists: Vec<Sourced<Vec<String>>>, conflicts: &mut Vec<Conflict>) -> Vec<Sourced<Vec<String>>> {
    let (_, overridden) = args::merge(&lists).unwrap_or_default();
    conflicts.extend(overridden.into_iter().map(|Overridden { flag, loser, winner }| Conflict {
        loser,
        winner,
        about: format!("k3s.extraArgs {flag}"),
    }));
    lists
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::files;
    use crate::rules::model::Interception;

    fn configs(text: &str) -> Vec<SandboxConfig> {
        let documents: Vec<String> = text
            .split("\n---\n")
            .map(|body| format!("apiVersion: sandbar.dev/v1alpha1\nkind: SandboxConfig\n{body}"))
            .collect();
        files::parse(&documents.join("\n---\n"), "test").unwrap()
    }

    fn seen(document: &DesiredDocument, path: &str) -> Option<(String, String)> {
        let rule = &document.rules[Matcher::compile(&document.rules).lookup(path)?];
        let what = match &rule.action {
            Action::File { value, .. } => value.clone(),
            other => format!("{other:?}"),
        };
        Some((rule.source.clone(), what))
    }

    fn conflict(loser: &str, winner: &str, about: &str) -> Conflict {
        Conflict { loser: loser.into(), winner: winner.into(), about: about.into() }
    }

    const TWO: &str = "metadata: {name: low}\nspec: {priority: -1, files: [{path: /proc/x, value: low}, {path: /proc/y, value: why}]}\n\
                       ---\nmetadata: {name: high}\nspec: {priority: 5, files: [{path: /proc/x, value: high}]}";

    #[test]
    fn the_higher_priority_wins_rule_by_rule_and_the_loser_is_named() {
        let (document, conflicts) = desired(&configs(TWO), &BTreeMap::new());
        assert_eq!(seen(&document, "/proc/x"), Some(("high".into(), "high".into())));
        assert_eq!(seen(&document, "/proc/y"), Some(("low".into(), "why".into())));
        assert_eq!(conflicts, [conflict("low", "high", "/proc/x")]);
        assert_eq!(document.rules.len(), 2, "{document:?}");
    }

    #[test]
    fn without_the_winner_the_next_rule_is_back() {
        let all = configs(TWO);
        let (document, conflicts) = desired(&all[..1], &BTreeMap::new());
        assert_eq!(seen(&document, "/proc/x"), Some(("low".into(), "low".into())));
        assert!(conflicts.is_empty());
    }

    #[test]
    fn at_one_priority_the_name_decides_whatever_the_order_of_arrival() {
        let mut all = configs(
            "metadata: {name: b}\nspec: {files: [{path: /proc/x, value: b}]}\n---\n\
             metadata: {name: a}\nspec: {files: [{path: /proc/x, value: a}]}",
        );
        let one = desired(&all, &BTreeMap::new());
        all.reverse();
        assert_eq!(one, desired(&all, &BTreeMap::new()));
        assert_eq!(one.1, [conflict("b", "a", "/proc/x")]);
    }

    #[test]
    fn objects_that_agree_are_in_no_conflict() {
        let (_, conflicts) = desired(
            &configs(
                "metadata: {name: a}\nspec: {files: [{path: /proc/x, value: v}], k3s: {snapshotter: native}}\n---\n\
                 metadata: {name: b}\nspec: {files: [{path: /proc/x, value: v}], k3s: {snapshotter: native}}",
            ),
            &BTreeMap::new(),
        );
        assert_eq!(conflicts, []);
    }

    #[test]
    fn settings_merge_one_by_one() {
        let (document, conflicts) = desired(
            &configs(
                "metadata: {name: profile}\nspec: {priority: -100, interception: Trace, k3s: {flannelBackend: none, snapshotter: native, extraArgs: [--v=2, --x]}}\n---\n\
                 metadata: {name: mine}\nspec: {k3s: {snapshotter: overlayfs, extraArgs: [--v=4]}, network: {cni: bridge}}",
            ),
            &BTreeMap::new(),
        );
        let sourced =
            |value: &str, source: &str| Some(Sourced { value: value.to_owned(), source: source.into() });
        assert_eq!(document.k3s.flannel_backend, sourced("none", "profile"));
        assert_eq!(document.k3s.snapshotter, sourced("overlayfs", "mine"));
        let sources: Vec<_> = document.k3s.extra_args.iter().map(|list| list.source.as_str()).collect();
        assert_eq!(sources, ["mine", "profile"]);
        assert_eq!(document.network.cni, sourced("bridge", "mine"));
        assert_eq!(document.interception, Interception::Trace);
        assert!(document.interception_source.is_some());
        let expected =
            ["k3s.extraArgs --v", "k3s.snapshotter"].map(|about| conflict("profile", "mine", about));
        assert_eq!(conflicts, expected);
    }

    #[test]
    fn a_field_and_a_flag_that_mean_the_same_go_by_precedence() {
        let with = |mine: &str, theirs: &str| {
            let text = format!(
                "metadata: {{name: profile}}\nspec: {{priority: -100, k3s: {{{theirs}}}}}\n---\n\
                 metadata: {{name: mine}}\nspec: {{k3s: {{{mine}}}}}"
            );
            let (document, conflicts) = desired(&configs(&text), &BTreeMap::new());
            let typed = document.k3s.snapshotter.map(|set| set.value).unwrap_or_default();
            let extra = document
                .k3s
                .extra_args
                .into_iter()
                .map(|list| format!("{}: {}", list.source, list.value.join(" ")));
            (typed, extra.collect::<Vec<_>>().join("; "), conflicts)
        };
        let typed_loses = conflict("profile", "mine", "k3s.snapshotter");
        let flag_loses = conflict("profile", "mine", "k3s.extraArgs --snapshotter");
        for (mine, theirs, typed, extra, told) in [
            (
                "extraArgs: [--snapshotter=overlayfs]",
                "snapshotter: native",
                "",
                "mine: --snapshotter=overlayfs",
                vec![typed_loses],
            ),
            (
                "extraArgs: [-snapshotter, native]",
                "snapshotter: native",
                "",
                "mine: -snapshotter native",
                vec![],
            ),
            (
                "snapshotter: native",
                "extraArgs: [--debug, --snapshotter, overlayfs]",
                "native",
                "profile: --debug",
                vec![flag_loses],
            ),
            ("snapshotter: native", "extraArgs: [--snapshotter=native]", "native", "", vec![]),
        ] {
            assert_eq!(
                with(mine, theirs),
                (typed.to_owned(), extra.to_owned(), told),
                "{mine} over {theirs}"
            );
        }
    }

    #[test]
    fn a_list_that_is_none_of_flags_spoils_nobody_elses() {
        let mut all = configs(
            "metadata: {name: typo}\nspec: {k3s: {extraArgs: [--debug]}}\n---\n\
             metadata: {name: mine}\nspec: {k3s: {extraArgs: [--v=4]}}",
        );
        all[0].spec.k3s.as_mut().unwrap().extra_args = Some(vec!["debug".into()]);
        let lists = desired(&all, &BTreeMap::new()).0.k3s.extra_args;
        assert_eq!(lists, [Sourced { value: vec!["--v=4".to_owned()], source: "mine".into() }]);
    }

    #[test]
    fn a_file_and_a_redirect_with_one_path_contradict_each_other() {
        let (document, conflicts) = desired(
            &configs(
                "metadata: {name: a}\nspec: {files: [{path: /dev/kmsg, value: x}]}\n---\n\
                 metadata: {name: b}\nspec: {redirects: [{from: /dev/kmsg, to: /dev/null}]}",
            ),
            &BTreeMap::new(),
        );
        assert_eq!(document.rules.len(), 1);
        assert_eq!(conflicts, [conflict("b", "a", "/dev/kmsg")]);
    }

    #[test]
    fn two_names_of_one_file_in_procfs_contradict_each_other() {
        let (document, conflicts) = desired(
            &configs(
                "metadata: {name: a}\nspec: {files: [{path: /proc/net/dev, value: x}]}\n---\n\
                 metadata: {name: b}\nspec: {files: [{path: /proc/self/net/dev, value: z}]}",
            ),
            &BTreeMap::new(),
        );
        assert_eq!(seen(&document, "/proc/self/net/dev"), Some(("a".into(), "x".into())));
        assert_eq!(document.rules.len(), 1);
        assert_eq!(conflicts, [conflict("b", "a", "/proc/self/net/dev")]);
    }

    #[test]
    fn a_glob_of_higher_precedence_shadows_a_literal_path_and_says_so() {
        let (_, conflicts) = desired(
            &configs(
                "metadata: {name: glob}\nspec: {priority: 1, redirects: [{from: /sys/**/x, to: /dev/null}]}\n---\n\
                 metadata: {name: literal}\nspec: {files: [{path: /sys/a/x, value: v}]}",
            ),
            &BTreeMap::new(),
        );
        assert_eq!(conflicts, [conflict("literal", "glob", "/sys/a/x")]);
    }

    #[test]
    fn only_objects_that_select_the_node_count() {
        let all = configs(
            "metadata: {name: a}\nspec: {nodeSelector: {zone: x}, files: [{path: /proc/x, value: v}]}",
        );
        assert!(desired(&all, &BTreeMap::new()).0.rules.is_empty());
        let labels = BTreeMap::from([("zone".to_owned(), "x".to_owned())]);
        assert_eq!(desired(&all, &labels).0.rules.len(), 1);
    }

    #[test]
    fn an_invalid_object_is_left_out_and_the_others_stand() {
        let mut all = configs(TWO);
        all[1].spec.files[0].path = "/etc/passwd".into();
        let (document, _) = desired(&all, &BTreeMap::new());
        assert_eq!(seen(&document, "/proc/x"), Some(("low".into(), "low".into())));
        assert!(document.rules.iter().all(|rule| rule.source == "low"));
    }
}
