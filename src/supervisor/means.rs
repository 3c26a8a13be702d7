//! By which means the rules in force are served, and who is traced for it.

use std::sync::atomic::Ordering;

use super::flags::Mode;
use super::plan::Plan;
use super::supervise::Supervisor;
use crate::mounts::plan::Means;
use crate::rules::model::{Interception, Remedy};
use crate::rules::observed::{InterceptorState, ObservedRemedy, ObservedRule, Traced};

/// Who is traced under `interception`; `mounts` says whether anything can be mounted here.
///
/// `Auto` does not trace the k3s of a control plane: a tracer costs it time in gVisor at every system call (the state of
/// the whole FPU is fetched for one that might look: `PullFullState` in `pkg/sentry/kernel/task_run.go`), and what only
/// a tracer can serve (patterns in cgroupfs, statfs) is asked for by kubelet and containers.
pub fn traced(interception: Interception, mode: Mode, mounts: bool) -> Traced {
    match (interception, mode) {
        (Interception::Mount, _) => Traced::Nothing,
        (Interception::Auto, Mode::ControlPlane) if mounts => Traced::Commands,
        (Interception::Auto | Interception::Trace, _) => Traced::Everything,
    }
}

impl Supervisor {
    /// Who is to be traced under `interception`.
    pub fn traced_under(&self, interception: Interception) -> Traced {
        traced(interception, self.options.mode, self.mounts.usable())
    }

    /// Puts the rules in force by the means that k3s runs with.
    pub fn program(&mut self) {
        // In any case: containers that were started under the interceptor outlive a k3s that was.
        let mut listed = self.interceptor.program(&self.in_force);
        match self.traced {
            Traced::Everything => self.mounts.clear(),
            Traced::Commands => {
                let means = self.mounts.program(&self.in_force.rules);
                listed.iter_mut().zip(means).filter(|(_, means)| is_mount(means)).for_each(tell);
            }
            Traced::Nothing => {
                let means = self.mounts.program(&self.in_force.rules);
                listed.iter_mut().zip(means).for_each(tell);
                self.complain(&listed);
            }
        }
        let state = &mut self.reporter.document.interceptor;
        state.traced = self.traced;
        state.backend = match self.traced {
            Traced::Nothing => String::new(),
            Traced::Everything | Traced::Commands => self.interceptor.state().backend.clone(),
        };
        self.reporter.document.rules = listed;
    }

    /// Before k3s is started: serves the rules as this plan wants them served.
    pub fn switch_means(&mut self, plan: &Plan) {
        if self.traced != plan.traced {
            self.traced = plan.traced;
            self.commands_traced.store(plan.traced != Traced::Nothing, Ordering::SeqCst);
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
                self.reporter.event_about("RuleNotServed", message, vec![rule.source.clone()]);
            }
        }
    }
}

fn is_mount(means: &Means) -> bool {
    matches!(means, Means::Mount(_))
}

fn tell((rule, means): (&mut ObservedRule, Means)) {
    (rule.means, rule.reason) = match means {
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

/// What to save as the interception that k3s was proven with, so that the next start traces as this one did; `wanted` is
/// that of the table in force, `of` as [`traced`].
pub fn proven(plan: &Plan, wanted: Interception, of: impl Fn(Interception) -> Traced) -> Interception {
    let others = [Interception::Auto, Interception::Trace, Interception::Mount];
    [wanted].into_iter().chain(others).find(|one| of(*one) == plan.traced).unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_traces_k3s_where_there_are_pods_or_no_mounts() {
        let of = |interception, mode, mounts| traced(interception, mode, mounts);
        assert_eq!(of(Interception::Auto, Mode::ControlPlane, true), Traced::Commands);
        assert_eq!(of(Interception::Auto, Mode::ControlPlane, false), Traced::Everything);
        assert_eq!(of(Interception::Auto, Mode::Node, true), Traced::Everything);
        assert_eq!(of(Interception::Trace, Mode::ControlPlane, true), Traced::Everything);
        assert_eq!(of(Interception::Mount, Mode::ControlPlane, false), Traced::Nothing);
    }

    #[test]
    fn what_is_saved_brings_the_same_tracing_back() {
        for mode in [Mode::Node, Mode::ControlPlane] {
            let of = |interception| traced(interception, mode, true);
            for wanted in [Interception::Auto, Interception::Trace, Interception::Mount] {
                for plan in [Traced::Everything, Traced::Commands, Traced::Nothing] {
                    // A node has no such thing.
                    if (mode, plan) == (Mode::Node, Traced::Commands) {
                        continue;
                    }
                    let plan = Plan { traced: plan, ..Plan::default() };
                    let saved = proven(&plan, wanted, of);
                    assert_eq!(of(saved), plan.traced, "{mode:?} {wanted:?}");
                    assert!(of(wanted) != plan.traced || saved == wanted, "{mode:?} {wanted:?}: {saved:?}");
                }
            }
        }
    }
}
