//! What this kernel offers, found by doing it to a child of our own: the order of stops and the way to tracee memory.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use super::memory::Access;
use super::syscalls::{Kind, Syscall, TRAPPED};
use super::{Backend, StartError, filter};
use crate::rules::observed::{InterceptorState, Traced};
use crate::sys::probe::{pid_namespace_outlives_init, unmounts_what_lies_elsewhere};
use crate::sys::signal::Dispositions;
use crate::sys::spawn::{self, Spawn};
use crate::sys::wait::{self, Event, Waited};
use crate::sys::{process, ptrace};

/// Inode number of a procfs root (PROC_ROOT_INO in linux/proc_fs.h).
pub const PROCFS_ROOT: u64 = 1;

const UNREACHABLE: &str = "neither process_vm_readv nor /proc/PID/mem reach a traced process's memory";

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// A seccomp stop is followed by an entry stop before the exit stop, as in gVisor and Linux before 4.8.
    pub entry_stop_follows_seccomp: bool,
    /// How to reach tracee memory.
    pub memory: Access,
    /// The `syscall` instruction leaves its return address in rcx, so that other ways to make a call stand out.
    pub syscall_marks: bool,
    /// A signal that comes while a thread is stopped for us is not delivered when it runs on.
    pub forgets_signals: bool,
    /// A pid namespace does not end with its init.
    pub namespaces_outlive_init: bool,
    /// umount2 of a mount point of another namespace unmounts something else.
    pub unmounts_astray: bool,
}

impl Probe {
    /// Whether a call is trapped, but for those about descriptors.
    pub fn traps(&self, call: &Syscall) -> bool {
        offered(call) && (self.unmounts_astray || call.kind != Kind::Unmount)
    }

    /// For the observed table.
    pub fn state(&self, backend: Backend, descriptors: bool) -> InterceptorState {
        let trapped = |call: &&Syscall| self.traps(call) && (descriptors || call.kind != Kind::Fstat);
        let backend = match backend {
            Backend::SeccompTrace => "seccomp-trace",
            Backend::PtraceSyscall => "ptrace-syscall",
        };
        let stop_order = if self.entry_stop_follows_seccomp { "entry-exit" } else { "exit" };
        let memory_access = match self.memory {
            Access::ProcessVm => "process_vm",
            Access::ProcMem => "proc_mem",
        };
        InterceptorState {
            backend: backend.to_owned(),
            stop_order: stop_order.to_owned(),
            traced: Traced::Everything,
            memory_access: memory_access.to_owned(),
            trapped: TRAPPED.iter().filter(trapped).map(|call| call.name.to_owned()).collect(),
        }
    }
}

/// Whether this kernel has a call. One that it lacks is not trapped: a program that asks must hear so, also where we
/// could answer.
pub fn offered(call: &Syscall) -> bool {
    let tried = call.path.is_some() && !matches!(call.kind, Kind::Mount | Kind::Unmount);
    call.x64.filter(|_| tried).is_none_or(process::has_path_call)
}

/// Whether the root of the procfs here has another inode number than on Linux, by which runc knows it (gVisor before
/// 2025: any).
pub fn procfs_root_is_odd() -> bool {
    std::fs::metadata("/proc").is_ok_and(|root| root.ino() != PROCFS_ROOT)
}

/// Traces a child of this thread through one trapped call. Nothing else may be traced or waited for yet.
pub fn probe() -> Result<Probe, StartError> {
    let child = Child::start()?;
    let found = child.watch();
    child.end();
    found
}

struct Child(ptrace::Tid);

