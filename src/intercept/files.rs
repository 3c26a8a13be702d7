//! The store of fake files: base values from the rules, run-time writes on top, per namespace where the kernel has them so.
//!
//! A writable open gets a memfd of which we keep a descriptor; its content is taken before the next reader is served.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use super::path;
use crate::rules::bounds::MAX_VALUE_BYTES;
use crate::rules::model::{Access, Action, Rule};
use crate::sys::ptrace::Tid;

/// Writable descriptors kept per fake and scope; the oldest is retired beyond that.
const MAX_WRITERS: usize = 16;
/// Writable descriptors kept in all, well below the usual limit of 1024 per process.
const MAX_ALL_WRITERS: usize = 256;
/// Scopes (network or IPC namespaces) with run-time writes that are remembered per fake.
const MAX_SCOPES: usize = 1024;

/// Memory beyond which a writable descriptor is let go: some kernels give the shortest file a huge page.
const MAX_HELD_BYTES: u64 = (2 << 20) + MAX_VALUE_BYTES as u64;
/// Time between two looks for those.
const SWEEP: Duration = Duration::from_secs(1);

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

    /// The caller's namespace for this scope.
    fn key(self, tid: Tid) -> Option<String> {
        match self {
            Self::Node => Some(String::new()),
            Self::Network => path::namespace(tid, "net"),
            Self::Ipc => path::namespace(tid, "ipc"),
        }
    }
}

/// Everything written at run time.
#[derive(Debug, Default)]
pub struct Store {
    written: HashMap<String, Fake>,
    /// Counts writers, so that the oldest is known.
    added: u64,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Fake {
    /// The rule's own value, to notice that the rule has changed.
    base: String,
    scopes: HashMap<String, Written>,
}

#[derive(Debug, Default)]
struct Written {
    value: Option<Vec<u8>>,
    writers: VecDeque<Writer>,
}

#[derive(Debug)]
struct Writer {
    number: u64,
    memfd: File,
    /// Content when last looked at. Times alone would not do: they advance by the tick.
    seen: Vec<u8>,
}

impl Store {
    /// Forgets what was written to fakes that are no longer there or have another value now.
    pub fn retain(&mut self, rules: &[Rule]) {
        let mut standing: HashMap<&str, &str> = HashMap::new();
        for rule in rules {
            if let Action::File { path, value, access: Access::ReadWrite } = &rule.action {
                standing.entry(path).or_insert(value);
            }
        }
        self.written.retain(|path, fake| standing.get(path.as_str()) == Some(&fake.base.as_str()));
    }

    /// What a reader gets now.
    pub fn value(&mut self, path: &str, base: &str, tid: Tid) -> Vec<u8> {
        let Some(fake) = self.written.get_mut(path) else { return base.into() };
        let Some(written) = Scope::of(path).key(tid).and_then(|key| fake.scopes.get_mut(&key)) else {
            return base.into();
        };
        written.take();
        let Some(mut value) = written.value.clone() else { return base.into() };
        // A sysctl ends its line whether or not the writer did.
        if base.ends_with('\n') && !value.ends_with(b"\n") {
            value.push(b'\n');
        }
        value
    }

    /// Keeps a descriptor of a memfd that a tracee may write.
    pub fn add_writer(&mut self, path: &str, base: &str, tid: Tid, memfd: File) {
        let Some(key) = Scope::of(path).key(tid) else { return };
        if self.scopes().map(|written| written.writers.len()).sum::<usize>() >= MAX_ALL_WRITERS {
            let oldest =
                |written: &&mut Written| written.writers.front().map_or(u64::MAX, |writer| writer.number);
            if let Some(written) = self.scopes().min_by_key(oldest) {
                written.retire_oldest();
            }
        }
        self.added += 1;
        let number = self.added;
        let fake = self
            .written
            .entry(path.to_owned())
            .or_insert_with(|| Fake { base: base.to_owned(), scopes: HashMap::new() });
        if fake.scopes.len() >= MAX_SCOPES && !fake.scopes.contains_key(&key) {
            return;
        }
        let written = fake.scopes.entry(key).or_default();
        if written.writers.len() >= MAX_WRITERS {
            written.retire_oldest();
        }
        let seen = content(&memfd);
        written.writers.push_back(Writer { number, memfd, seen });
    }

    /// Lets go of descriptors with more behind them than any value has. That memory would be there for as long as we keep
    /// them, also when the container is gone whose limit it counted against.
    pub fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|last| now.duration_since(last) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        let let_go: Vec<Writer> = self.scopes().flat_map(Written::sweep).collect();
        if !let_go.is_empty() {
            // To free so much takes time. Where no thread can be had, it is freed here.
            let _ = std::thread::Builder::new().spawn(move || drop(let_go));
        }
    }

    fn scopes(&mut self) -> impl Iterator<Item = &mut Written> {
        self.written.values_mut().flat_map(|fake| fake.scopes.values_mut())
    }
}

impl Writer {
    fn holds_too_much(&self) -> bool {
        let held = |found: std::fs::Metadata| {
            found.len() > MAX_VALUE_BYTES as u64 || found.blocks() * 512 > MAX_HELD_BYTES
        };
        self.memfd.metadata().is_ok_and(held)
    }
}

