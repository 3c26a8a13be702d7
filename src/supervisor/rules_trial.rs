//! Whether k3s can start with the rules in force. A table with whose rules it ends again and again gives way to the last one that it
//! was started with and stayed ready. Pure.
//!
//! Rules change while k3s runs, and what is wrong with one may show only when k3s (a kubelet, a container runtime) starts
//! the next time; settings, which bring a restart about, are on trial by themselves (see [`super::lifecycle`]).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::rules::model::{Action, DesiredDocument, Rule};

/// So often in a row k3s has to end before its rules are held to be the reason.
const ENDS: u32 = 3;
/// So many rules are named.
const NAMED: usize = 3;

/// A table, and which one it is: 0 for one that is older than this supervisor.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Table {
    pub generation: u64,
    pub document: DesiredDocument,
}

/// What follows from an end of k3s.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing, or nothing yet.
    None,
    /// This table is to come back.
    ComeBack(Box<Table>),
    /// It ends just so with the table that came back: the one before is to be tried again.
    TryAgain,
}

/// The table that k3s was started with, and the one to come back to.
#[derive(Debug)]
pub struct RulesTrial {
    good: Table,
    started_with: Table,
    /// Whether k3s has become ready with the rules that it was started with.
    credited: bool,
    ends: u32,
    distrusted: Option<Distrusted>,
    /// Not at fault, as was seen with others.
    exempt: Option<Vec<Rule>>,
    settings_refused: bool,
}

/// Rules that were taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distrusted {
    rules: Vec<Rule>,
    why: String,
    sources: Vec<String>,
    /// k3s has stayed ready without them.
    #[serde(skip, default = "yes")]
    convicted: bool,
}

/// Of what was saved nothing is tried again unasked.
fn yes() -> bool {
    true
}

impl RulesTrial {
    /// Begins with a table that is known to be good, and rules that are known not to be.
    pub fn new(good: DesiredDocument, distrusted: Option<Distrusted>) -> Self {
        let good = Table { generation: 0, document: good };
        Self {
            started_with: good.clone(),
            good,
            credited: false,
            ends: 0,
            distrusted,
            exempt: None,
            settings_refused: false,
        }
    }

    /// The rules that k3s has last stayed ready with.
    pub fn good_rules(&self) -> &[Rule] {
        &self.good.document.rules
    }

    /// The rules that were taken back last.
    pub fn distrusted(&self) -> Option<&Distrusted> {
        self.distrusted.as_ref()
    }

    /// Whether the rules in force can be taken back.
    pub fn is_on(&self, in_force: &DesiredDocument) -> bool {
        self.good.document.rules != in_force.rules && self.exempt.as_ref() != Some(&in_force.rules)
    }

    /// k3s is started with this table: the rules in force, and the settings that it gets.
    pub fn started(&mut self, table: Table) {
        if self.started_with.document.rules != table.document.rules {
            (self.ends, self.settings_refused) = (0, false);
        }
        self.started_with = table;
        self.credited = false;
    }

    /// It has become ready, with these rules in force by now.
    pub fn ready(&mut self, in_force: &DesiredDocument) {
        self.credited = self.started_with.document.rules == in_force.rules;
    }

    /// It has been ready for long enough; whether there is a new good table. Counts once for each start.
    pub fn stayed(&mut self) -> bool {
        if !std::mem::take(&mut self.credited) {
            return false;
        }
        (self.ends, self.settings_refused, self.exempt) = (0, false, None);
        if let Some(distrusted) = &mut self.distrusted {
            distrusted.convicted = true;
        }
        let new = self.good.document != self.started_with.document;
        self.good.clone_from(&self.started_with);
        new
    }

    /// Settings were taken back since an end that counts here.
    pub fn settings_were_refused(&mut self) {
        self.settings_refused = self.ends > 0;
    }

    /// Whether settings were taken back that may have been innocent.
    pub fn settings_are_innocent(&mut self) -> bool {
        std::mem::take(&mut self.settings_refused)
    }

    /// It has ended by itself and early; `in_force` is the table by now.
    pub fn ended(&mut self, in_force: &DesiredDocument, error: &str) -> Verdict {
        let rules = &in_force.rules;
        let good = self.good.document.rules == *rules;
        let suspected = self.distrusted.as_ref().is_some_and(|distrusted| !distrusted.convicted);
        if self.started_with.document.rules != *rules
            || self.exempt.as_ref() == Some(rules)
            || good && !suspected
        {
            self.ends = 0;
            return Verdict::None;
        }
        self.ends += 1;
        if self.ends < ENDS {
            return Verdict::None;
        }
        self.ends = 0;
        if good {
            self.exempt = self.distrusted.take().map(|distrusted| distrusted.rules);
            return Verdict::TryAgain;
        }
        let (new, sources) = news(&self.good.document.rules, rules);
        let why = format!(
            "k3s ended {ENDS} times in a row before it had stayed ready, with rules that it had not been started with before ({new}): \
             {error}; `sandbar restart` tries them again"
        );
        self.distrusted = Some(Distrusted { rules: rules.clone(), why, sources, convicted: false });
        Verdict::ComeBack(Box::new(self.good.clone()))
    }

    /// Why a table with such rules is not to be taken, and from which SandboxConfigs what is new in it is, if it is not.
    pub fn refusal(&self, document: &DesiredDocument) -> Option<(&str, &[String])> {
        let distrusted = self.distrusted.as_ref().filter(|distrusted| distrusted.rules == document.rules);
        distrusted.map(|distrusted| (distrusted.why.as_str(), distrusted.sources.as_slice()))
    }

    /// What was taken back may be taken again, and judged again; whether something was taken back.
    pub fn forgive(&mut self) -> bool {
        (self.ends, self.exempt) = (0, None);
        self.distrusted.take().is_some()
    }
}

/// The rules that are in one alone, in words, and the SandboxConfigs that they are from.
fn news(before: &[Rule], now: &[Rule]) -> (String, Vec<String>) {
    let only = |these: &[Rule], those: &[Rule], sign: &str| -> BTreeSet<(String, String)> {
        let told = |rule: &&Rule| !those.contains(rule);
        these
            .iter()
            .filter(told)
            .map(|rule| (format!("{sign}{}", named(rule)), rule.source.clone()))
            .collect()
    };
    let added = only(now, before, "");
    let changes = if added.is_empty() { only(before, now, "without ") } else { added };
    let sources: BTreeSet<String> = changes.iter().map(|(_, source)| source.clone()).collect();
    let names: Vec<String> = changes.into_iter().map(|(name, _)| name).collect();
    let words = match names.len() {
        0 => "in another order".to_owned(),
        count if count > NAMED => format!("{} and {} more", names[..NAMED].join(", "), count - NAMED),
        _ => names.join(", "),
    };
    (words, sources.into_iter().collect())
}

fn named(Rule { source, action }: &Rule) -> String {
    match action {
        Action::Filesystem { .. } => format!("filesystem {} of {source}", action.pattern()),
        Action::File { .. } | Action::Redirect { .. } => format!("{} of {source}", action.pattern()),
    }
}

#[cfg(test)]
#[path = "rules_trial_tests.rs"]
mod tests;
