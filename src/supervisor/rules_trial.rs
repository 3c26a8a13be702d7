//! Whether k3s can start with the table in force. A table with whose rules it ends again and again gives way to the last one
//! that it was started with and stayed ready. Pure.
//!
//! Rules change while k3s runs, and what is wrong with one may show only when k3s (a kubelet, a container runtime) starts
//! the next time; settings, which bring a restart about, are on trial by themselves (see [`super::lifecycle`]).

use std::collections::BTreeSet;

use crate::rules::model::{Action, DesiredDocument, Rule};

/// So often in a row k3s has to end before its rules are held to be the reason.
const ENDS: u32 = 3;
/// So many rules are named.
const NAMED: usize = 3;

/// A table, and which one it is; the built-in profile is 0, if it was never in force.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Table {
    pub generation: u64,
    pub document: DesiredDocument,
}

/// The table that k3s was started with, and the one to come back to.
#[derive(Debug)]
pub struct RulesTrial {
    good: Table,
    started_with: Table,
    ends: u32,
    distrusted: Option<Distrusted>,
}

#[derive(Debug)]
struct Distrusted {
    document: DesiredDocument,
    why: String,
}

impl RulesTrial {
    /// Begins with the table that is always good: the built-in profile.
    pub fn new(builtin: DesiredDocument) -> Self {
        let builtin = Table { generation: 0, document: builtin };
        Self { started_with: builtin.clone(), good: builtin, ends: 0, distrusted: None }
    }

    /// k3s is started with this table in force.
    pub fn started(&mut self, generation: u64, document: &DesiredDocument) {
        if self.started_with.document.rules != document.rules {
            self.ends = 0;
        }
        self.started_with = Table { generation, document: document.clone() };
    }

    /// It has been ready for long enough.
    pub fn stayed(&mut self) {
        if self.good != self.started_with {
            self.good.clone_from(&self.started_with);
        }
        self.ends = 0;
    }

    /// It has ended by itself and early; `in_force` is the table by now. The table to come back to, if it is time to.
    pub fn ended(&mut self, in_force: &DesiredDocument, error: &str) -> Option<Table> {
        let [good, started_with] = [&self.good, &self.started_with].map(|table| &table.document.rules);
        if *good == in_force.rules || *started_with != in_force.rules {
            self.ends = 0;
            return None;
        }
        self.ends += 1;
        if self.ends < ENDS {
            return None;
        }
        self.ends = 0;
        let new = news(good, &in_force.rules);
        let why = format!(
            "k3s ended {ENDS} times in a row before it was ready, with rules that it had not been started with before ({new}): {error}; \
             `sandbar restart` tries them again"
        );
        self.distrusted = Some(Distrusted { document: in_force.clone(), why });
        Some(self.good.clone())
    }

    /// Why this table is not to be taken, if it is the one that was taken back.
    pub fn refusal(&self, document: &DesiredDocument) -> Option<&str> {
        let distrusted = self.distrusted.as_ref().filter(|distrusted| distrusted.document == *document);
        distrusted.map(|distrusted| distrusted.why.as_str())
    }

    /// It is to be tried again; whether there was one.
    pub fn forgive(&mut self) -> bool {
        self.distrusted.take().is_some()
    }
}

/// The rules that are in one alone, in words.
fn news(before: &[Rule], now: &[Rule]) -> String {
    let only = |these: &[Rule], those: &[Rule], sign: &str| -> Vec<String> {
        let told = |rule: &&Rule| !those.contains(rule);
        these.iter().filter(told).map(|rule| format!("{sign}{}", named(rule))).collect()
    };
    let added = only(now, before, "");
    let names = if added.is_empty() { only(before, now, "without ") } else { added };
    // Of two rules for one path, the same name.
    let names: Vec<String> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    match names.len() {
        0 => "in another order".to_owned(),
        count if count > NAMED => format!("{} and {} more", names[..NAMED].join(", "), count - NAMED),
        _ => names.join(", "),
    }
}

