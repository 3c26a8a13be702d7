//! The states of a call that takes more than one stop, and what follows in each.
//!
//! | call | stops after the first |
//! |---|---|
//! | fake opened | exit of `memfd_create`; with O_APPEND or O_NONBLOCK, exit of `fcntl`; if it failed, exit of `close` |
//! | redirect | exit of `mmap`, the call again, its exit, exit of `munmap` |
//! | statfs under a filesystem rule, stat of a procfs root; umount2 | exit |

use super::Backend;
use super::call::{self, Call};
use super::fill::Fake;
use super::memory::{Done, Job};
use super::tracer::Tracer;
use crate::rules::observed::Scalar;
use crate::sys::ptrace::{self, Registers, Tid};

/// A thread between two stops of one call.
pub(super) struct Pending {
    /// Registers at the call's first stop.
    pub saved: Registers,
    /// Entry stops still to come before the exit that is waited for.
    pub entries: u8,
    /// What the next exit is of.
    pub step: Step,
    /// The signal mask to restore, while signals are held off an injected call.
    pub held: Option<u64>,
}

/// The exit that is waited for.
pub(super) enum Step {
    /// memfd_create in place of open.
    Fill(Fill),
    /// fcntl(F_SETFL) on the new memfd.
    Flags { fd: i64 },
    /// close of the new memfd, since the open fails.
    Close { errno: i32 },
    /// mmap of the scratch page.
    Map,
    /// The call with its new path.
    Rewritten,
    /// munmap of the scratch page.
    Unmap { result: i64 },
    /// The call itself, whose answer is then corrected: statfs and fstatfs, stat of a procfs root.
    Patch { patch: Job },
    /// umount2 itself.
    Unmount,
}

impl Step {
    /// What the call returns if the step cannot be taken.
    fn result(&self) -> i64 {
        match self {
            Self::Flags { fd } => *fd,
            Self::Close { errno } => -i64::from(*errno),
            Self::Unmap { result } => *result,
            _ => -i64::from(libc::EFAULT),
        }
    }

    /// The call that runs is one of ours, made after the program's own.
    pub(super) fn injected(&self) -> bool {
        matches!(self, Self::Flags { .. } | Self::Close { .. } | Self::Unmap { .. })
    }

    /// Whether signals wait for its call. A scratch page can as well be unmapped another time.
    fn holds_signals(&self) -> bool {
        self.injected() && !matches!(self, Self::Unmap { .. })
    }
}

/// How the new memfd is made into the fake.
pub(super) struct Fill {
    pub fake: Fake,
    pub then: Opened,
}

/// What follows once it is.
pub(super) struct Opened {
    pub status_flags: u64,
    /// Path and base value of the rule, if what is written is to be taken.
    pub writer: Option<(String, String)>,
}

/// A call that a tracee is made to run.
pub(super) struct Injection {
    pub number: u64,
    pub args: [u64; 6],
}

/// What follows a job on tracee memory.
pub(super) enum Parked {
    /// The path of a trapped call was read.
    Decide { regs: Registers, call: Call },
    /// Whether the descriptor is of a procfs root was asked.
    ProcfsRoot { regs: Registers, patch: Job },
    /// Whether the kernel would unmount what was asked for.
    Unmount { regs: Registers },
    /// An answer was written; `regs` return it, or EFAULT.
    Answered { regs: Registers },
    /// The memfd at `fd` was filled, or not.
    Filled { saved: Registers, fd: i64, then: Opened },
    /// The new path was written to the scratch page.
    PathWritten { saved: Registers, call: Call, scratch: u64 },
    /// A call is to be made at the instruction that was looked for.
    Inject { saved: Registers, injection: Injection, step: Step },
    /// CLONE_UNTRACED was cleared, or not.
    Stripped { regs: Registers },
    /// The exit's result was patched; run on.
    Run,
}

