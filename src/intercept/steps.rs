//! The states of a call that takes more than one stop, and what follows in each.
//!
//! | call | stops after the first |
//! |---|---|
//! | fake opened | exit of `memfd_create`; with O_APPEND or O_NONBLOCK, exit of `fcntl` |
//! | redirect | exit of `mmap`, the call again with the new path, its exit, exit of `munmap` |
//! | statfs under a filesystem rule | exit |

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use super::Backend;
use super::call::{self, Call};
use super::memory::{Done, Job};
use super::tracer::Tracer;
use crate::rules::observed::Scalar;
use crate::sys::ptrace::{self, Registers, Tid};
use crate::sys::shared;

/// Bytes mapped for a rewritten path; a path is never longer.
pub(super) const SCRATCH: u64 = 4096;

/// A thread between two stops of one call.
pub(super) struct Pending {
    /// Registers at the call's first stop.
    pub saved: Registers,
    /// Entry stops still to come before the exit that is waited for.
    pub entries: u8,
    /// What the next exit is of.
    pub step: Step,
}

/// The exit that is waited for.
pub(super) enum Step {
    /// memfd_create in place of open.
    Fill(Fill),
    /// fcntl(F_SETFL) on the new memfd.
    Flags { fd: i64 },
    /// mmap of the scratch page.
    Map { call: Call, path: Vec<u8> },
    /// The call with its new path; its own stop comes first.
    Rewritten { scratch: u64, entered: bool },
    /// munmap of the scratch page.
    Unmap { result: i64 },
    /// statfs or fstatfs itself.
    Type { patch: Job },
}

/// How the new memfd is made into the fake.
pub(super) struct Fill {
    pub content: Vec<u8>,
    pub mode: u32,
    pub status_flags: u64,
    /// Path and base value of the rule, if what is written is to be taken.
    pub writer: Option<(String, String)>,
}

/// A call that a tracee is made to run.
pub(super) struct Injection {
    number: u64,
    args: [u64; 6],
    /// It is the tracee's own call, which the filter stops once more.
    own: bool,
}

/// What follows a job on tracee memory.
pub(super) enum Parked {
    /// The path of a trapped call was read.
    Decide { regs: Registers, call: Call },
    /// An answer was written; `regs` return it, or EFAULT.
    Answered { regs: Registers },
    /// The new path was written to the scratch page.
    PathWritten { saved: Registers, call: Call, scratch: u64 },
    /// A call is to be made at the instruction that was looked for.
    Inject { saved: Registers, injection: Injection, step: Step },
    /// The exit's result was patched; run on.
    Run,
}

impl Pending {
    /// Whether the next stop is the tracee's own call, started again by us.
    pub fn awaits_own_call(&self) -> bool {
        matches!(self.step, Step::Rewritten { entered: false, .. })
    }
}

impl Tracer {
    /// Replaces the call and waits for the exit of what runs instead.
    pub(super) fn await_exit(&mut self, tid: Tid, regs: &Registers, saved: Registers, step: Step) {
        self.observed.bump(Scalar::ExitStops);
        let entries = self.entries_after_call();
        self.pending.insert(tid, Pending { saved, entries, step });
        self.resume_with(tid, regs);
    }

    /// At an exit stop: starts another call and waits for its exit.
    fn inject(&mut self, tid: Tid, saved: Registers, injection: Injection, step: Step) {
        self.perform(tid, Job::Site { after: saved.rip }, Parked::Inject { saved, injection, step });
    }

    fn injected(&mut self, tid: Tid, saved: Registers, site: u64, injection: &Injection, step: Step) {
        let regs = call::again(&saved, call::abi(&saved), site, injection.number, injection.args);
        // The tracee's own call is stopped by the filter first, unless everything stops anyway.
        let runs_to_filter = injection.own && self.backend == Backend::SeccompTrace;
        self.pending.insert(tid, Pending { saved, entries: u8::from(!runs_to_filter), step });
        match ptrace::set_registers(tid, &regs) {
            Ok(()) if runs_to_filter => self.tolerate(ptrace::cont(tid, 0)),
            Ok(()) => self.tolerate(ptrace::cont_to_syscall(tid, 0)),
            Err(error) => self.tolerate(Err(error)),
        }
    }

    /// No instruction to make a call with: the step ends as well as it can.
    fn not_injected(&mut self, tid: Tid, saved: Registers, step: Step) {
        tracing::warn!(tid, "no system call instruction found in a tracee");
        let result = match step {
            Step::Flags { fd } => fd,
            Step::Unmap { result } => result,
            _ => -i64::from(libc::EFAULT),
        };
        self.resume_with(tid, &call::finished(&saved, result));
    }

    fn entries_after_call(&self) -> u8 {
        u8::from(self.backend == Backend::SeccompTrace && self.probe.entry_stop_follows_seccomp)
    }

