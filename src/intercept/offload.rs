//! Threads that touch tracee memory on the tracer's behalf once a FUSE server may be among the tracees.
//!
//! A job may wait for as long as such a server pleases, and the server's own calls need jobs too, so the pool has no
//! upper bound but the number of stopped threads: a bounded one would deadlock when every worker waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::memory::{Access, Done, Job};
use crate::sys::ptrace::Tid;

/// Idle workers that are kept.
const KEEP: usize = 2;

type Work = (Tid, u64, Job);

/// The pool.
#[derive(Debug)]
pub struct Offload {
    access: Access,
    bell: Arc<EventFd>,
    done: Receiver<(Tid, u64, Done)>,
    report: Sender<(Tid, u64, Done)>,
    idle: Arc<Mutex<Vec<Sender<Work>>>>,
}

impl Offload {
    /// An empty pool.
    pub fn new(access: Access) -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let (report, done) = channel();
        Ok(Self { access, bell: Arc::new(bell), done, report, idle: Arc::default() })
    }

    /// Readable when a job is done.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Hands a job out. `token` comes back with its result.
    pub fn submit(&self, tid: Tid, token: u64, job: Job) -> io::Result<()> {
        let mut work = (tid, token, job);
        while let Some(worker) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            match worker.send(work) {
                Ok(()) => return Ok(()),
                Err(gone) => work = gone.0,
            }
        }
        let (access, bell, report, idle) =
            (self.access, self.bell.clone(), self.report.clone(), self.idle.clone());
        thread::Builder::new().name("memory".into()).stack_size(128 << 10).spawn(move || {
            let (sender, inbox) = channel();
            let mut next = Some(work);
            while let Some((tid, token, job)) = next {
                let done = job.run(access, tid);
                if report.send((tid, token, done)).is_err() {
                    return;
                }
                // Listed as idle before the tracer is woken, so that its next job finds this worker.
                let keep = {
                    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                    let keep = idle.len() < KEEP;
                    if keep {
                        idle.push(sender.clone());
                    }
                    keep
                };
                // A full counter means that the tracer is about to look anyway.
                let _ = bell.write(1);
                next = if keep { inbox.recv().ok() } else { None };
            }
        })?;
        Ok(())
    }

    /// The results so far.
    pub fn finished(&self) -> Vec<(Tid, u64, Done)> {
        // EAGAIN: nobody rang since.
        let _ = self.bell.read();
        self.done.try_iter().collect()
    }
}