impl Child {
    fn start() -> Result<Self, StartError> {
        let refused = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| StartError::Unsupported(format!("{what}: {error}"))
        };
        let program = filter::program(offered, false);
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(refused("/dev/null"))?;
        let signals = Dispositions::current();
        let spawn = Spawn {
            program: CString::default(),
            argv: Vec::new(),
            env: Vec::new(),
            cwd: None,
            fds: (0..3).map(|target| (null.as_raw_fd(), target)).collect(),
            new_session: true,
            terminal: false,
            filter: Some(&program),
            signals: &signals,
            probe: true,
        };
        let forked = spawn::fork(&spawn).map_err(refused("fork"))?;
        let pid = forked.pid;
        ptrace::seize(pid).map_err(refused("PTRACE_SEIZE"))?;
        forked.release().map_err(refused("hand-shake"))?;
        Ok(Self(pid))
    }

    fn watch(&self) -> Result<Probe, StartError> {
        let mut memory = None;
        let mut syscall_marks = false;
        let mut stops_after = None;
        let mut entry = None;
        let unsupported = |what: String| StartError::Unsupported(what);
        loop {
            let Waited::For(tid, event) =
                wait::wait_any(true).map_err(|error| unsupported(format!("wait4: {error}")))?
            else {
                return Err(unsupported("a traced child vanished".to_owned()));
            };
            if tid != self.0 {
                continue;
            }
            let resumed = match (event, stops_after) {
                (Event::Exited(_) | Event::Killed(_) | Event::Signal(libc::SIGUSR1), _)
                    if entry.is_some() =>
                {
                    let entry = entry.unwrap_or_default();
                    return Ok(Probe {
                        entry_stop_follows_seccomp: entry,
                        memory: memory.ok_or_else(|| unsupported(UNREACHABLE.to_owned()))?,
                        // In gVisor it depends on the way in; there are no other ways there.
                        syscall_marks: syscall_marks && !entry,
                        forgets_signals: !matches!(event, Event::Signal(_)),
                        namespaces_outlive_init: pid_namespace_outlives_init(),
                        unmounts_astray: unmounts_what_lies_elsewhere().unwrap_or_else(|why| {
                            tracing::info!(%why, "what umount2 does was not tried: it is not looked at");
                            false
                        }),
                    });
                }
                (Event::Exited(_) | Event::Killed(_), _) => {
                    let what = "a program under a RET_TRACE filter ended without a seccomp stop";
                    return Err(unsupported(format!("{what} ({event:?})")));
                }
                (Event::Seccomp, None) => {
                    memory = self.memory();
                    syscall_marks = ptrace::registers(tid).is_ok_and(|regs| regs.rcx == regs.rip);
                    stops_after = Some(());
                    let child = nix::unistd::Pid::from_raw(tid);
                    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGUSR1)
                        .map_err(|error| unsupported(format!("kill: {error}")))?;
                    ptrace::cont_to_syscall(tid, 0)
                }
                (Event::Syscall, Some(())) if entry.is_none() => {
                    let regs = ptrace::registers(tid)
                        .map_err(|error| unsupported(format!("PTRACE_GETREGS: {error}")))?;
                    entry = Some(regs.rax as i64 == -i64::from(libc::ENOSYS));
                    ptrace::cont(tid, 0)
                }
                (Event::Signal(signal), _) => ptrace::cont(tid, signal),
                _ => ptrace::cont(tid, 0),
            };
            resumed.map_err(|error| unsupported(format!("PTRACE_CONT: {error}")))?;
        }
    }

    /// The first way by which the top of the child's stack can be read and written.
    fn memory(&self) -> Option<Access> {
        let top = ptrace::registers(self.0).ok()?.rsp;
        [Access::ProcessVm, Access::ProcMem].into_iter().find(|access| {
            let mut word = [0; 8];
            matches!(access.read(self.0, top, &mut word), Ok(8))
                && matches!(access.write(self.0, top, &word), Ok(8))
        })
    }

    /// Kills and reaps the child.
    fn end(&self) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0), nix::sys::signal::Signal::SIGKILL);
        while let Ok(Waited::For(tid, event)) = wait::wait_any(true) {
            if tid == self.0 && matches!(event, Event::Exited(_) | Event::Killed(_)) {
                return;
            }
        }
    }
}