impl Written {
    /// Lets go of the oldest writer, whose later writes nobody sees.
    fn retire_oldest(&mut self) {
        self.take();
        self.writers.pop_front();
    }

    /// Takes out the writers that hold too much, once their value is known.
    fn sweep(&mut self) -> Vec<Writer> {
        if !self.writers.iter().any(Writer::holds_too_much) {
            return Vec::new();
        }
        self.take();
        let (too_much, kept): (Vec<_>, Vec<_>) = self.writers.drain(..).partition(Writer::holds_too_much);
        self.writers = kept.into();
        too_much
    }

    /// Takes the newest value that any writer has left since the last look.
    fn take(&mut self) {
        let mut newest: Option<((i64, i64), Vec<u8>)> = None;
        for writer in &mut self.writers {
            let now = content(&writer.memfd);
            if now == writer.seen {
                continue;
            }
            writer.seen.clone_from(&now);
            let written_at =
                writer.memfd.metadata().map(|found| (found.mtime(), found.mtime_nsec())).unwrap_or_default();
            if newest.as_ref().is_none_or(|(best, _)| *best <= written_at) {
                newest = Some((written_at, now));
            }
        }
        // Truncation alone, as O_TRUNC does it, is not a value: sysctls ignore it too.
        if let Some((_, value)) = newest.filter(|(_, value)| !value.is_empty()) {
            self.value = Some(value);
        }
    }
}

fn content(memfd: &File) -> Vec<u8> {
    let len = memfd.metadata().map_or(0, |found| found.len());
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_VALUE_BYTES);
    let mut value = vec![0; len];
    let read = memfd.read_at(&mut value, 0).unwrap_or(0);
    value.truncate(read);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared::sealed_memfd;

    const PATH: &str = "/proc/sys/kernel/panic";

    fn me() -> Tid {
        std::process::id() as Tid
    }

    fn memfd() -> (File, File) {
        let file = File::from(sealed_memfd("test", 4).unwrap());
        (file.try_clone().unwrap(), file)
    }

    fn rule(value: &str) -> Rule {
        let action = Action::File { path: PATH.into(), value: value.into(), access: Access::ReadWrite };
        Rule { source: "test".into(), action }
    }

    #[test]
    fn scopes_are_those_of_the_kernel() {
        assert_eq!(Scope::of("/proc/sys/net/ipv4/ip_forward"), Scope::Network);
        assert_eq!(Scope::of("/proc/sys/kernel/shmmax"), Scope::Ipc);
        assert_eq!(Scope::of("/proc/sys/kernel/panic"), Scope::Node);
    }

    #[test]
    fn a_written_value_is_read_until_the_rule_changes() {
        let mut store = Store::default();
        let (theirs, ours) = memfd();
        store.add_writer(PATH, "10\n", me(), ours);
        assert_eq!(store.value(PATH, "10\n", me()), b"10\n");
        theirs.write_at(b"20\n\n", 0).unwrap();
        assert_eq!(store.value(PATH, "10\n", me()), b"20\n\n");
        store.retain(&[rule("10\n")]);
        assert_eq!(store.value(PATH, "10\n", me()), b"20\n\n");
        store.retain(&[rule("30\n")]);
        assert_eq!(store.value(PATH, "30\n", me()), b"30\n");
    }

    #[test]
    fn a_writer_that_holds_more_than_a_value_is_let_go() {
        let mut store = Store::default();
        let (name, flags) = (c"test", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
        let large = File::from(nix::sys::memfd::memfd_create(name, flags).unwrap());
        store.add_writer(PATH, "10\n", me(), large.try_clone().unwrap());
        store.add_writer(PATH, "10\n", me(), memfd().1);
        let kept = |store: &Store| store.written[PATH].scopes[""].writers.len();
        let start = Instant::now();
        store.sweep(start);
        assert_eq!(kept(&store), 2);
        large.write_all_at(&vec![b'x'; MAX_VALUE_BYTES + 1], 0).unwrap();
        store.sweep(start);
        assert_eq!(kept(&store), 2, "looked again at once");
        store.sweep(start + SWEEP);
        assert_eq!(kept(&store), 1);
        assert_eq!(store.value(PATH, "10", me()).len(), MAX_VALUE_BYTES);
    }

    #[test]
    fn writers_are_bounded() {
        let mut store = Store::default();
        for _ in 0..100 {
            store.add_writer(PATH, "10\n", me(), memfd().1);
        }
        assert!(store.written[PATH].scopes[""].writers.len() <= MAX_WRITERS);
        for fake in 0..100 {
            for _ in 0..10 {
                store.add_writer(&format!("/proc/sys/kernel/{fake}"), "10\n", me(), memfd().1);
            }
        }
        assert_eq!(store.scopes().map(|written| written.writers.len()).sum::<usize>(), MAX_ALL_WRITERS);
        let kept = store.written["/proc/sys/kernel/99"].scopes[""].writers.len();
        assert_eq!(kept, 10, "the newest were let go");
    }
}
