//! A watch over questions about tracees: of one that the kernel never answers, the tracee is killed, which ends it.
//!
//! In gVisor (`getMountpointAt` in `pkg/sentry/vfs/mount.go`, both generations) the path of a descriptor is sought for ever when a
//! mount on its way had its mount point removed from another mount namespace: `hack/experiments/endless-path`. So has a
//! container whose directory is removed while it is being made; and any program can bring it about.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, gettid};

use super::path;
use crate::sys::ptrace::Tid;

/// CPU time within one question, which takes microseconds where it ends. Not time by the clock: we may be stopped, or starved.
/// gVisor counts waiting for a lock of its own as CPU time (`task_sched.go`), and its locks on names are held while a large file is
/// copied for a rename: much longer than that.
const ENDLESS: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(1);
/// What does not end with these is not ended by more.
const KILLS: u32 = 3;

/// What one of our threads asks just now.
#[derive(Debug)]
struct Slot {
    thread: Pid,
    /// Of all its questions, the number of the last.
    question: AtomicU64,
    /// The tracee that it is about; 0 once it is answered.
    about: AtomicI32,
}

static SLOTS: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Arc<Slot> = Slot::listed();
}

/// Asks the kernel about a tracee, under watch. Not to be nested.
pub fn ask<T>(tid: Tid, question: impl FnOnce() -> T) -> T {
    OWN.with(|slot| {
        let _answered = slot.begin(tid);
        question()
    })
}

/// Starts the watch, once for the process.
pub fn watch() -> io::Result<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        thread::Builder::new().name("watch".into()).stack_size(128 << 10).spawn(|| {
            let mut watch = Watch::default();
            loop {
                thread::sleep(EVERY);
                watch.look();
            }
        })?;
        *started = true;
    }
    Ok(())
}

struct Answered<'a>(&'a Slot);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.0.about.store(0, Ordering::Release);
    }
}

impl Slot {
    fn listed() -> Arc<Self> {
        let slot = Arc::new(Self { thread: gettid(), question: AtomicU64::new(0), about: AtomicI32::new(0) });
        let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(&slot));
        slot
    }

    fn begin(&self, tid: Tid) -> Answered<'_> {
        self.question.fetch_add(1, Ordering::Relaxed);
        self.about.store(tid, Ordering::Release);
        Answered(self)
    }

    /// The number of the question that is open, and the tracee that it is about.
    fn open(&self) -> Option<(u64, Tid)> {
        let about = self.about.load(Ordering::Acquire);
        (about != 0).then(|| (self.question.load(Ordering::Relaxed), about))
    }
}

/// What was seen before, by thread.
#[derive(Debug, Default)]
struct Watch(HashMap<Pid, Seen>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    question: u64,
    /// When the tracee was started, by which a later holder of its number is told.
    tracee: Option<u64>,
    /// Of the asking thread, then.
    cpu: Duration,
    kills: u32,
}

impl Watch {
    fn look(&mut self) {
        // Where names cannot be looked up just now, other questions wait as this one did.
        let begin = Instant::now();
        let _ = fs::metadata("/proc/self/stat");
        if begin.elapsed() > EVERY {
            self.0.clear();
        }
        let slots: Vec<_> = {
            let slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
            slots.iter().filter_map(Weak::upgrade).collect()
        };
        self.0.retain(|thread, _| slots.iter().any(|slot| slot.thread == *thread));
        for slot in slots {
            let Some((question, about)) = slot.open() else {
                self.0.remove(&slot.thread);
                continue;
            };
            let Some(cpu) = cpu_of(slot.thread) else { continue };
            let Some(seen) = self.is_endless(slot.thread, question, cpu, || started(about)) else { continue };
            // All that takes time comes before the last look.
            let (all, name) = (all_with(about), name(about));
            if slot.open() == Some((question, about)) && seen.tracee == started(about) {
                end(about, &name, &all);
            }
        }
    }

    /// What was seen first of a question that has been open for too long since, or since a kill.
    fn is_endless(
        &mut self,
        thread: Pid,
        question: u64,
        cpu: Duration,
        tracee: impl FnOnce() -> Option<u64>,
    ) -> Option<Seen> {
        match self.0.get_mut(&thread).filter(|seen| seen.question == question) {
            Some(seen) if cpu.saturating_sub(seen.cpu) < ENDLESS || seen.kills == KILLS => None,
            Some(seen) => {
                (seen.cpu, seen.kills) = (cpu, seen.kills + 1);
                Some(*seen)
            }
            None => {
                self.0.insert(thread, Seen { question, tracee: tracee(), cpu, kills: 0 });
                None
            }
        }
    }
}

