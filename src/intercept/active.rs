//! The rules in force, compiled: what the tracer looks at for every call.

use std::collections::HashMap;
use std::ffi::CString;

use super::memory::Job;
use super::syscalls::Kind;
use crate::rules::matcher::{Matcher, RuleIndex};
use crate::rules::model::{Action, Rule};
use crate::rules::observed::{Observed, ObservedRule};

/// A compiled rule set. Replaced as one pointer; never changed.
#[derive(Debug, Default)]
pub struct Active {
    /// From path to rule.
    pub matcher: Matcher,
    /// The rules, highest precedence first.
    pub rules: Vec<Rule>,
    /// Per rule, its counter slot.
    slots: Vec<usize>,
    /// Per filesystem rule, the real type of the filesystem that it is about.
    real_types: HashMap<RuleIndex, i64>,
}

/// Counter slots by rule: a rule that stands over several generations keeps its count.
#[derive(Debug, Default)]
pub struct SlotBook {
    held: HashMap<(String, Action), usize>,
}

impl SlotBook {
    /// Slots for `rules`: the known ones keep theirs, the others get free ones, whose counters are set to zero.
    pub fn assign(&mut self, rules: &[Rule], mut reset: impl FnMut(usize)) -> Vec<usize> {
        let key = |rule: &Rule| (rule.source.clone(), rule.action.clone());
        let mut next: HashMap<_, usize> = HashMap::with_capacity(rules.len());
        for rule in rules {
            if let Some(slot) = self.held.get(&key(rule)) {
                next.insert(key(rule), *slot);
            }
        }
        let taken: std::collections::HashSet<usize> = next.values().copied().collect();
        let mut free = (0..).filter(|slot| !taken.contains(slot));
        let mut slots = Vec::with_capacity(rules.len());
        for rule in rules {
            let slot = *next.entry(key(rule)).or_insert_with(|| {
                let slot = free.next().unwrap_or_default();
                reset(slot);
                slot
            });
            slots.push(slot);
        }
        self.held = next;
        slots
    }
}

impl Active {
    /// Compiles a checked rule list.
    pub fn compile(rules: &[Rule], book: &mut SlotBook, observed: &Observed) -> Self {
        let slots = book.assign(rules, |slot| observed.reset_hits(slot));
        let real_types = rules.iter().enumerate().filter_map(|(index, rule)| match &rule.action {
            Action::Filesystem { path, .. } => real_type(path).map(|real| (index, real)),
            _ => None,
        });
        Self {
            matcher: Matcher::compile(rules),
            rules: rules.to_vec(),
            real_types: real_types.collect(),
            slots,
        }
    }

    /// As the observed table lists them.
    pub fn listed(&self) -> Vec<ObservedRule> {
        let listed = self.rules.iter().zip(&self.slots).map(|(rule, slot)| ObservedRule {
            source: rule.source.clone(),
            kind: rule.action.kind().to_owned(),
            pattern: rule.action.pattern().to_owned(),
            means: "trace".to_owned(),
            reason: None,
            slot: *slot,
        });
        listed.collect()
    }

    /// Whether a rule found for a path has an answer to this kind of call: what a fake's filesystem is, the kernel says.
    pub fn answers(&self, rule: RuleIndex, kind: Kind) -> bool {
        let file = matches!(self.rules.get(rule).map(|rule| &rule.action), Some(Action::File { .. }));
        !(file && matches!(kind, Kind::Statfs(_)))
    }

    /// The counter slot of a rule.
    pub fn slot(&self, rule: RuleIndex) -> usize {
        self.slots.get(rule).copied().unwrap_or(usize::MAX)
    }

    /// What to do to the `f_type` that the kernel reported for `path`: a patch, and the first rule that asks for it.
    /// Only the type of the very filesystem that a rule names is replaced, so procfs below `/` stays procfs.
    pub fn type_patch(&self, path: &str, at: u64, width: u8) -> Option<(RuleIndex, Job)> {
        let mut first = None;
        let mut candidates = Vec::new();
        for index in self.matcher.filesystems(path) {
            let (Some(real), Some(rule)) = (self.real_types.get(&index), self.rules.get(index)) else {
                continue;
            };
            if let Action::Filesystem { report_as, .. } = &rule.action {
                first.get_or_insert(index);
                candidates.push((*real, report_as.magic()));
            }
        }
        first.map(|index| (index, Job::PatchType { at, width, candidates }))
    }
}

/// The type of the filesystem at `path`, in the supervisor's own view.
fn real_type(path: &str) -> Option<i64> {
    let path = CString::new(path).ok()?;
    nix::sys::statfs::statfs(path.as_c_str()).ok().map(|found| found.filesystem_type().0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{Access, Target};

    fn rule(path: &str, value: &str) -> Rule {
        let action = Action::File { path: path.into(), value: value.into(), access: Access::ReadOnly };
        Rule { source: "test".into(), action }
    }

    #[test]
    fn a_fake_answers_every_call_but_statfs_and_a_redirect_that_too() {
        let redirect = Action::Redirect { from: "/proc/b".into(), target: Target::To("/dev/null".into()) };
        let rules = vec![rule("/proc/a", "1"), Rule { source: "test".into(), action: redirect }];
        let active = Active { rules, ..Active::default() };
        for (rule, kind, expected) in [
            (0, Kind::Open, true),
            (0, Kind::Access, true),
            (0, Kind::Statfs(8), false),
            (1, Kind::Statfs(8), true),
        ] {
            assert_eq!(active.answers(rule, kind), expected, "{rule} {kind:?}");
        }
    }

    #[test]
    fn a_rule_that_stands_keeps_its_counter_and_a_changed_one_starts_anew() {
        let mut book = SlotBook::default();
        let first = book.assign(&[rule("/proc/a", "1"), rule("/proc/b", "1")], |_| ());
        let mut reset = Vec::new();
        let second = book
            .assign(&[rule("/proc/c", "1"), rule("/proc/b", "1"), rule("/proc/a", "2")], |slot| {
                reset.push(slot)
            });
        assert_eq!(second[1], first[1]);
        assert!(!reset.contains(&first[1]), "a standing rule lost its count");
        assert_eq!(
            second.iter().collect::<std::collections::HashSet<_>>().len(),
            3,
            "two rules share a counter"
        );
    }
}
