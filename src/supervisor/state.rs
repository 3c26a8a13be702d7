//! What the supervisor reports: the observed document, its events, the audit log, and the bell that announces changes.

use std::io::Write;
use std::sync::Arc;

use nix::sys::eventfd::EventFd;

use super::clock;
use super::controller_process::Refused;
use super::log::RotatingFile;
use crate::rules::observed::{Observed, ObservedDocument, SupervisorEvent};
use crate::rules::table::TableError;

const MAX_EVENTS: usize = 64;
/// Longest message of an event; k3s's own errors can be long, and the table is of fixed size.
const MAX_MESSAGE: usize = 2048;

/// The one writer of the observed document.
#[derive(Debug)]
pub struct Reporter {
    /// The document; changes are seen by others after [`Reporter::publish`].
    pub document: ObservedDocument,
    published: Option<ObservedDocument>,
    observed: Observed,
    bell: Arc<EventFd>,
    audit: RotatingFile,
}

impl Reporter {
    /// Reports into `observed`, rings `bell`.
    pub fn new(
        document: ObservedDocument,
        observed: Observed,
        bell: Arc<EventFd>,
        audit: RotatingFile,
    ) -> Self {
        Self { document, published: None, observed, bell, audit }
    }

    /// The observed table itself, for its counters.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Records something that people should hear of: in the document, in the audit log, in our own log.
    pub fn event(&mut self, reason: &str, message: impl Into<String>) {
        self.event_about(reason, message, Vec::new());
    }

    /// The same, about these SandboxConfigs.
    pub fn event_about(&mut self, reason: &str, message: impl Into<String>, sources: Vec<String>) {
        let message = shortened(message.into());
        tracing::info!(reason, "{message}");
        let sequence = self.document.events.last().map_or(1, |last| last.sequence + 1);
        let event = SupervisorEvent { sequence, at: clock::now(), reason: reason.into(), message, sources };
        self.audit(&event);
        let events = &mut self.document.events;
        events.push(event);
        let surplus = events.len().saturating_sub(MAX_EVENTS);
        events.drain(..surplus);
    }

    /// Records what is of interest to an auditor only.
    pub fn note(&mut self, reason: &str, message: impl Into<String>) {
        let message = shortened(message.into());
        let (at, reason) = (clock::now(), reason.into());
        self.audit(&SupervisorEvent { at, reason, message, ..SupervisorEvent::default() });
    }

    /// Records what the controller has refused; it tells people itself.
    pub fn refused(&mut self, refused: &Refused) {
        match &refused.object {
            Some(name) => self.note("ObjectRefused", format!("{name}: {}", refused.reason)),
            None => self.note("TableRefused", format!("not published: {}", refused.reason)),
        }
    }

    fn audit(&mut self, event: &SupervisorEvent) {
        if let Ok(line) = serde_json::to_string(event) {
            // RotatingFile takes every write.
            let _ = writeln!(self.audit, "{line}");
        }
    }

    /// Makes the document seen, if it has changed, and rings.
    pub fn publish(&mut self) -> Result<(), TableError> {
        if self.published.as_ref() == Some(&self.document) {
            return Ok(());
        }
        self.observed.publish(&self.document)?;
        self.published = Some(self.document.clone());
        self.ring();
        Ok(())
    }

    /// Rings alone: a scalar has changed.
    pub fn ring(&self) {
        // It fails only when 2^64 - 2 rings have gone unheard.
        let _ = self.bell.write(1);
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::observed::create_observed;

    #[test]
    fn events_are_bounded_numbered_and_in_the_audit_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let observed = Observed::open(&create_observed().unwrap(), true).unwrap();
        let bell = Arc::new(EventFd::new().unwrap());
        let audit = RotatingFile::open(&path, 1 << 20).unwrap();
        let mut reporter = Reporter::new(ObservedDocument::default(), observed, bell.clone(), audit);
        for _ in 0..100 {
            reporter.event("TableRefused", "é".repeat(2000));
        }
        reporter.publish().unwrap();
        reporter.publish().unwrap();
        assert_eq!(bell.read().unwrap(), 1, "an unchanged document was announced");
        let events = reporter.observed().read().unwrap().events;
        assert_eq!((events.len(), events[63].sequence), (64, 100));
        assert!(events[0].message.len() < 2100);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100);
        for object in [Some("mine".to_owned()), None] {
            reporter.refused(&Refused { object, reason: "too large".into() });
        }
        let log = std::fs::read_to_string(&path).unwrap();
        assert!(log.contains("mine: too large") && log.contains("not published: too large"), "{log}");
        assert_eq!(reporter.document.events.len(), 64, "it is the controller that tells of it");
    }
}