/// The CPU time that one of our threads has taken.
fn cpu_of(thread: Pid) -> Option<Duration> {
    // As pthread_getcpuclockid(3) makes it: CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED.
    let clock = ClockId::from_raw((!thread.as_raw() << 3) | 6);
    clock_gettime(clock).ok().map(Duration::from)
}

/// When a thread was started, in ticks since the kernel was.
fn started(tid: Tid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    // The name in parentheses may contain anything; behind it this is the twentieth field.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn name(tid: Tid) -> String {
    fs::read_to_string(format!("/proc/{tid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// A thread, and the processes that share a pid or mount namespace with it which is not ours: those keep its mounts, and what a container
/// could repeat ends with it.
fn all_with(tid: Tid) -> HashSet<Tid> {
    let own = std::process::id() as Tid;
    let namespaces = ["pid", "mnt"].map(|kind| {
        let of = |tid: Tid| path::namespace(tid, kind);
        (kind, of(tid).filter(|found| of(own).is_some_and(|own| own != *found)))
    });
    let shares = |other: Tid| {
        let same = |(kind, theirs): &(&str, Option<String>)| {
            theirs.is_some() && path::namespace(other, kind) == *theirs
        };
        namespaces.iter().any(same)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<Tid>().ok());
    let mut all: HashSet<Tid> = numbers.filter(|other| shares(*other)).chain([tid]).collect();
    all.remove(&own);
    all
}

fn end(tid: Tid, name: &str, all: &HashSet<Tid>) {
    tracing::error!(
        tid,
        name,
        processes = all.len(),
        "killed: the kernel seeks the path of one of its descriptors for ever, and nobody else is served"
    );
    for tid in all {
        // It may be gone by itself.
        let _ = kill(Pid::from_raw(*tid), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_question_is_endless_by_its_own_cpu_time() {
        let (mut watch, thread) = (Watch::default(), Pid::from_raw(7));
        let mut at = |question, seconds| {
            let seen = watch.is_endless(thread, question, Duration::from_secs(seconds), || Some(question));
            seen.and_then(|seen| seen.tracee)
        };
        assert_eq!([at(1, 50), at(1, 59)], [None, None], "before it was seen first nothing counts");
        assert_eq!([at(2, 90), at(2, 99)], [None, None], "another one begins anew");
        assert_eq!([at(2, 100), at(2, 109), at(2, 110), at(2, 120)], [Some(2), None, Some(2), Some(2)]);
        assert_eq!(at(2, 200), None, "more kills do not help");
        assert_eq!([at(3, 201), at(3, 211)], [None, Some(3)]);
    }

    #[test]
    fn of_our_namespaces_nobody_goes_along() {
        let mut child = child();
        let tid = child.id() as Tid;
        assert_eq!(all_with(tid), HashSet::from([tid]));
        assert!(started(tid) >= started(std::process::id() as Tid), "a later one");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn of_other_namespaces_all_do() {
        let mut unshare = Command::new("unshare");
        // Neither ends by itself when the other one does.
        unshare.args(["--mount", "sh", "-c", "sleep 60 & echo $!; exec sleep 60"]).stdout(Stdio::piped());
        let mut shell = unshare.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let sleep: Tid = line.trim().parse().unwrap();
        let all = HashSet::from([shell.id() as Tid, sleep]);
        assert_eq!(all_with(sleep), all);
        end(sleep, "sleep", &all);
        assert_eq!(shell.wait().unwrap().signal(), Some(9));
    }

    fn child() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn of_an_endless_one_the_tracee_is_killed_and_of_one_that_waits_not() {
        let [mut spun_about, mut waited_about] = [child(), child()];
        let over = &AtomicBool::new(false);
        let [spin, wait] = [spun_about.id(), waited_about.id()].map(|pid| pid as Tid);
        watch().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                ask(spin, || while !over.load(Ordering::Relaxed) {});
            });
            scope.spawn(|| {
                ask(wait, || {
                    while !over.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            });
            let begin = Instant::now();
            let ended = loop {
                let ended = spun_about.try_wait().unwrap();
                if ended.is_some() || begin.elapsed() > Duration::from_secs(60) {
                    break ended;
                }
                thread::sleep(Duration::from_millis(10));
            };
            over.store(true, Ordering::Relaxed);
            assert_eq!(ended.and_then(|status| status.signal()), Some(9));
        });
        assert!(waited_about.try_wait().unwrap().is_none());
        waited_about.kill().unwrap();
        waited_about.wait().unwrap();
    }
}
