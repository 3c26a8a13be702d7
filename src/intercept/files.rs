//! The store of fake files: base values from the rules, run-time writes on top, per namespace where the kernel has them so.
//!
//! A writable open gets a memfd of which we keep a descriptor; its content is taken before the next reader is served.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use super::path;
use super::scopes::{self, Pin, Scope};
use crate::rules::bounds::MAX_VALUE_BYTES;
use crate::rules::model::{Access, Action, Rule};
use crate::sys::ptrace::Tid;

/// Writable descriptors kept per fake and scope; the oldest is retired beyond that.
const MAX_WRITERS: usize = 16;
/// Writable descriptors kept in all, well below the usual limit of 1024 per process.
const MAX_ALL_WRITERS: usize = 256;
/// Namespaces with run-time writes, each held by a descriptor; the one unused for longest is forgotten beyond that.
const MAX_NAMESPACES: usize = 256;
/// Memory beyond which a writable descriptor is let go: some kernels give the shortest file a huge page.
const MAX_HELD_BYTES: u64 = (2 << 20) + MAX_VALUE_BYTES as u64;
/// Time between two looks for what is to be let go.
const SWEEP: Duration = Duration::from_secs(1);

/// Everything written at run time.
#[derive(Debug, Default)]
pub struct Store {
    /// By namespace; that of the node has no name.
    places: HashMap<String, Place>,
    /// Counts writers and uses of places, so that the oldest is known.
    count: u64,
    swept: Option<Instant>,
}

#[derive(Debug, Default)]
struct Place {
    pin: Option<Pin>,
    used: u64,
    fakes: HashMap<String, Fake>,
}

