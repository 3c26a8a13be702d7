//! Which callers share a fake's value: those of the node, or of one network or IPC namespace, as the kernel has it.
//!
//! A namespace is known by a number, which the kernel gives to the next one as soon as the namespace is gone. So one that
//! has values of its own is held open. That also keeps it alive, with the links in it, and must end soon after its last
//! tracee: nobody tells when that one leaves, so it is looked for.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;

use super::path;
use crate::sys::ptrace::Tid;

/// A namespace is let go when it was found empty so often in a row: a child may be there whose first stop is to come.
const EMPTY_LOOKS: u8 = 2;

/// Which callers share a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the node; writable from the supervisor's mount namespace only.
    Node,
    /// Callers in one network namespace.
    Network,
    /// Callers in one IPC namespace.
    Ipc,
}

/// A namespace that is held open.
#[derive(Debug)]
pub struct Pin {
    kind: &'static str,
    _held: File,
    /// A tracee that was last seen there.
    resident: Tid,
    empty_looks: u8,
}

impl Scope {
    /// The scope of a path, as the kernel has it for the sysctl of that name.
    pub fn of(path: &str) -> Self {
        let Some(name) = path.strip_prefix("/proc/sys/") else { return Self::Node };
        let ipc = ["kernel/shm", "kernel/msg", "kernel/sem", "fs/mqueue/"];
        match name {
            _ if name.starts_with("net/") => Self::Network,
            _ if ipc.iter().any(|prefix| name.starts_with(prefix)) => Self::Ipc,
            _ => Self::Node,
        }
    }

    fn kind(self) -> Option<&'static str> {
        match self {
            Self::Node => None,
            Self::Network => Some("net"),
            Self::Ipc => Some("ipc"),
        }
    }

    /// The caller's namespace for this scope.
    pub fn key(self, tid: Tid) -> Option<String> {
        self.kind().map_or(Some(String::new()), |kind| path::namespace(tid, kind))
    }

    /// Holds the caller's namespace open; `None` where there is none to hold. A thread that is stopped cannot change
    /// it, so it is the one that [`Scope::key`] names. Opening waits for nobody.
    pub fn pin(self, tid: Tid) -> io::Result<Option<Pin>> {
        let Some(kind) = self.kind() else { return Ok(None) };
        let held = File::open(format!("/proc/{tid}/ns/{kind}"))?;
        Ok(Some(Pin { kind, _held: held, resident: tid, empty_looks: 0 }))
    }
}

impl Pin {
    /// Whether no tracee lives there any more.
    pub fn is_over(&self) -> bool {
        self.empty_looks >= EMPTY_LOOKS
    }
}

/// Looks where tracees live: first for those that were seen last, and for all only where such a one is gone.
pub fn look<'a>(
    pins: impl Iterator<Item = (&'a String, &'a mut Pin)>,
    tracees: &HashSet<Tid>,
    namespace: impl Fn(Tid, &str) -> Option<String>,
) {
    let mut lost: HashMap<&str, &mut Pin> = HashMap::new();
    for (key, pin) in pins {
        if tracees.contains(&pin.resident) && namespace(pin.resident, pin.kind).as_ref() == Some(key) {
            pin.empty_looks = 0;
        } else {
            pin.empty_looks = pin.empty_looks.saturating_add(1);
            lost.insert(key, pin);
        }
    }
    let kinds: HashSet<&str> = lost.values().map(|pin| pin.kind).collect();
    for tid in tracees {
        if lost.is_empty() {
            return;
        }
        for kind in &kinds {
            if let Some(pin) = namespace(*tid, kind).and_then(|key| lost.remove(key.as_str())) {
                (pin.resident, pin.empty_looks) = (*tid, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn scopes_are_those_of_the_kernel() {
        assert_eq!(Scope::of("/proc/sys/net/ipv4/ip_forward"), Scope::Network);
        assert_eq!(Scope::of("/proc/sys/kernel/shmmax"), Scope::Ipc);
        assert_eq!(Scope::of("/proc/sys/kernel/panic"), Scope::Node);
    }

    #[test]
    fn a_namespace_is_kept_while_any_tracee_lives_there() {
        let me = std::process::id() as Tid;
        let mut pins = HashMap::from([("net:[1]".to_owned(), Scope::Network.pin(me).unwrap().unwrap())]);
        let homes = RefCell::new(HashMap::from([(me, "net:[1]"), (7, "net:[1]"), (8, "net:[2]")]));
        let asked = RefCell::new(Vec::new());
        let mut over = |tracees: &[Tid]| {
            asked.borrow_mut().clear();
            look(pins.iter_mut(), &tracees.iter().copied().collect(), |tid, _| {
                asked.borrow_mut().push(tid);
                homes.borrow().get(&tid).map(|home| (*home).to_owned())
            });
            pins["net:[1]"].is_over()
        };
        assert!(!over(&[me, 7, 8]));
        assert_eq!(*asked.borrow(), [me], "more was asked than needed");
        assert!(!over(&[7, 8]), "the writer has ended, another lives on");
        homes.borrow_mut().insert(7, "net:[2]");
        assert!(!over(&[7, 8]), "one look is not enough");
        homes.borrow_mut().insert(9, "net:[1]");
        assert!(!over(&[7, 8, 9]), "a child came into sight");
        assert!(!over(&[7, 8]));
        assert!(over(&[7, 8]), "the last one has left by setns");
    }
}
