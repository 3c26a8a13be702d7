//! Waiting for the running supervisor to reach a state: bounded, and saying what it waits for.

use std::time::{Duration, Instant};

use super::output::{Phases, seconds};
use crate::exit::{Exit, Failure};
use crate::rules::observed::{ObservedDocument, Scalar};
use crate::supervisor::client::{self, ClientError, View};
use crate::supervisor::paths::Paths;
use crate::supervisor::status;

/// Time between two looks at shared memory.
const STEP: Duration = Duration::from_millis(50);

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
        if Instant::now() >= bound.end {
            phases.failed();
            return Err(timed_out(bound.total, &waiting_for));
        }
        phases.detail(&format!("waiting for {waiting_for}"));
        std::thread::sleep(STEP);
    }
}

/// Waits until all is ready.
pub fn ready(paths: &Paths, bound: Bound, phases: &mut Phases) -> Result<View, Failure> {
    until(paths, bound, phases, status::ready)
}

/// The shared memory outlives its writer, so a dead supervisor's table would never change again.
pub fn alive(view: &View) -> bool {
    std::path::Path::new(&format!("/proc/{}", view.running.pid)).exists()
}

fn timed_out(timeout: Duration, waiting_for: &str) -> Failure {
    let message = format!("timed out after {} waiting for {waiting_for}", seconds(timeout));
    let which = if waiting_for.contains("controller") { "controller" } else { "k3s" };
    Failure::new(Exit::TimedOut, message).hint(format!("sandbar logs {which}; sandbar status"))
}
