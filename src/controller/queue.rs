//! What is to be written to the API server, in which order. Pure.

use std::collections::VecDeque;

use super::write::Write;

/// The writes that are due. One that has failed goes behind all others, and stays there until it is written, so that what
/// cannot be written for long holds up nothing but itself.
#[derive(Debug, Default)]
pub struct Queue {
    writes: VecDeque<Write>,
    /// Those that failed, the last one last.
    failed: Vec<Write>,
}

impl Queue {
    /// Puts `statuses` in the place of those that were not written yet, which are worked out anew each time, and adds
    /// `events`, which are worked out once. Status goes first.
    pub fn renew(&mut self, statuses: Vec<Write>, events: Vec<Write>) {
        let before = std::mem::take(&mut self.writes);
        let waiting = before.into_iter().filter(|write| matches!(write, Write::Event(_)));
        let mut writes: Vec<Write> = statuses.into_iter().chain(waiting).chain(events).collect();
        // What is not due any more was written, or has become needless.
        self.failed.retain(|failed| writes.iter().any(|write| same(write, failed)));
        writes.sort_by_key(|write| self.failed.iter().position(|failed| same(write, failed)));
        self.writes = writes.into();
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<Write> {
        self.writes.pop_front()
    }

    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Takes back one that could not be written. A status is worked out again; an Event is not.
    pub fn failed(&mut self, write: Write) {
        if matches!(write, Write::Event(_)) {
            self.writes.push_back(write.clone());
        }
        self.failed.retain(|failed| !same(failed, &write));
        self.failed.push(write);
    }
}

/// Whether two are the same Event, or about the same part of a status, whatever they say of it.
fn same(one: &Write, other: &Write) -> bool {
    match (one, other) {
        (Write::Status(one), Write::Status(other)) => one.name == other.name && one.manager == other.manager,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::tell::StatusPatch;
    use k8s_openapi::api::events::v1::Event;
    use serde_json::json;

    fn status(name: &str) -> Write {
        Write::Status(StatusPatch { name: name.into(), manager: "sandbar".into(), body: json!({}) })
    }

    fn event(note: &str) -> Write {
        Write::event(Event { note: Some(note.to_owned()), ..Event::default() })
    }

    fn drain(queue: &mut Queue) -> Vec<Write> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_status_that_cannot_be_written_holds_up_nothing_but_itself() {
        let mut queue = Queue::default();
        let all = || ["a", "b", "c"].map(status).to_vec();
        queue.renew(all(), vec![event("one")]);
        for failing in ["a", "b"] {
            assert_eq!(queue.pop(), Some(status(failing)));
            queue.failed(status(failing));
            queue.renew(all(), vec![]);
        }
        assert_eq!(drain(&mut queue), [status("c"), event("one"), status("a"), status("b")]);
        queue.failed(status("a"));
        queue.renew(vec![status("a"), status("b")], vec![event("two")]);
        assert_eq!(drain(&mut queue), [event("two"), status("b"), status("a")], "each in its turn");
        // An Event, too.
        queue.failed(event("two"));
        queue.renew(vec![status("a"), status("b")], vec![]);
        assert_eq!(drain(&mut queue), [status("b"), status("a"), event("two")]);
        // Written in between, and due again.
        queue.renew(vec![], vec![]);
        queue.renew(all(), vec![]);
        assert_eq!(drain(&mut queue), all());
    }

    #[test]
    fn an_event_is_kept_and_a_status_is_worked_out_anew() {
        let mut queue = Queue::default();
        queue.renew(vec![status("a")], vec![event("one"), event("two")]);
        queue.renew(vec![status("b")], vec![]);
        assert_eq!(queue.pop(), Some(status("b")));
        let first = queue.pop().unwrap();
        queue.failed(first);
        assert_eq!(drain(&mut queue), [event("two"), event("one")]);
        assert!(queue.is_empty());
    }
}