impl Tracer {
    /// Replaces the call and waits for the exit of what runs instead.
    pub(super) fn await_exit(&mut self, tid: Tid, regs: &Registers, saved: Registers, step: Step) {
        self.observed.bump(Scalar::ExitStops);
        let entries = self.entries_after_call();
        self.pending.insert(tid, Pending { saved, entries, step, held: None });
        self.resume_with(tid, regs);
    }

    /// At an exit stop: starts another call and waits for its exit.
    pub(super) fn inject(&mut self, tid: Tid, saved: Registers, injection: Injection, step: Step) {
        self.perform(tid, Job::Site { after: saved.rip }, Parked::Inject { saved, injection, step });
    }

    fn injected(&mut self, tid: Tid, saved: Registers, site: u64, injection: &Injection, step: Step) {
        let regs = call::again(&saved, call::abi(&saved), site, injection.number, injection.args);
        let held = if step.holds_signals() { ptrace::hold_signals(tid).ok() } else { None };
        self.pending.insert(tid, Pending { saved, entries: 1, step, held });
        self.resume_with(tid, &regs);
    }

    /// No instruction to make a call with: the step ends as well as it can.
    fn not_injected(&mut self, tid: Tid, saved: Registers, step: Step) {
        self.complain("a tracee has no system call instruction", &tid);
        self.resume_with(tid, &call::finished(&saved, step.result()));
    }

    /// A signal is about to be delivered. It must not find a thread on its way into an injected call: a handler would
    /// run in the midst of it. The call is given up: a scratch page is unmapped another time. (From the other calls
    /// signals are held off, but for SIGSTOP, which no handler gets, and a SIGSYS that somebody sends.)
    pub(super) fn give_up_injection(&mut self, tid: Tid, signal: i32) {
        let on_its_way = |pending: &Pending| pending.entries > 0 && pending.step.injected();
        if signal != libc::SIGSTOP
            && self.pending.get(&tid).is_some_and(on_its_way)
            && let Some(Pending { saved, step, held, .. }) = self.pending.remove(&tid)
        {
            self.let_signals_in(tid, held);
            self.set_registers(tid, &call::finished(&saved, step.result()));
        }
    }

    /// Ends what [`ptrace::hold_signals`] began.
    pub(super) fn let_signals_in(&mut self, tid: Tid, held: Option<u64>) {
        if let Some(mask) = held {
            self.tolerate(ptrace::set_signal_mask(tid, mask));
        }
    }

    /// An injected call was stopped before it ran: a filter of the program's own asks for a tracer, and it has none.
    pub(super) fn injected_refused(&mut self, tid: Tid, regs: &Registers) {
        if let Some(pending) = self.pending.get_mut(&tid) {
            // What is skipped has no entry of its own.
            pending.entries = 0;
        }
        self.resume_with(tid, &call::skipped(regs, -i64::from(libc::ENOSYS)));
    }

    fn entries_after_call(&self) -> u8 {
        u8::from(self.backend == Backend::SeccompTrace && self.probe.entry_stop_follows_seccomp)
    }

    /// The exit that was waited for.
    pub(super) fn exit_stop(&mut self, tid: Tid, pending: Pending, regs: &Registers) {
        let Pending { saved, step, held, .. } = pending;
        // No call moves the stack; an exec does.
        if regs.rsp != saved.rsp && ptrace::stands_at_exec(tid) {
            return;
        }
        self.let_signals_in(tid, held);
        let result = call::result(regs);
        match step {
            Step::Fill(fill) => self.fill(tid, saved, fill, result),
            Step::Flags { .. } | Step::Close { .. } => {
                self.resume_with(tid, &call::finished(&saved, step.result()));
            }
            Step::Map => self.mapped(tid, &saved, result),
            Step::Rewritten => self.redirect_done(tid, saved, result),
            Step::Unmap { result } => {
                self.scratch.remove(&tid);
                self.resume_with(tid, &call::finished(&saved, result));
            }
            Step::Patch { patch } if result == 0 => self.perform(tid, patch, Parked::Run),
            Step::Patch { .. } | Step::Unmount => self.resume(tid, 0),
        }
    }

