//! Who is served when many threads wait: one container in a storm must not keep the node, or another container, from its turn.
//!
//! The kernel names whichever waiting thread it finds first in its list. Here all that wait are known before one is served, and a
//! round serves one of each session: runc gives every container one of its own. The node's sessions have all of theirs served. What
//! changes who has a number takes no turn: execs and ends. Nor is a program bounded that makes a session for each of its processes.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::sys::ptrace::Tid;
use crate::sys::wait::Event;

/// Stops of a session that a round serves if nobody else waits: to ask who waits looks at every tracee.
const ALONE: usize = 4;
/// So many are known before those that have ended are sought.
const MANY_SESSIONS: usize = 64;

/// Stops and ends that were told and not yet served.
#[derive(Debug, Default)]
pub struct Turns {
    at_once: Vec<(Tid, Event)>,
    /// By session, the oldest first; before them first stops, of threads that are not known until then.
    in_turn: BTreeMap<Tid, VecDeque<(Tid, Event)>>,
}

impl Turns {
    /// Adds a stop or an end, with the session whose turn it takes; it is served at once if none. A thread that waits can yet be
    /// killed, and a sibling's exec can take its number over: then nobody stands at the earlier stop any more. An end stays,
    /// whoever has the number now.
    pub fn note(&mut self, tid: Tid, event: Event, session: Option<Tid>) {
        if event == Event::Exec || event.ends() {
            self.at_once.retain(|(earlier, what)| *earlier != tid || what.ends());
            self.in_turn.retain(|_, waiting| {
                waiting.retain(|(earlier, _)| *earlier != tid);
                !waiting.is_empty()
            });
        }
        match session {
            None => self.at_once.push((tid, event)),
            Some(session) => {
                let waiting = self.in_turn.entry(session).or_default();
                if event == Event::Attached {
                    waiting.push_front((tid, event));
                } else {
                    waiting.push_back((tid, event));
                }
            }
        }
    }

    /// Whom to serve next, in this order; nobody only if nobody waits.
    pub fn round(&mut self) -> Vec<(Tid, Event)> {
        let alone = self.in_turn.len() == 1 && self.at_once.is_empty();
        let share = if alone { ALONE } else { 1 };
        let mut due = std::mem::take(&mut self.at_once);
        self.in_turn.retain(|_, waiting| {
            due.extend(waiting.drain(..share.min(waiting.len())));
            !waiting.is_empty()
        });
        due
    }
}

/// The sessions that were started at our own request, and ours. They may outlive what was started.
#[derive(Debug)]
pub struct NodeSessions(HashSet<Tid>);

impl NodeSessions {
    /// Ours alone.
    pub fn new(ours: Option<Tid>) -> Self {
        Self(ours.into_iter().collect())
    }

    /// Adds one; `living` tells the sessions of all that are not to be forgotten.
    pub fn add(&mut self, session: Tid, living: impl FnOnce() -> HashSet<Tid>) {
        if self.0.len() >= MANY_SESSIONS {
            let living = living();
            self.0.retain(|known| living.contains(known));
        }
        self.0.insert(session);
    }

    /// A new process has this number, which no session has then: numbers of sessions are not given away while they last.
    pub fn met(&mut self, tid: Tid) {
        self.0.remove(&tid);
    }

    /// Whether a session is one of them.
    pub fn contains(&self, session: Tid) -> bool {
        self.0.contains(&session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Event = Event::Seccomp;

    fn turns(events: &[(Tid, Event, Option<Tid>)]) -> Turns {
        let mut turns = Turns::default();
        events.iter().for_each(|(tid, event, session)| turns.note(*tid, *event, *session));
        turns
    }

    fn served(turns: &mut Turns) -> Vec<Tid> {
        turns.round().into_iter().map(|(tid, _)| tid).collect()
    }

    #[test]
    fn a_stop_that_nobody_stands_at_any_more_is_not_served() {
        let noted = |events: &[(Tid, Event)]| {
            turns(&events.iter().map(|(tid, event)| (*tid, *event, None)).collect::<Vec<_>>()).round()
        };
        let others = [(7, STOP), (9, Event::Exited(0))];
        let exec = noted(&[others[0], (8, Event::Syscall), others[1], (8, Event::Exec)]);
        assert_eq!(exec, [others[0], others[1], (8, Event::Exec)]);
        let killed = noted(&[(8, STOP), others[0], (8, Event::Killed(9))]);
        assert_eq!(killed, [others[0], (8, Event::Killed(9))]);
        let number_anew = [(8, Event::Exited(0)), (8, Event::Attached), (8, Event::Killed(9))];
        assert_eq!(noted(&number_anew), [number_anew[0], number_anew[2]]);
    }

    #[test]
    fn nor_is_one_that_has_waited_for_its_turn() {
        let mut turns =
            turns(&[(10, STOP, Some(1)), (11, STOP, Some(1)), (12, STOP, Some(1)), (20, STOP, Some(2))]);
        assert_eq!(served(&mut turns), [10, 20]);
        turns.note(11, Event::Killed(9), None);
        turns.note(12, Event::Exec, None);
        assert_eq!(turns.round(), [(11, Event::Killed(9)), (12, Event::Exec)]);
        assert!(turns.round().is_empty());
    }

    #[test]
    fn each_session_has_one_turn_a_round_and_the_node_has_all_of_its_own() {
        let storm = (10..15).map(|tid| (tid, STOP, Some(10)));
        let mut turns =
            turns(&storm.chain([(20, STOP, Some(20)), (1, STOP, None), (2, STOP, None)]).collect::<Vec<_>>());
        assert_eq!(served(&mut turns), [1, 2, 10, 20]);
        turns.note(21, STOP, Some(20));
        turns.note(15, Event::Attached, Some(10));
        assert_eq!(served(&mut turns), [15, 21]);
        assert_eq!(served(&mut turns), [11, 12, 13, 14], "nobody else waits");
        assert!(turns.round().is_empty());
    }

    #[test]
    fn a_session_alone_is_not_served_for_long_either() {
        let mut turns = turns(&(0..100).map(|tid| (tid, STOP, Some(1))).collect::<Vec<_>>());
        assert_eq!(served(&mut turns).len(), ALONE);
        turns.note(200, STOP, Some(2));
        assert_eq!(served(&mut turns), [ALONE as Tid, 200]);
        turns.note(300, STOP, None);
        assert_eq!(served(&mut turns), [300, ALONE as Tid + 1]);
    }

    #[test]
    fn a_session_of_the_node_is_forgotten_when_its_number_is_given_away_or_it_has_ended() {
        let mut sessions = NodeSessions::new(Some(1));
        sessions.add(2, HashSet::new);
        sessions.met(2);
        assert!(sessions.contains(1) && !sessions.contains(2));
        for session in 100..1000 {
            sessions.add(session, || HashSet::from([1, 100]));
        }
        assert!(sessions.contains(1) && sessions.contains(100) && sessions.contains(999));
        assert!(!sessions.contains(101) && sessions.0.len() <= MANY_SESSIONS, "{}", sessions.0.len());
    }
}
