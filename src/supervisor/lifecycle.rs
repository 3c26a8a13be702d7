//! When k3s is started, stopped, restarted, and when settings are kept or taken back: inputs in, outputs out, no effects.
//!
//! ```text
//!            launch            ready             exits
//!  Stopped ─────────► Starting ─────► Ready ───────────────► BackingOff ──(delay)──► Starting
//!                        │              │ other flags, restart
//!                        └──────────────┴──────────► Restarting ──(exited)──► Starting
//!  any ──(stop)──► Stopping ──(exited)──► Stopped
//! ```
//!
//! A plan is *on trial* until k3s has been ready with it for [`Timing::prove`]; one that fails on trial gives way to
//! the fallback (the last proven plan) and is not tried again until it changes.

use std::time::Duration;

use super::plan::{self, Plan};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Timing {
    /// Ready for this long: the settings are good.
    pub prove: Duration,
    /// Not ready after this long: they are not.
    pub become_ready: Duration,
    /// From SIGTERM to SIGKILL.
    pub stop: Duration,
    pub first_delay: Duration,
    pub longest_delay: Duration,
    /// Ready for this long: the next failure starts from the first delay again.
    pub reset_delay: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            prove: Duration::from_secs(30),
            become_ready: Duration::from_secs(180),
            stop: Duration::from_secs(20),
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(60),
            reset_delay: Duration::from_secs(60),
        }
    }
}

/// What k3s is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Phase {
    #[default]
    Stopped,
    Starting,
    Ready,
    Restarting,
    BackingOff,
    Stopping,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Input {
    /// Start for the first time.
    Begin,
    /// A table brought these settings.
    Desired { plan: Plan, manual: bool },
    /// A table brought settings that cannot work here.
    Impossible { plan: Plan, why: String },
    /// The settings that were taken back last were not at fault.
    Acquit,
    /// The readiness of the running k3s changed.
    Ready(bool),
    /// k3s ended (or could not be started), with its own error.
    Exited { error: String },
    /// `sandbar restart`.
    Restart,
    /// `sandbar down`.
    Stop,
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Output {
    Launch(Plan),
    /// Ask k3s to end.
    Terminate,
    /// Make it.
    Kill,
    /// These settings are good: save them.
    Proven(Plan),
    /// Something that people should hear of.
    Report {
        reason: &'static str,
        message: String,
        /// The SandboxConfigs that it is about, where only the plans tell.
        sources: Vec<String>,
    },
    /// k3s is down for good.
    Stopped,
}

/// Settings that were tried and taken back, or that cannot work and were not tried.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Refused {
    pub plan: Plan,
    pub error: String,
    pub tried: bool,
}

/// The state machine. Time is a duration since any fixed moment.
#[derive(Debug)]
pub struct Lifecycle {
    timing: Timing,
    phase: Phase,
    current: Plan,
    proven: Option<Plan>,
    fallback: Option<Plan>,
    pending: Option<Plan>,
    next: Option<Plan>,
    refused: Option<Refused>,
    /// Set while k3s is being stopped because it did not become ready with settings on trial.
    abandoned: Option<String>,
    launched: Option<Duration>,
    ready_since: Option<Duration>,
    was_ready: bool,
    stop_at: Option<Duration>,
    launch_at: Option<Duration>,
    delay: Duration,
    restarts: u64,
    last_error: Option<String>,
}

impl Lifecycle {
    /// A k3s that is to run with `first`; `proven` are the settings known to work, `refused` those known not to.
    pub fn new(timing: Timing, first: Plan, proven: Option<Plan>, refused: Option<Refused>) -> Self {
        Self {
            timing,
            phase: Phase::Stopped,
            current: first,
            fallback: proven.clone(),
            proven,
            pending: None,
            next: None,
            refused,
            abandoned: None,
            launched: None,
            ready_since: None,
            was_ready: false,
            stop_at: None,
            launch_at: None,
            delay: timing.first_delay,
            restarts: 0,
            last_error: None,
        }
    }

