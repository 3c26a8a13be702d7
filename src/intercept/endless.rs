//! A watch over questions about tracees: of one that the kernel never answers, the tracee is killed, which ends it.
//!
//! In gVisor (`getMountpointAt` in `pkg/sentry/vfs/mount.go`, both generations) the path of a descriptor is sought for ever when a
//! mount on its way had its mount point removed from another mount namespace: `hack/experiments/endless-path`. So has a
//! container whose directory is removed while it is being made; and any program can bring it about.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, gettid};

use super::path;
use crate::sys::ptrace::Tid;

/// CPU time within one question, which takes microseconds where it ends. Not time by the clock: we may be stopped, or starved.
const ENDLESS: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(1);

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

/// Asks the kernel about a tracee, under watch.
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
    /// Of the asking thread, then.
    cpu: Duration,
}

impl Watch {
    fn look(&mut self) {
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
            if self.is_endless(slot.thread, question, || cpu_of(slot.thread))
                && slot.open() == Some((question, about))
            {
                end(about);
            }
        }
    }

    /// Whether this is a question that has been open for long enough, since it was first seen or last said to be endless.
    fn is_endless(&mut self, thread: Pid, question: u64, cpu: impl FnOnce() -> Option<Duration>) -> bool {
        let Some(cpu) = cpu() else { return false };
        let seen = Seen { question, cpu };
        let before = *self.0.entry(thread).or_insert(seen);
        let same = before.question == question;
        let endless = same && cpu.saturating_sub(before.cpu) >= ENDLESS;
        if endless || !same {
            self.0.insert(thread, seen);
        }
        endless
    }
}

/// The CPU time that one of our threads has taken.
fn cpu_of(thread: Pid) -> Option<Duration> {
    // As pthread_getcpuclockid(3) makes it: CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED.
    let clock = ClockId::from_raw((!thread.as_raw() << 3) | 6);
    clock_gettime(clock).ok().map(Duration::from)
}

/// Kills a tracee, and all in its pid namespace if that is not ours: what a container could repeat ends with it.
fn end(tid: Tid) {
    if tid == std::process::id() as Tid {
        return;
    }
    let name = fs::read_to_string(format!("/proc/{tid}/comm")).unwrap_or_default();
    let namespace = |tid: Tid| path::namespace(tid, "pid");
    let own = namespace(std::process::id() as Tid);
    let contained = namespace(tid).filter(|found| own.is_some() && own.as_ref() != Some(found));
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<Tid>().ok());
    let others = numbers.filter(|other| contained.is_some() && namespace(*other) == contained);
    let all: Vec<Tid> = others.filter(|other| *other != tid).chain([tid]).collect();
    tracing::error!(
        tid,
        name = name.trim_end(),
        processes = all.len(),
        "killed: the kernel seeks the path of one of its descriptors for ever, and nothing else would be served"
    );
    for tid in all {
        // It may be gone by itself.
        let _ = kill(Pid::from_raw(tid), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_question_is_endless_by_its_own_cpu_time() {
        let (mut watch, thread) = (Watch::default(), Pid::from_raw(7));
        let mut at =
            |question, millis| watch.is_endless(thread, question, || Some(Duration::from_millis(millis)));
        assert!(!at(1, 5_000) && !at(1, 5_999), "before it was seen first nothing counts");
        assert!(!at(2, 9_000) && !at(2, 9_999), "another one begins anew");
        assert!(at(2, 10_000) && !at(2, 10_500) && at(2, 11_000));
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
