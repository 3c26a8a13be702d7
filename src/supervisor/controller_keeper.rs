//! Keeping the controller alive: started when k3s is first ready, again with backoff whenever it ends.

use std::sync::mpsc::Sender;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::controller_process::{self, Controller, Handover, News};
use super::process::{self, ProcessError};
use super::supervise::Event;
use crate::intercept::Interceptor;
use crate::rules::observed::ControllerState;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Alive for this long: the next failure starts from the first delay again.
const SETTLED: Duration = Duration::from_secs(60);

/// The controller over all its runs.
#[derive(Debug)]
pub struct ControllerKeeper {
    handover: Handover,
    events: Sender<Event>,
    current: Option<Controller>,
    ready: bool,
    unpublishable: Option<String>,
    runs: u64,
    started: Duration,
    /// When to start it; `None` while it runs, and before k3s was ready.
    start_at: Option<Duration>,
    delay: Duration,
}

impl ControllerKeeper {
    /// A controller that was not started yet.
    pub fn new(handover: Handover, events: Sender<Event>) -> Self {
        Self {
            handover,
            events,
            current: None,
            ready: false,
            unpublishable: None,
            runs: 0,
            started: Duration::ZERO,
            start_at: None,
            delay: FIRST_DELAY,
        }
    }

    /// k3s is ready: a controller that never ran is started.
    pub fn k3s_ready(&mut self, now: Duration) {
        if self.runs == 0 && self.start_at.is_none() {
            self.start_at = Some(now);
        }
    }

    /// Starts it if it is time to.
    pub fn tick(&mut self, now: Duration, interceptor: &Interceptor) -> Result<(), ProcessError> {
        if self.current.is_some() || self.start_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.runs += 1;
        self.started = now;
        let run = self.runs;
        let events = self.events.clone();
        // The loop outlives a controller's threads but for the very end.
        let tell = move |news| drop(events.send(Event::Controller { run, news }));
        match controller_process::start(interceptor, &self.handover, run, tell) {
            Ok(controller) => {
                self.start_at = None;
                self.current = Some(controller);
                Ok(())
            }
            Err(error) => {
                self.retry(now);
                Err(error)
            }
        }
    }

    fn retry(&mut self, now: Duration) {
        self.start_at = Some(now + self.delay);
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
    }

    /// Takes what a run's threads tell; returns the end of the current one.
    pub fn take(&mut self, now: Duration, run: u64, news: News) -> Option<process::End> {
        if self.current.as_ref().is_none_or(|current| current.process.run != run) {
            return None;
        }
        match news {
            News::Applied => {
                // Once: who deletes such an object later means it.
                self.handover.options.files.clear();
                None
            }
            News::Told(sequence) => {
                self.handover.told_events = sequence;
                None
            }
            News::Refused(refused) => {
                if refused.object.is_none() {
                    self.unpublishable = Some(refused.reason);
                }
                None
            }
            News::Taken => {
                self.unpublishable = None;
                None
            }
            News::Ready(ready) => {
                self.ready = ready;
                None
            }
            News::Ended(end) => {
                (self.current, self.ready, self.unpublishable) = (None, false, None);
                if now.saturating_sub(self.started) >= SETTLED {
                    self.delay = FIRST_DELAY;
                }
                self.retry(now);
                Some(end)
            }
        }
    }

    /// Asks it to end, and starts no other.
    pub fn stop(&mut self) {
        self.start_at = None;
        if let Some(controller) = &self.current {
            process::signal(controller.process.pid, Signal::SIGTERM);
        }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.current.is_some()
    }

    /// When [`ControllerKeeper::tick`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.start_at.filter(|_| self.current.is_none())
    }

    /// As the observed table has it.
    pub fn state(&self) -> ControllerState {
        ControllerState {
            pid: self.current.as_ref().map(|controller| controller.process.pid),
            restarts: self.runs.saturating_sub(1),
            ready: self.ready,
            unpublishable: self.unpublishable.clone(),
        }
    }
}