    /// Takes an input at time `now`.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Begin => self.launch(now, self.current.clone(), &mut out),
            Input::Desired { plan, manual } => self.desired(now, plan, manual, &mut out),
            Input::Impossible { plan, why } => self.impossible(plan, why, &mut out),
            Input::Acquit => drop(self.refused.take_if(|refused| refused.tried)),
            Input::Ready(ready) => self.ready(now, ready),
            Input::Exited { error } => self.exited(now, error, &mut out),
            Input::Restart => self.restart(now, &mut out),
            Input::Stop => self.stop(now, &mut out),
            Input::Tick => {}
        }
        self.tick(now, &mut out);
        out
    }

    fn launch(&mut self, now: Duration, plan: Plan, out: &mut Vec<Output>) {
        self.restarts += u64::from(self.launched.is_some());
        self.phase = Phase::Starting;
        self.launched = Some(now);
        (self.ready_since, self.was_ready) = (None, false);
        (self.stop_at, self.launch_at) = (None, None);
        self.current = plan.clone();
        out.push(Output::Launch(plan));
    }

    fn desired(&mut self, now: Duration, plan: Plan, manual: bool, out: &mut Vec<Output>) {
        // What it is called by now: the refusal is one of this table, and so is what may be refused shortly.
        if self.abandoned.is_some() && self.current.same_start(&plan) {
            self.current = plan;
            self.pending = None;
            return;
        }
        if let Some(refused) = self.refused.as_mut().filter(|refused| refused.plan.same_start(&plan)) {
            refused.plan = plan.clone();
            self.pending = None;
            let target = self.next.as_mut().unwrap_or(&mut self.current);
            if target.same_start(&plan) {
                *target = plan;
            }
            return;
        }
        self.refused = None;
        let target = self.next.as_mut().unwrap_or(&mut self.current);
        if target.same_start(&plan) {
            // Nothing to restart for, but arguments may have got another origin, and the policy may have changed.
            *target = plan;
            self.pending = None;
        } else if manual {
            self.pending = Some(plan);
        } else {
            let message = format!("k3s restarts with the settings of generation {}", plan.generation);
            let sources = plan::changed_by(target, &plan);
            out.push(Output::Report { reason: "K3sSettingsChanged", message, sources });
            self.switch(now, plan, out);
        }
    }

    /// What runs, or is being started, goes on.
    fn impossible(&mut self, plan: Plan, why: String, out: &mut Vec<Output>) {
        self.pending = None;
        let told = self.refused.as_ref().is_some_and(|refused| !refused.tried && refused.error == why);
        if !told {
            let message =
                format!("the k3s settings of generation {} cannot work here: {why}", plan.generation);
            out.push(Output::Report { reason: "K3sSettingsRefused", message, sources: Vec::new() });
        }
        self.refused = Some(Refused { plan, error: why, tried: false });
    }

    fn switch(&mut self, now: Duration, plan: Plan, out: &mut Vec<Output>) {
        self.pending = None;
        let good = self.proven.clone().or_else(|| self.was_ready.then(|| self.current.clone()));
        self.fallback = good.or(self.fallback.take());
        match self.phase {
            Phase::Starting | Phase::Ready => self.stop_for(now, plan, out),
            Phase::Restarting => self.next = Some(plan),
            Phase::BackingOff => self.launch(now, plan, out),
            Phase::Stopped | Phase::Stopping => self.current = plan,
        }
    }

    fn stop_for(&mut self, now: Duration, next: Plan, out: &mut Vec<Output>) {
        self.next = Some(next);
        self.phase = Phase::Restarting;
        self.stop_at = Some(now + self.timing.stop);
        out.push(Output::Terminate);
    }

    fn ready(&mut self, now: Duration, ready: bool) {
        match (self.phase, ready) {
            (Phase::Starting, true) => {
                self.phase = Phase::Ready;
                (self.ready_since, self.was_ready) = (Some(now), true);
            }
            (Phase::Ready, false) => {
                self.phase = Phase::Starting;
                self.ready_since = None;
            }
            _ => {}
        }
    }

    fn exited(&mut self, now: Duration, error: String, out: &mut Vec<Output>) {
        self.stop_at = None;
        match self.phase {
            Phase::Stopping => {
                self.phase = Phase::Stopped;
                out.push(Output::Stopped);
            }
            Phase::Restarting => {
                let next = self.next.take().unwrap_or_else(|| self.current.clone());
                if let Some(why) = self.abandoned.take() {
                    self.refuse(format!("{why}; {error}"), out);
                }
                self.launch(now, next, out);
            }
            Phase::Starting | Phase::Ready => match self.way_back() {
                Some(fallback) => {
                    self.refuse(error, out);
                    self.launch(now, fallback, out);
                }
                None => self.back_off(now, error, out),
            },
            Phase::BackingOff | Phase::Stopped => {}
        }
    }

    fn back_off(&mut self, now: Duration, error: String, out: &mut Vec<Output>) {
        if self.ready_for(now).is_some_and(|ready| ready >= self.timing.reset_delay) {
            self.delay = self.timing.first_delay;
        }
        let seconds = self.delay.as_secs();
        let message = format!("k3s ended and is started again in {seconds} s: {error}");
        out.push(Output::Report { reason: "K3sRestarted", message, sources: Vec::new() });
        self.phase = Phase::BackingOff;
        self.launch_at = Some(now + self.delay);
        self.delay = (self.delay * 2).min(self.timing.longest_delay);
        self.last_error = Some(error);
        self.ready_since = None;
    }

    fn refuse(&mut self, error: String, out: &mut Vec<Output>) {
        let message =
            format!("the k3s settings of generation {} were taken back: {error}", self.current.generation);
        out.push(Output::Report { reason: "K3sSettingsRolledBack", message, sources: Vec::new() });
        self.last_error = Some(error.clone());
        self.refused = Some(Refused { plan: self.current.clone(), error, tried: true });
    }

    fn restart(&mut self, now: Duration, out: &mut Vec<Output>) {
        if let Some(pending) = self.pending.take() {
            // Nobody asks any more for what was refused before these came.
            self.refused = None;
            return self.switch(now, pending, out);
        }
        match self.phase {
            Phase::Starting | Phase::Ready => self.stop_for(now, self.current.clone(), out),
            Phase::BackingOff => self.launch(now, self.current.clone(), out),
            Phase::Restarting | Phase::Stopped | Phase::Stopping => {}
        }
    }

    fn stop(&mut self, now: Duration, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Starting | Phase::Ready => {
                self.stop_at = Some(now + self.timing.stop);
                out.push(Output::Terminate);
                self.phase = Phase::Stopping;
            }
            Phase::Restarting => self.phase = Phase::Stopping,
            Phase::Stopping => {}
            Phase::BackingOff | Phase::Stopped => {
                self.phase = Phase::Stopped;
                out.push(Output::Stopped);
            }
        }
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.stop_at.is_some_and(|at| at <= now) {
            out.push(Output::Kill);
            self.stop_at = Some(now + self.timing.stop);
        }
        if self.phase == Phase::BackingOff && self.launch_at.is_some_and(|at| at <= now) {
            self.launch(now, self.current.clone(), out);
        }
        if self.on_trial() && self.stays(now) {
            self.proven = Some(self.current.clone());
            self.fallback = None;
            // It has failed before, for a reason that is gone.
            self.refused.take_if(|refused| refused.plan.same_start(&self.current));
            out.push(Output::Proven(self.current.clone()));
        }
        if self.trial_end().is_some_and(|end| end <= now)
            && let Some(fallback) = self.way_back()
        {
            self.abandoned = Some(format!("not ready within {} s", self.timing.become_ready.as_secs()));
            self.stop_for(now, fallback, out);
        }
    }

    fn on_trial(&self) -> bool {
        !self.proven.as_ref().is_some_and(|proven| proven.same_start(&self.current))
    }

    /// The plan to fall back to if the current one fails: none once it is proven.
    fn way_back(&self) -> Option<Plan> {
        let other = self.fallback.as_ref().filter(|fallback| !fallback.same_start(&self.current));
        other.filter(|_| self.on_trial()).cloned()
    }

    /// Whether k3s has been ready for as long as it takes to prove something, since it was started.
    pub fn stays(&self, now: Duration) -> bool {
        self.ready_for(now).is_some_and(|ready| ready >= self.timing.prove)
    }

    fn ready_for(&self, now: Duration) -> Option<Duration> {
        self.ready_since.filter(|_| self.phase == Phase::Ready).map(|since| now.saturating_sub(since))
    }

    fn trial_end(&self) -> Option<Duration> {
        let waiting = self.phase == Phase::Starting && self.way_back().is_some();
        self.launched.filter(|_| waiting).map(|at| at + self.timing.become_ready)
    }

    /// When [`Input::Tick`] is due next.
    pub fn deadline(&self) -> Option<Duration> {
        let proof = self.ready_since.filter(|_| self.phase == Phase::Ready && self.on_trial());
        let launch = self.launch_at.filter(|_| self.phase == Phase::BackingOff);
        [self.stop_at, launch, proof.map(|since| since + self.timing.prove), self.trial_end()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What k3s is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The plan that runs, or that is started next.
    pub fn current(&self) -> &Plan {
        &self.current
    }

    /// The settings known to work.
    pub fn proven(&self) -> Option<&Plan> {
        self.proven.as_ref()
    }

    /// Settings that wait for `sandbar restart`.
    pub fn pending(&self) -> Option<&Plan> {
        self.pending.as_ref()
    }

    /// The plan that k3s is being restarted for.
    pub fn next(&self) -> Option<&Plan> {
        self.next.as_ref()
    }

    /// Settings that were taken back.
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// Starts after the first.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How k3s last ended by itself.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