fn named(rule: &Rule) -> String {
    let Rule { source, action } = rule;
    match action {
        Action::Filesystem { .. } => format!("filesystem {} of {source}", action.pattern()),
        Action::File { .. } | Action::Redirect { .. } => format!("{} of {source}", action.pattern()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::Access;

    fn table(paths: &[&str]) -> DesiredDocument {
        let rule = |path: &&str| Rule {
            source: "mine".into(),
            action: Action::File { path: (*path).to_owned(), value: "1".into(), access: Access::ReadOnly },
        };
        DesiredDocument { rules: paths.iter().map(rule).collect(), ..Default::default() }
    }

    fn ended(trial: &mut RulesTrial, document: &DesiredDocument) -> Option<Table> {
        trial.started(7, document);
        trial.ended(document, "exit status 1")
    }

    #[test]
    fn the_last_rules_that_it_stayed_ready_with_come_back_after_three_ends_in_a_row() {
        let [builtin, good, bad] =
            [&["/proc/a"][..], &["/proc/a", "/proc/b"], &["/proc/a", "/proc/c"]].map(table);
        let mut trial = RulesTrial::new(builtin);
        trial.started(6, &good);
        trial.stayed();
        assert_eq!([1, 2].map(|_| ended(&mut trial, &bad)), [None, None]);
        assert_eq!(trial.refusal(&bad), None);
        assert_eq!(ended(&mut trial, &bad), Some(Table { generation: 6, document: good.clone() }));
        let why = trial.refusal(&bad).unwrap();
        assert!(
            why.contains("3 times") && why.contains("(/proc/c of mine)") && why.contains("exit status 1"),
            "{why}"
        );
        assert_eq!(trial.refusal(&good), None);
        assert_eq!(
            [1, 2, 3, 4].map(|_| ended(&mut trial, &good)),
            [None, None, None, None],
            "it is not these"
        );
        assert!(trial.forgive() && !trial.forgive());
        assert_eq!(trial.refusal(&bad), None);
    }

    #[test]
    fn only_ends_in_a_row_and_with_the_same_rules_count() {
        let [builtin, one, other] = [&["/proc/a"][..], &["/proc/b"], &["/proc/c"]].map(table);
        let mut trial = RulesTrial::new(builtin.clone());
        for document in [&one, &one, &other, &other, &one, &one] {
            assert_eq!(ended(&mut trial, document), None);
        }
        trial.stayed();
        assert_eq!([1, 2, 3].map(|_| ended(&mut trial, &one)), [None, None, None]);
        // Corrected while it was starting.
        trial.started(7, &other);
        assert_eq!([1, 2, 3, 4].map(|_| trial.ended(&one, "")), [None, None, None, None]);
        let mut trial = RulesTrial::new(builtin);
        let same_rules = DesiredDocument {
            remedies_off: crate::rules::model::Remedy::ALL.to_vec(),
            ..table(&["/proc/a"])
        };
        assert_eq!(
            [1, 2, 3].map(|_| ended(&mut trial, &same_rules)),
            [None, None, None],
            "settings have a trial of their own"
        );
    }

    #[test]
    fn what_is_new_is_named_and_the_list_is_short() {
        let rules = |paths: &[&str]| table(paths).rules;
        let before = rules(&["/proc/a", "/proc/b"]);
        for (now, said) in [
            (rules(&["/proc/a", "/proc/b", "/proc/c"]), "/proc/c of mine"),
            (rules(&["/proc/a"]), "without /proc/b of mine"),
            (rules(&["/proc/b", "/proc/a"]), "in another order"),
            (
                rules(&["/proc/1", "/proc/2", "/proc/3", "/proc/4", "/proc/5"]),
                "/proc/1 of mine, /proc/2 of mine, /proc/3 of mine and 2 more",
            ),
        ] {
            assert_eq!(news(&before, &now), said);
        }
    }
}
