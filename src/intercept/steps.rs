//! The states of a call that takes more than one stop, and what follows in each.
//!
//! | call | stops after the first |
//! |---|---|
//! | fake opened | exit of `memfd_create`; with O_APPEND or O_NONBLOCK, exit of `fcntl` |
//! | redirect | exit of `mmap`, the call again, its exit, exit of `munmap` |
//! | statfs under a filesystem rule, stat of a procfs root | exit |

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use super::Backend;
use super::call::{self, Call};
use super::memory::{Done, Job};
use super::path;
use super::tracer::Tracer;
use crate::rules::observed::Scalar;
use crate::sys::ptrace::{self, Registers, Tid};
use crate::sys::{process, shared};

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
    Map,
    /// The call with its new path.
    Rewritten,
    /// munmap of the scratch page.
    Unmap { result: i64 },
    /// The call itself, whose answer is then corrected: statfs and fstatfs, stat of a procfs root.
    Patch { patch: Job },
}

impl Step {
    /// What the call returns if the step cannot be taken.
    fn result(&self) -> i64 {
        match self {
            Self::Flags { fd } => *fd,
            Self::Unmap { result } => *result,
            _ => -i64::from(libc::EFAULT),
        }
    }
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
    pub number: u64,
    pub args: [u64; 6],
}

/// What follows a job on tracee memory.
pub(super) enum Parked {
    /// The path of a trapped call was read.
    Decide { regs: Registers, call: Call },
    /// Whether the descriptor is of a procfs root was asked.
    ProcfsRoot { regs: Registers, patch: Job },
    /// An answer was written; `regs` return it, or EFAULT.
    Answered { regs: Registers },
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
        self.pending.insert(tid, Pending { saved, entries, step });
        self.resume_with(tid, regs);
    }

    /// At an exit stop: starts another call and waits for its exit.
    pub(super) fn inject(&mut self, tid: Tid, saved: Registers, injection: Injection, step: Step) {
        self.perform(tid, Job::Site { after: saved.rip }, Parked::Inject { saved, injection, step });
    }

    fn injected(&mut self, tid: Tid, saved: Registers, site: u64, injection: &Injection, step: Step) {
        let regs = call::again(&saved, call::abi(&saved), site, injection.number, injection.args);
        self.pending.insert(tid, Pending { saved, entries: 1, step });
        self.resume_with(tid, &regs);
    }

    /// No instruction to make a call with: the step ends as well as it can.
    fn not_injected(&mut self, tid: Tid, saved: Registers, step: Step) {
        tracing::warn!(tid, "no system call instruction found in a tracee");
        self.resume_with(tid, &call::finished(&saved, step.result()));
    }

    /// A signal is about to be delivered. It must not find a thread on its way into an injected call: a handler would
    /// run in the midst of it. The call is given up: a scratch page is unmapped another time, flags are lost.
    pub(super) fn give_up_injection(&mut self, tid: Tid) {
        let on_its_way = |pending: &Pending| {
            pending.entries > 0 && matches!(pending.step, Step::Flags { .. } | Step::Unmap { .. })
        };
        if self.pending.get(&tid).is_some_and(on_its_way)
            && let Some(Pending { saved, step, .. }) = self.pending.remove(&tid)
        {
            self.tolerate(ptrace::set_registers(tid, &call::finished(&saved, step.result())));
        }
    }

    fn entries_after_call(&self) -> u8 {
        u8::from(self.backend == Backend::SeccompTrace && self.probe.entry_stop_follows_seccomp)
    }

    /// The exit that was waited for.
    pub(super) fn exit_stop(&mut self, tid: Tid, pending: Pending, regs: &Registers) {
        let Pending { saved, step, .. } = pending;
        let result = call::result(regs);
        match step {
            Step::Fill(fill) => self.fill(tid, saved, fill, result),
            Step::Flags { fd } => self.resume_with(tid, &call::finished(&saved, fd)),
            Step::Map => self.mapped(tid, &saved, result),
            Step::Rewritten => self.redirect_done(tid, saved, result),
            Step::Unmap { result } => {
                self.scratch.remove(&tid);
                self.resume_with(tid, &call::finished(&saved, result));
            }
            Step::Patch { patch } if result == 0 => self.perform(tid, patch, Parked::Run),
            Step::Patch { .. } => self.resume(tid, 0),
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
            (Parked::Answered { regs }, Done::Reached(true)) => self.resume_with(tid, &regs),
            (Parked::Answered { regs }, _) => {
                self.resume_with(tid, &call::skipped(&regs, -i64::from(libc::EFAULT)));
            }
            (Parked::PathWritten { saved, call, scratch }, done) => {
                self.path_written(tid, saved, call, scratch, done == Done::Reached(true));
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
        let set =
            fill.status_flags == 0 || process::set_status_flags(tid, fd as i32, fill.status_flags).is_ok();
        if set {
            return self.resume_with(tid, &call::finished(&saved, fd));
        }
        // A kernel without pidfd_getfd, such as gVisor's: the tracee sets them itself.
        let abi = call::abi(&saved);
        let args = [fd as u64, libc::F_SETFL as u64, fill.status_flags, 0, 0, 0];
        let injection = Injection { number: abi.injected().fcntl, args };
        self.inject(tid, saved, injection, Step::Flags { fd });
    }

    /// Opens the tracee's new descriptor and writes the fake into it.
    ///
    /// Another thread of the tracee may have put something else in its place, whose open could block or act; so it is
    /// taken by O_PATH, which does neither, and opened only when its name, mount and device are those of memfds. (The
    /// device last: asking an object of a FUSE filesystem for it could wait for a tracee, and its name can be made up.)
    fn fill_memfd(&self, tid: Tid, fd: i64, fill: &Fill) -> std::io::Result<File> {
        let handle = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(format!("/proc/{tid}/fd/{fd}"))?;
        let ours = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let named = std::fs::read_link(&ours)?.to_string_lossy().starts_with("/memfd:");
        let mounted = named && path::mount_of(&handle) == self.memfd_mount;
        if !mounted || handle.metadata()?.dev() != self.memfd_device {
            return Err(std::io::Error::other("the descriptor is not the memfd that was made"));
        }
        // Not to wait for a thread of the tracee that holds a lease (fcntl(2), F_SETLEASE) on it: that takes 45 s.
        let memfd = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(ours)?;
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
