//! Waiting for the running supervisor to reach a state: bounded, and saying what it waits for.

use std::time::{Duration, Instant};

use super::output::{Phases, seconds};
use crate::exit::{Exit, Failure};
use crate::rules::observed::{ObservedDocument, Scalar};
use crate::supervisor::client::{self, ClientError, View};
use crate::supervisor::lock::{self, Role};
use crate::supervisor::paths::Paths;
use crate::supervisor::{process, status};

/// Time between two looks at shared memory.
const STEP: Duration = Duration::from_millis(50);
/// What has just been started, by a hook or an init system, may take this long to say so by holding the lock.
const GRACE: Duration = Duration::from_secs(3);

/// Events that the user should hear of although all is well in the end.
const WORTH_A_WARNING: &[&str] =
    &["K3sSettingsRefused", "K3sSettingsRolledBack", "LastGoodIgnored", "LastGoodNotSaved", "TableRefused"];

/// The end of a wait, shared by its phases.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    total: Duration,
    end: Instant,
}

impl Bound {
    /// From now on.
    pub fn new(total: Duration) -> Self {
        // A wait so long that it cannot be counted is one of a year.
        let year = Duration::from_secs(365 * 86_400);
        Self { total, end: Instant::now() + total.min(year) }
    }

    /// Says what is waited for, and waits a moment; the failure is that the time is over.
    pub fn step(self, phases: &mut Phases, waiting_for: &str) -> Result<(), Failure> {
        if Instant::now() >= self.end {
            phases.failed();
            return Err(timed_out(self.total, waiting_for));
        }
        phases.detail(&format!("waiting for {waiting_for}"));
        std::thread::sleep(STEP);
        Ok(())
    }
}

/// Waits until `reached` says `Ok`; its error is what is waited for.
pub fn until(
    paths: &Paths,
    bound: Bound,
    phases: &mut Phases,
    mut reached: impl FnMut(&ObservedDocument, u64) -> Result<(), String>,
) -> Result<View, Failure> {
    let view = client::observe(paths).map_err(ClientError::failure)?;
    loop {
        let waiting_for = match view.document() {
            Ok(document) => match reached(&document, view.observed.scalar(Scalar::Acknowledged)) {
                Ok(()) => return Ok(view),
                Err(waiting_for) => waiting_for,
            },
            // The table was being rewritten while we read; several times in a row means damage, and ends in the timeout.
            Err(error) => error.to_string(),
        };
        if !alive(&view) {
            phases.failed();
            let failure =
                Failure::new(Exit::Failed, format!("the supervisor ended while waiting for {waiting_for}"));
            return Err(failure.hint("sandbar logs supervisor"));
        }
        bound.step(phases, &waiting_for)?;
    }
}

/// Looks at the supervisor, waiting for one that is about to be there.
pub fn supervisor(paths: &Paths, bound: Bound, phases: &mut Phases) -> Result<View, Failure> {
    let began = Instant::now();
    loop {
        match client::observe(paths) {
            Err(ClientError::NotRunning) => {}
            seen => return seen.map_err(ClientError::failure),
        }
        let holder = lock::holder(&paths.lock());
        let starting = holder.is_some_and(|holder| holder.role != Role::Down);
        if !starting && began.elapsed() > GRACE {
            phases.failed();
            return Err(ClientError::NotRunning.failure());
        }
        bound.step(phases, "a supervisor to answer")?;
    }
}

/// Waits until all is ready.
pub fn ready(paths: &Paths, bound: Bound, phases: &mut Phases) -> Result<View, Failure> {
    until(paths, bound, phases, status::ready)
}

/// Says what went wrong meanwhile, `told` being the last event before.
pub fn warn(document: &ObservedDocument, told: u64, phases: &mut Phases) {
    let news = document.events.iter().filter(|event| event.sequence > told);
    news.filter(|event| WORTH_A_WARNING.contains(&event.reason.as_str()))
        .for_each(|event| phases.warn(&event.message));
}

/// The shared memory outlives its writer, so a dead supervisor's table would never change again. It is the child of the `up`
/// that started it, which does not collect it.
pub fn alive(view: &View) -> bool {
    process::lives(view.running.pid)
}

fn timed_out(timeout: Duration, waiting_for: &str) -> Failure {
    let message = format!("timed out after {} waiting for {waiting_for}", seconds(timeout));
    let which = if waiting_for.contains("controller") { "controller" } else { "k3s" };
    Failure::new(Exit::TimedOut, message).hint(format!("sandbar logs {which}; sandbar status"))
}
