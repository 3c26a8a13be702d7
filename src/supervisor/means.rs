//! By which means the rules in force are served: as k3s was started, traced or with mounts.

use std::sync::atomic::Ordering;

use super::lifecycle::Plan;
use super::supervise::Supervisor;
use crate::mounts::plan::Means;
use crate::rules::model::{Interception, Remedy};
use crate::rules::observed::{InterceptorState, ObservedRemedy, ObservedRule};

impl Supervisor {
    /// Puts the rules in force by the means that k3s runs with.
    pub fn program(&mut self) {
        // In any case: containers that were started under the interceptor outlive a k3s that was.
        let mut listed = self.interceptor.program(&self.in_force);
        let traced = self.traced.load(Ordering::SeqCst);
        if traced {
            self.mounts.clear();
        } else {
            let means = self.mounts.program(&self.in_force.rules);
            listed.iter_mut().zip(means).for_each(|(rule, means)| tell(rule, means));
            self.complain(&listed);
        }
        let state = self.interceptor.state();
        self.reporter.document.interceptor.backend =
            if traced { state.backend.clone() } else { String::new() };
        self.reporter.document.rules = listed;
    }

    /// Before k3s is started: serves the rules as this plan wants them served.
    pub fn switch_means(&mut self, plan: &Plan) {
        if self.traced.swap(!plan.untraced, Ordering::SeqCst) == plan.untraced {
            self.program();
        }
    }

    /// An event about each rule that was served before, or is new, and is not served now.
    fn complain(&mut self, listed: &[ObservedRule]) {
        let known = std::mem::take(&mut self.reporter.document.rules);
        let told = |rule: &ObservedRule| {
            known.iter().any(|old| {
                old.pattern == rule.pattern && old.source == rule.source && old.reason == rule.reason
            })
        };
        for rule in listed.iter().filter(|rule| !told(rule)) {
            if let Some(reason) = &rule.reason {
                let message = format!("{} from {}: {reason}", rule.pattern, rule.source);
                self.reporter.event("RuleNotServed", message);
            }
        }
    }
}

fn tell(rule: &mut ObservedRule, means: Means) {
    (rule.means, rule.reason) = match means {
        Means::Trace => ("trace".to_owned(), None),
        Means::Mount(_) => ("mount".to_owned(), None),
        Means::Refused(reason) => ("none".to_owned(), Some(reason)),
    };
}

/// The remedies as they are; what the interceptor would do is not done while k3s runs untraced.
pub fn effective(mut remedies: Vec<ObservedRemedy>, interceptor: &InterceptorState) -> Vec<ObservedRemedy> {
    let traced = |one: &ObservedRemedy| one.name == Remedy::ProcfsRoot.name() && one.state == "Applied";
    if interceptor.backend.is_empty() {
        for one in remedies.iter_mut().filter(|one| traced(one)) {
            one.state = "Off".to_owned();
            one.detail = "it takes interception, and k3s runs untraced (interception: Mount)".to_owned();
        }
    }
    remedies
}

/// What to save as the interception that k3s was proven with; `wanted` is that of the table in force.
pub fn proven(plan: &Plan, wanted: Interception) -> Interception {
    match (plan.untraced, wanted) {
        (true, _) => Interception::Mount,
        (false, Interception::Mount) => Interception::Auto,
        (false, wanted) => wanted,
    }
}
