//! Who is served when many threads wait: a container in a storm must not keep the node, or another container, from its turn.
//!
//! The kernel names whichever waiting thread it finds first in its list. Here all that wait are known before anyone is served,
//! and each session gets one turn of a round: runc gives every container one of its own. The node's session is not counted.

use std::collections::HashSet;

use crate::sys::ptrace::Tid;
use crate::sys::wait::Event;

/// Whose turn a stop takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Nobody's: what the node itself runs, and what is no more.
    Node,
    /// That of the session with this id.
    Session(Tid),
}

/// Stops and ends that were told and not yet served, the oldest first.
#[derive(Debug, Default)]
pub struct Turns {
    waiting: Vec<(Tid, Event, Party)>,
}

impl Turns {
    /// Adds a stop or an end. A thread that waits can yet be killed, and a sibling's exec can take its number over: then nobody
    /// stands at the earlier stop any more. An end stays, whoever has the number now.
    pub fn note(&mut self, tid: Tid, event: Event, party: Party) {
        if event == Event::Exec || event.ends() {
            self.waiting.retain(|(earlier, what, _)| *earlier != tid || what.ends());
        }
        self.waiting.push((tid, event, party));
    }

    /// Whom to serve next, in this order; nobody only if nobody waits.
    pub fn round(&mut self) -> Vec<(Tid, Event)> {
        let (mut served, mut late) = (HashSet::new(), HashSet::new());
        let mut turn = |tid: Tid, party| match party {
            // What became of a number is told in order.
            _ if late.contains(&tid) => false,
            Party::Session(session) if !served.insert(session) => !late.insert(tid),
            _ => true,
        };
        let due = self.waiting.extract_if(.., |(tid, _, party)| turn(*tid, *party));
        due.map(|(tid, event, _)| (tid, event)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(events: &[(Tid, Event, Party)]) -> Turns {
        let mut turns = Turns::default();
        events.iter().for_each(|(tid, event, party)| turns.note(*tid, *event, *party));
        turns
    }

    #[test]
    fn a_stop_that_nobody_stands_at_any_more_is_not_served() {
        let noted = |events: &[(Tid, Event)]| {
            turns(&events.iter().map(|(tid, event)| (*tid, *event, Party::Node)).collect::<Vec<_>>()).round()
        };
        let others = [(7, Event::Seccomp), (9, Event::Exited(0))];
        let exec = noted(&[others[0], (8, Event::Syscall), others[1], (8, Event::Exec)]);
        assert_eq!(exec, [others[0], others[1], (8, Event::Exec)]);
        let killed = noted(&[(8, Event::Seccomp), others[0], (8, Event::Killed(9))]);
        assert_eq!(killed, [others[0], (8, Event::Killed(9))]);
        let number_anew = [(8, Event::Exited(0)), (8, Event::Attached), (8, Event::Killed(9))];
        assert_eq!(noted(&number_anew), [number_anew[0], number_anew[2]]);
    }

    #[test]
    fn each_session_has_one_turn_a_round_and_the_node_has_all_of_its_own() {
        let stop = |tid, party| (tid, Event::Seccomp, party);
        let storm = (10..15).map(|tid| stop(tid, Party::Session(10)));
        let rest = [stop(20, Party::Session(20)), stop(1, Party::Node), stop(2, Party::Node)];
        let mut turns = turns(&storm.chain(rest).collect::<Vec<_>>());
        let mut round = || turns.round().into_iter().map(|(tid, _)| tid).collect::<Vec<_>>();
        assert_eq!(round(), [10, 20, 1, 2]);
        assert_eq!(round(), [11]);
        turns.note(21, Event::Seccomp, Party::Session(20));
        let mut round = || turns.round().into_iter().map(|(tid, _)| tid).collect::<Vec<_>>();
        assert_eq!((round(), round(), round()), (vec![12, 21], vec![13], vec![14]));
        assert!(round().is_empty());
    }

    #[test]
    fn what_became_of_a_number_stays_in_order() {
        let session = Party::Session(7);
        let mut turns = turns(&[
            (7, Event::Seccomp, session),
            (8, Event::Attached, session),
            (8, Event::Exited(0), Party::Node),
            (8, Event::Attached, session),
            (9, Event::Exited(0), Party::Node),
        ]);
        // The end of 8 has taken its first stop away, and does not wait for a turn.
        let ended = Event::Exited(0);
        assert_eq!(turns.round(), [(7, Event::Seccomp), (8, ended), (9, ended)]);
        assert_eq!(turns.round(), [(8, Event::Attached)]);

        let mut turns = Turns::default();
        turns.note(7, Event::Seccomp, session);
        turns.note(8, Event::Attached, session);
        turns.note(8, Event::Made, Party::Node);
        assert_eq!(turns.round(), [(7, Event::Seccomp)]);
        assert_eq!(turns.round(), [(8, Event::Attached), (8, Event::Made)]);
    }
}