    /// The restarted call has reached its seccomp stop: let it run, its path is ours.
    pub(super) fn enter_rewritten(&mut self, tid: Tid) {
        let entries = self.entries_after_call();
        if let Some(pending) = self.pending.get_mut(&tid) {
            pending.entries = entries;
            if let Step::Rewritten { entered, .. } = &mut pending.step {
                *entered = true;
            }
        }
        self.tolerate(ptrace::cont_to_syscall(tid, 0));
    }

    /// The exit that was waited for.
    pub(super) fn exit_stop(&mut self, tid: Tid, pending: Pending, regs: &Registers) {
        let Pending { saved, step, .. } = pending;
        let result = call::result(regs);
        match step {
            Step::Fill(fill) => self.fill(tid, saved, fill, result),
            Step::Flags { fd } => self.resume_with(tid, &call::finished(&saved, fd)),
            Step::Map { call, path } => {
                if (-4095..0).contains(&result) {
                    return self.resume_with(tid, &call::finished(&saved, result));
                }
                let scratch = result as u64;
                let bytes = [path, vec![0]].concat();
                self.perform(
                    tid,
                    Job::Write { at: scratch, bytes },
                    Parked::PathWritten { saved, call, scratch },
                );
            }
            Step::Rewritten { scratch, .. } => {
                let abi = call::abi(&saved);
                let (number, args) = (abi.injected().munmap, [scratch, SCRATCH, 0, 0, 0, 0]);
                self.inject(tid, saved, Injection { number, args, own: false }, Step::Unmap { result });
            }
            Step::Unmap { result } => self.resume_with(tid, &call::finished(&saved, result)),
            Step::Type { patch } if result == 0 => self.perform(tid, patch, Parked::Run),
            Step::Type { .. } => self.resume(tid, 0),
        }
    }

    /// Goes on after a job on tracee memory.
    pub(super) fn proceed(&mut self, tid: Tid, parked: Parked, done: Done) {
        match (parked, done) {
            (Parked::Decide { regs, call }, Done::Inputs(path, how)) => {
                self.decide(tid, regs, call, path, how)
            }
            (Parked::Answered { regs }, Done::Reached(true)) => self.resume_with(tid, &regs),
            (Parked::Answered { regs }, _) => {
                self.resume_with(tid, &call::skipped(&regs, -i64::from(libc::EFAULT)));
            }
            (Parked::PathWritten { saved, call, scratch }, _) => {
                self.run_rewritten(tid, saved, &call, scratch);
            }
            (Parked::Inject { saved, injection, step }, Done::Site(Some(site))) => {
                self.injected(tid, saved, site, &injection, step);
            }
            (Parked::Inject { saved, step, .. }, _) => self.not_injected(tid, saved, step),
            (Parked::Run | Parked::Decide { .. }, _) => self.resume(tid, 0),
        }
    }

    fn run_rewritten(&mut self, tid: Tid, saved: Registers, call: &Call, scratch: u64) {
        let mut args = call.args;
        if let Some(slot) = call.syscall.path.and_then(|index| args.get_mut(index)) {
            *slot = scratch;
        }
        let injection = Injection { number: saved.orig_rax, args, own: true };
        // Where everything is traced the call's entry stop is of the injected kind.
        let step = Step::Rewritten { scratch, entered: self.backend == Backend::PtraceSyscall };
        self.inject(tid, saved, injection, step);
    }

    fn fill(&mut self, tid: Tid, saved: Registers, fill: Fill, fd: i64) {
        if fd < 0 {
            return self.resume_with(tid, &call::finished(&saved, fd));
        }
        match self.fill_memfd(tid, fd, &fill) {
            Ok(memfd) => {
                if let Some((path, base)) = fill.writer {
                    self.files.add_writer(&path, &base, tid, memfd);
                }
            }
            Err(error) => tracing::warn!(%error, "a fake file could not be filled"),
        }
        if fill.status_flags == 0 {
            return self.resume_with(tid, &call::finished(&saved, fd));
        }
        let abi = call::abi(&saved);
        let args = [fd as u64, libc::F_SETFL as u64, fill.status_flags, 0, 0, 0];
        let injection = Injection { number: abi.injected().fcntl, args, own: false };
        self.inject(tid, saved, injection, Step::Flags { fd });
    }

    /// Opens the tracee's new descriptor and writes the fake into it.
    ///
    /// Another thread of the tracee may have put something else in its place, whose open could block or act; so it is
    /// taken by O_PATH, which does neither, and opened only when it lies on the device of memfds.
    fn fill_memfd(&self, tid: Tid, fd: i64, fill: &Fill) -> std::io::Result<File> {
        let handle = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(format!("/proc/{tid}/fd/{fd}"))?;
        if handle.metadata()?.dev() != self.memfd_device {
            return Err(std::io::Error::other("the descriptor is not the memfd that was made"));
        }
        let memfd =
            File::options().read(true).write(true).open(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
        // pwrite: in gVisor the offset is shared with the tracee's descriptor.
        memfd.write_all_at(&fill.content, 0)?;
        memfd.set_permissions(std::fs::Permissions::from_mode(fill.mode))?;
        if fill.writer.is_none() {
            let all = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
            shared::seal(&memfd, all)?;
        }
        Ok(memfd)
    }
}