#[derive(Debug, Default)]
struct Fake {
    /// The rule's own value, to notice that the rule has changed.
    base: String,
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
        for place in self.places.values_mut() {
            place.fakes.retain(|path, fake| standing.get(path.as_str()) == Some(&fake.base.as_str()));
        }
        self.places.retain(|_, place| !place.fakes.is_empty());
    }

    /// What a reader gets now.
    pub fn value(&mut self, path: &str, base: &str, tid: Tid) -> Vec<u8> {
        self.written(path, tid).map_or_else(
            || base.into(),
            |mut value| {
                // A sysctl ends its line whether or not the writer did.
                if base.ends_with('\n') && !value.ends_with(b"\n") {
                    value.push(b'\n');
                }
                value
            },
        )
    }

    fn written(&mut self, path: &str, tid: Tid) -> Option<Vec<u8>> {
        if self.places.is_empty() {
            return None;
        }
        let place = self.places.get_mut(&Scope::of(path).key(tid)?)?;
        self.count += 1;
        place.used = self.count;
        let fake = place.fakes.get_mut(path)?;
        fake.take();
        fake.value.clone()
    }

    /// Keeps a descriptor of a memfd that a tracee may write.
    pub fn add_writer(&mut self, path: &str, base: &str, tid: Tid, memfd: File) {
        let scope = Scope::of(path);
        let Some(key) = scope.key(tid) else { return };
        if !self.places.contains_key(&key) {
            match scope.pin(tid) {
                Ok(pin) => self.add_place(key.clone(), pin),
                Err(error) => return tracing::debug!(%error, path, "what is written here is not kept"),
            }
        }
        if self.fakes().map(|fake| fake.writers.len()).sum::<usize>() >= MAX_ALL_WRITERS {
            let oldest = |fake: &&mut Fake| fake.writers.front().map_or(u64::MAX, |writer| writer.number);
            if let Some(fake) = self.fakes().min_by_key(oldest) {
                fake.retire_oldest();
            }
        }
        self.count += 1;
        let place = self.places.entry(key).or_default();
        place.used = self.count;
        let fake = place
            .fakes
            .entry(path.to_owned())
            .or_insert_with(|| Fake { base: base.to_owned(), ..Fake::default() });
        if fake.writers.len() >= MAX_WRITERS {
            fake.retire_oldest();
        }
        let seen = content(&memfd);
        fake.writers.push_back(Writer { number: self.count, memfd, seen });
    }

    fn add_place(&mut self, key: String, pin: Option<Pin>) {
        if pin.is_some() && self.pins().count() >= MAX_NAMESPACES {
            let pinned = self.places.iter().filter(|(_, place)| place.pin.is_some());
            if let Some(oldest) = pinned.min_by_key(|(_, place)| place.used).map(|(key, _)| key.clone()) {
                tracing::debug!(
                    namespace = oldest,
                    "too many namespaces with values of their own; one starts anew"
                );
                self.places.remove(&oldest);
            }
        }
        self.places.insert(key, Place { pin, ..Place::default() });
    }

    /// Now and then lets go of what must not be held for long: descriptors with more behind them than any value has, whose
    /// memory would outlive the container against whose limit it counted; and namespaces in which no tracee lives any more,
    /// with what was written there.
    pub fn sweep(&mut self, tracees: &HashSet<Tid>, now: Instant) {
        if self.places.is_empty() || self.swept.is_some_and(|last| now.duration_since(last) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        let let_go: Vec<Writer> = self.fakes().flat_map(Fake::sweep).collect();
        if !let_go.is_empty() {
            // To free so much takes time. Where no thread can be had, it is freed here.
            let _ = std::thread::Builder::new().spawn(move || drop(let_go));
        }
        if self.pins().next().is_some() {
            scopes::look(self.pins(), tracees, path::namespace);
            self.places.retain(|_, place| place.pin.as_ref().is_none_or(|pin| !pin.is_over()));
        }
    }

    /// No tracee is left, so there may be no further call to sweep at.
    pub fn release(&mut self) {
        self.places.retain(|_, place| place.pin.is_none());
    }

    fn pins(&mut self) -> impl Iterator<Item = (&String, &mut Pin)> {
        self.places.iter_mut().filter_map(|(key, place)| Some((key, place.pin.as_mut()?)))
    }

    fn fakes(&mut self) -> impl Iterator<Item = &mut Fake> {
        self.places.values_mut().flat_map(|place| place.fakes.values_mut())
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

impl Fake {
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
        let kept = |store: &Store| store.places[""].fakes[PATH].writers.len();
        let (start, tracees) = (Instant::now(), HashSet::new());
        store.sweep(&tracees, start);
        assert_eq!(kept(&store), 2);
        large.write_all_at(&vec![b'x'; MAX_VALUE_BYTES + 1], 0).unwrap();
        store.sweep(&tracees, start);
        assert_eq!(kept(&store), 2, "looked again at once");
        store.sweep(&tracees, start + SWEEP);
        assert_eq!(kept(&store), 1);
        assert_eq!(store.value(PATH, "10", me()).len(), MAX_VALUE_BYTES);
    }

    #[test]
    fn writers_are_bounded() {
        let mut store = Store::default();
        for _ in 0..100 {
            store.add_writer(PATH, "10\n", me(), memfd().1);
        }
        assert!(store.places[""].fakes[PATH].writers.len() <= MAX_WRITERS);
        for fake in 0..100 {
            for _ in 0..10 {
                store.add_writer(&format!("/proc/sys/kernel/{fake}"), "10\n", me(), memfd().1);
            }
        }
        assert_eq!(store.fakes().map(|fake| fake.writers.len()).sum::<usize>(), MAX_ALL_WRITERS);
        let kept = store.places[""].fakes["/proc/sys/kernel/99"].writers.len();
        assert_eq!(kept, 10, "the newest were let go");
    }

    const NET: &str = "/proc/sys/net/x";

    /// A store with a value for the network namespace of this process.
    fn with_a_namespace() -> Store {
        let mut store = Store::default();
        let (theirs, ours) = memfd();
        store.add_writer(NET, "10\n", me(), ours);
        theirs.write_at(b"20\n\n", 0).unwrap();
        assert_eq!(store.value(NET, "10\n", me()), b"20\n\n");
        store
    }

    #[test]
    fn a_namespace_is_held_open_until_its_last_tracee_is_gone() {
        let mut store = with_a_namespace();
        store.add_writer(PATH, "10\n", me(), memfd().1);
        let start = Instant::now();
        store.sweep(&HashSet::from([me()]), start);
        for now in [start + SWEEP, start + SWEEP] {
            store.sweep(&HashSet::new(), now);
            assert_eq!(store.pins().count(), 1, "looked twice at once");
        }
        store.sweep(&HashSet::new(), start + 2 * SWEEP);
        assert_eq!(
            store.places.keys().collect::<Vec<_>>(),
            [""],
            "the node's values stay, the namespace's go"
        );
        assert_eq!(store.value(NET, "10\n", me()), b"10\n");
    }

    #[test]
    fn a_namespace_is_let_go_with_the_last_rule_and_the_last_tracee() {
        let mut store = with_a_namespace();
        store.retain(&[rule("10\n")]);
        assert_eq!(store.pins().count(), 0);
        let mut store = with_a_namespace();
        store.release();
        assert_eq!(store.pins().count(), 0);
    }

    #[test]
    fn of_too_many_namespaces_the_one_unused_for_longest_is_forgotten() {
        let mut store = with_a_namespace();
        let used = Scope::Network.key(me()).unwrap();
        for number in 0..2 * MAX_NAMESPACES {
            store.add_place(format!("net:[{number}]"), Scope::Network.pin(me()).unwrap());
            // As a writer there makes it.
            store.count += 1;
            store.places.get_mut(&format!("net:[{number}]")).unwrap().used = store.count;
            assert_eq!(store.value(NET, "10\n", me()), b"20\n\n");
        }
        assert_eq!(store.pins().count(), MAX_NAMESPACES);
        assert!(store.places.contains_key(&used), "the one in use was forgotten");
        assert!(
            store.places.contains_key(&format!("net:[{}]", 2 * MAX_NAMESPACES - 1)),
            "the newest was not kept"
        );
    }
}
