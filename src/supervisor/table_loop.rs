//! Taking generations of the desired table: validated, put in force, acknowledged; or refused, with the last one kept.

use std::collections::BTreeMap;

use super::fitness;
use super::flags;
use super::k3s_config::ConfigFile;
use super::lifecycle::{Input, Phase};
use super::plan::Plan;
use super::rules_trial::{Table, Verdict};
use super::supervise::Supervisor;
use crate::rules::model::{DesiredDocument, RestartPolicy};
use crate::rules::observed::{RefusedTable, Scalar};

const HELD: &str = "held back: started with --safe; correct the SandboxConfigs, then `sandbar restart`";

/// Why a table is not taken, and the SandboxConfigs that this is about; none if it is about all.
struct Refusal {
    reason: String,
    sources: Vec<String>,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { reason, sources: Vec::new() }
    }
}

impl Supervisor {
    /// Takes the newest generation, if there is one that was not seen yet.
    pub fn take_table(&mut self) {
        // Bounded, so that a controller that never stops publishing cannot keep us here.
        for _ in 0..8 {
            let published = self.reader.generation();
            if published == self.seen {
                return;
            }
            self.reporter.document.published = published;
            let generation = match self.read(published) {
                Ok((generation, document, plan)) => {
                    self.put_in_force(generation, document, plan);
                    generation
                }
                Err(Refusal { reason, sources }) => {
                    self.refuse(published, reason, sources);
                    published
                }
            };
            self.acknowledge(generation);
        }
    }

    fn read(&self, published: u64) -> Result<(u64, DesiredDocument, Plan), Refusal> {
        // The first generation is our own.
        if self.held && published > 1 {
            return Err(HELD.to_owned().into());
        }
        let (generation, document) = self.reader.read().map_err(|error| error.to_string())?;
        if let Some((why, sources)) = self.rules_trial.refusal(&document) {
            return Err(Refusal { reason: why.to_owned(), sources: sources.to_vec() });
        }
        let plan = self.plan(generation, &document)?;
        Ok((generation, document, plan))
    }

    fn plan(&self, generation: u64, document: &DesiredDocument) -> Result<Plan, String> {
        let user = &self.options.k3s_flags;
        let args = flags::build(document, user, self.options.mode, &ConfigFile::load(user), &self.kernel);
        let args = args.map_err(|error| error.to_string())?;
        let traced = self.traced_under(document.interception);
        Ok(Plan::new(generation, document, self.options.mode, args, traced))
    }

    fn put_in_force(&mut self, generation: u64, document: DesiredDocument, plan: Plan) {
        let changed = self.in_force != document;
        self.in_force = document;
        self.program();
        self.reporter.document.applied = generation;
        self.reporter.document.refused = None;
        self.reporter.observed().set(Scalar::Applied, generation);
        self.reporter.note("TableApplied", format!("generation {generation}: {}", summary(&self.in_force)));
        let manual = self.in_force.k3s.restart_policy == RestartPolicy::Manual;
        self.feed(match fitness::refusal(&plan.args, self.options.mode, &self.kernel) {
            Some(why) => Input::Impossible { plan, why },
            None => Input::Desired { plan, manual },
        });
        if changed {
            // What becomes no flag, and the means.
            self.save();
        }
    }

    /// k3s has ended. If it does so again and again with rules that it had not been started with before, the table with them is taken
    /// back as a whole.
    pub fn k3s_ended(&mut self, error: String) {
        self.look_for_mounts();
        let by_itself = matches!(self.lifecycle.phase(), Phase::Starting | Phase::Ready);
        let verdict = match by_itself && !self.mounts_lost {
            true => self.rules_trial.ended(&self.in_force, &error),
            false => Verdict::None,
        };
        let refused = |this: &Self| this.lifecycle.refused().filter(|refused| refused.tried).cloned();
        let before = refused(self);
        self.feed(Input::Exited { error });
        if by_itself && refused(self) != before {
            self.rules_trial.settings_were_refused();
        }
        match verdict {
            Verdict::None => {}
            Verdict::ComeBack(good) => self.come_back(*good),
            Verdict::TryAgain => {
                self.reporter
                    .event("RulesTriedAgain", "k3s ends without the rules that were taken back as well");
                self.take_again();
            }
        }
    }

    fn come_back(&mut self, good: Table) {
        let refusal = self.rules_trial.refusal(&self.in_force);
        let (why, sources) =
            refusal.map(|(why, sources)| (why.to_owned(), sources.to_vec())).unwrap_or_default();
        let Table { generation, document } = good;
        match self.plan(generation, &document) {
            Ok(plan) => {
                if self.rules_trial.settings_are_innocent() {
                    self.feed(Input::Acquit);
                }
                // The newest one may have been refused for something else.
                let newer =
                    self.reporter.document.refused.take().filter(|newer| newer.generation == self.seen);
                self.put_in_force(generation, document, plan);
                // Launched a moment ago; it has not got as far as to look.
                if self.lifecycle.phase() == Phase::Starting {
                    let table = self.table(&self.lifecycle.current().clone());
                    self.rules_trial.started(table);
                }
                self.refuse(self.seen, why, sources);
                if newer.is_some() {
                    self.reporter.document.refused = newer;
                }
            }
            Err(error) => {
                self.rules_trial.forgive();
                self.reporter.event(
                    "TableNotTakenBack",
                    format!("failed to come back to an earlier table: {error}; {why}"),
                );
            }
        }
    }

    /// Takes the newest table as if it had just come.
    pub fn take_again(&mut self) {
        self.seen = 0;
        self.take_table();
    }

    fn refuse(&mut self, generation: u64, reason: String, sources: Vec<String>) {
        self.reporter.event_about("TableRefused", format!("generation {generation}: {reason}"), sources);
        self.reporter.document.refused = Some(RefusedTable { generation, reason });
    }

    /// The document first: who sees the acknowledgement finds the state that goes with it.
    fn acknowledge(&mut self, generation: u64) {
        self.seen = generation;
        if let Err(error) = self.reporter.publish() {
            tracing::error!("cannot publish the observed table: {error}");
        }
        self.reporter.observed().set(Scalar::Acknowledged, generation);
        self.reporter.ring();
    }
}

/// How many rules, and from which objects, as in `6 rules: mine 1, profile-linux 5`.
fn summary(document: &DesiredDocument) -> String {
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in &document.rules {
        *sources.entry(&rule.source).or_default() += 1;
    }
    let each: Vec<String> = sources.iter().map(|(source, count)| format!("{source} {count}")).collect();
    format!("{} rules: {}", document.rules.len(), each.join(", "))
}
