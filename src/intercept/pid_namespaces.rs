//! Ends pid namespaces with their init, for a kernel that does not.
//!
//! The gVisor that reports 4.4.0 gives the orphans of such a namespace to a child subreaper outside of it, where every other
//! kernel kills them (pid_namespaces(7)): a container whose first process ends before its children was never gone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use nix::fcntl::readlinkat;

use crate::sys::probe::procfs;
use crate::sys::ptrace::Tid;

/// Namespaces remembered as over, for those of their processes that were being made when they ended.
const MOST_OVER: usize = 64;

/// Where a thread's pid namespace is asked for.
type Ask = Box<dyn Fn(Tid) -> Option<String> + Send>;

/// The namespaces that tracees have made.
pub struct PidNamespaces {
    ask: Ask,
    /// The tracer's.
    own: Option<String>,
    /// By the number of the init.
    live: HashMap<Tid, String>,
    over: VecDeque<String>,
}

impl PidNamespaces {
    /// None but our own. Fails without a procfs to look in.
    pub fn new() -> io::Result<Self> {
        let procfs = procfs()?;
        let ask = move |tid| readlinkat(&procfs, format!("{tid}/ns/pid").as_str()).ok()?.into_string().ok();
        Ok(Self::asking(Box::new(ask), std::process::id() as Tid))
    }

    fn asking(ask: Ask, own: Tid) -> Self {
        Self { own: ask(own), ask, live: HashMap::new(), over: VecDeque::new() }
    }

    /// A new tracee; false if its namespace is over. The first one in a namespace is its init: all others are made by it, or
    /// by its children.
    pub fn met(&mut self, tid: Tid) -> bool {
        let Some(namespace) = (self.ask)(tid).filter(|found| self.own.as_ref() != Some(found)) else {
            return true;
        };
        if self.over.contains(&namespace) {
            return false;
        }
        if !self.live.values().any(|known| *known == namespace) {
            self.live.insert(tid, namespace);
        }
        true
    }

    /// A tracee that has ended; those of the others that must end with it.
    pub fn ended(&mut self, tid: Tid, others: &HashSet<Tid>) -> Vec<Tid> {
        let Some(namespace) = self.live.remove(&tid) else { return Vec::new() };
        let left = others.iter().copied().filter(|other| (self.ask)(*other).as_ref() == Some(&namespace));
        let left = left.collect();
        self.over.push_back(namespace);
        if self.over.len() > MOST_OVER {
            self.over.pop_front();
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads 10 to 19 are in namespace 1, and so on; ours is namespace 0.
    fn namespaces() -> PidNamespaces {
        PidNamespaces::asking(Box::new(|tid| (tid < 9000).then(|| (tid / 10).to_string())), 1)
    }

    #[test]
    fn with_the_first_one_all_others_of_its_namespace_end() {
        let mut namespaces = namespaces();
        let all = [2, 10, 11, 12, 20, 21];
        assert!(all.iter().all(|tid| namespaces.met(*tid)));
        let left = HashSet::from([2, 11, 12, 20, 21]);
        for other in [2, 11, 21, 9000] {
            assert!(namespaces.ended(other, &left).is_empty(), "{other}");
        }
        let mut ended = namespaces.ended(10, &left);
        ended.sort_unstable();
        assert_eq!(ended, [11, 12]);
        assert!(namespaces.ended(10, &left).is_empty(), "a later thread of the same number");
    }

    #[test]
    fn one_that_was_being_made_meanwhile_ends_too() {
        let mut namespaces = namespaces();
        assert!(namespaces.met(10));
        namespaces.ended(10, &HashSet::new());
        assert!(!namespaces.met(13));
        assert!(namespaces.met(9000), "gone before it could be asked about");
        for init in (20..9000).step_by(10) {
            namespaces.met(init);
            namespaces.ended(init, &HashSet::new());
        }
        assert_eq!((namespaces.over.len(), namespaces.live.len()), (MOST_OVER, 0));
    }
}
