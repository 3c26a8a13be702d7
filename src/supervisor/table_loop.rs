//! Taking generations of the desired table: validated, put in force, acknowledged; or refused, with the last one kept.

use std::collections::BTreeMap;

use super::fitness;
use super::flags;
use super::k3s_config::ConfigFile;
use super::lifecycle::{Input, Phase};
use super::plan::Plan;
use super::rules_trial::Table;
use super::supervise::Supervisor;
use crate::rules::model::{DesiredDocument, RestartPolicy};
use crate::rules::observed::{RefusedTable, Scalar};

const HELD: &str = "held back: started with --safe; correct the SandboxConfigs, then `sandbar restart`";

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
                Err(reason) => {
                    self.refuse(published, reason);
                    published
                }
            };
            self.acknowledge(generation);
        }
    }

    fn read(&self, published: u64) -> Result<(u64, DesiredDocument, Plan), String> {
        // The first generation is our own.
        if self.held && published > 1 {
            return Err(HELD.into());
        }
        let (generation, document) = self.reader.read().map_err(|error| error.to_string())?;
        if let Some(why) = self.rules_trial.refusal(&document) {
            return Err(why.to_owned());
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
            self.save();
        }
    }

    /// k3s has ended: the table to come back to, if it does so again and again with rules that it had not been started with before.
    pub fn judge_rules(&mut self, error: &str) -> Option<Table> {
        let by_itself = matches!(self.lifecycle.phase(), Phase::Starting | Phase::Ready);
        by_itself.then(|| self.rules_trial.ended(&self.in_force, error)).flatten()
    }

    /// Takes back the newest table as a whole, for one that k3s could start with. Settings that were tried together with its rules
    /// may have been innocent.
    pub fn come_back(&mut self, good: Table) {
        let why = self.rules_trial.refusal(&self.in_force).unwrap_or_default().to_owned();
        match self.plan(good.generation, &good.document) {
            Ok(plan) => {
                self.feed(Input::Acquit { since: good.generation });
                self.put_in_force(good.generation, good.document, plan);
                self.refuse(self.seen, why);
            }
            Err(error) => self.reporter.event("TableNotTakenBack", format!("{why}; but {error}")),
        }
    }

    fn refuse(&mut self, generation: u64, reason: String) {
        self.reporter.event("TableRefused", format!("generation {generation}: {reason}"));
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