    /// Goes on after a job on tracee memory.
    pub(super) fn proceed(&mut self, tid: Tid, parked: Parked, done: Done) {
        match (parked, done) {
            (Parked::Decide { regs, call }, Done::Inputs(path, how)) => {
                self.decide(tid, regs, call, path, how)
            }
            (Parked::ProcfsRoot { regs, patch }, Done::Reached(true)) => {
                self.await_exit(tid, &regs.clone(), regs, Step::Patch { patch });
            }
            (Parked::Unmount { regs }, done) => self.judged(tid, regs, !matches!(done, Done::Reached(false))),
            (Parked::Answered { regs }, Done::Reached(true)) => self.resume_with(tid, &regs),
            (Parked::Answered { regs }, _) => {
                self.resume_with(tid, &call::skipped(&regs, -i64::from(libc::EFAULT)));
            }
            (Parked::Filled { saved, fd, then }, Done::Filled(Ok(memfd))) => {
                if let Some((path, base)) = then.writer {
                    self.files.add_writer(&path, &base, tid, memfd);
                }
                self.opened(tid, saved, fd, then.status_flags);
            }
            (Parked::Filled { saved, fd, .. }, Done::Filled(Err(error))) => {
                self.complain("a fake file could not be filled", &error);
                self.not_opened(tid, saved, fd, &error);
            }
            (Parked::Filled { saved, fd, .. }, _) => {
                self.not_opened(tid, saved, fd, &std::io::ErrorKind::Other.into());
            }
            (Parked::PathWritten { saved, call, scratch }, done) => {
                self.path_written(tid, saved, call, scratch, matches!(done, Done::Reached(true)));
            }
            (Parked::Stripped { .. }, Done::Reached(true)) => self.resume(tid, 0),
            // Libraries fall back to clone(2), whose flags lie in a register.
            (Parked::Stripped { regs }, _) => {
                self.resume_with(tid, &call::skipped(&regs, -i64::from(libc::ENOSYS)));
            }
            (Parked::Inject { saved, injection, step }, Done::Site(Some(site))) => {
                self.injected(tid, saved, site, &injection, step);
            }
            (Parked::Inject { saved, step, .. }, _) => self.not_injected(tid, saved, step),
            (Parked::Run | Parked::Decide { .. } | Parked::ProcfsRoot { .. }, _) => self.resume(tid, 0),
        }
    }

    fn fill(&mut self, tid: Tid, saved: Registers, Fill { fake, then }: Fill, fd: i64) {
        if fd < 0 {
            return self.resume_with(tid, &call::finished(&saved, fd));
        }
        let job = Job::Fill { fd: fd as i32, fake, memfds: self.memfds.clone() };
        self.perform(tid, job, Parked::Filled { saved, fd, then });
    }

    /// The fake is open as `fd`. Its status flags the tracee sets itself: by now another thread of it may have put
    /// something else in its place, and to hold that for a moment is to close it, which can take for ever.
    fn opened(&mut self, tid: Tid, saved: Registers, fd: i64, status_flags: u64) {
        if status_flags == 0 {
            return self.resume_with(tid, &call::finished(&saved, fd));
        }
        let number = call::abi(&saved).injected().fcntl;
        let args = [fd as u64, libc::F_SETFL as u64, status_flags, 0, 0, 0];
        self.inject(tid, saved, Injection { number, args }, Step::Flags { fd });
    }

    /// The fake could not be made: an open that fails leaves no descriptor.
    fn not_opened(&mut self, tid: Tid, saved: Registers, fd: i64, error: &std::io::Error) {
        let errno = match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => libc::ENFILE,
            _ => libc::EIO,
        };
        let number = call::abi(&saved).injected().close;
        let injection = Injection { number, args: [fd as u64, 0, 0, 0, 0, 0] };
        self.inject(tid, saved, injection, Step::Close { errno });
    }
}
