//! fork and exec with a hand-shake, so that the tracer has attached before the child loads its filter and executes.
//!
//! Between fork and exec only async-signal-safe calls are made, on memory prepared before the fork: the process has
//! other threads.

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::ptrace::Tid;
use super::seccomp::{self, Instruction};
use super::signal::Dispositions;

/// What the child executes and how.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Resolved path of the program.
    pub program: CString,
    /// Arguments, argv\[0\] first.
    pub argv: Vec<CString>,
    /// Environment, `NAME=value`.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: Option<CString>,
    /// Descriptors and the numbers that they get.
    pub fds: Vec<(RawFd, RawFd)>,
    /// setsid(2) first.
    pub new_session: bool,
    /// Make fd 0 the controlling terminal.
    pub terminal: bool,
    /// The filter, for a traced child.
    pub filter: Option<&'a [Instruction]>,
    /// Dispositions to restore.
    pub signals: &'a Dispositions,
    /// Instead of executing anything, make one access(2) call and exit: what a probe watches.
    pub probe: bool,
}

/// A child that waits for [`Forked::release`] before it executes.
#[derive(Debug)]
pub struct Forked {
    /// Its pid.
    pub pid: Tid,
    go: OwnedFd,
    /// Yields the errno of a failed step, or end of file when exec has succeeded.
    pub error: OwnedFd,
}

/// Forks the child.
pub fn fork(spawn: &Spawn<'_>) -> io::Result<Forked> {
    let (go_read, go_write) = pipe()?;
    let (error_read, error_write) = pipe()?;
    let argv = pointers(&spawn.argv);
    let env = pointers(&spawn.env);
    let shell = CString::new("/bin/sh").map_err(io::Error::other)?;
    // For a script without `#!`, as execvp(3) does it.
    let mut shell_argv = vec![shell.as_ptr(), spawn.program.as_ptr()];
    shell_argv.extend(argv.iter().skip(1));
    // Above every target number that is not in place already, so that nothing that is lifted there is overwritten.
    let moved = spawn.fds.iter().filter(|(from, to)| from != to);
    let above = moved.map(|(_, to)| *to + 1).fold(3, RawFd::max);
    let mut lifted = vec![-1; spawn.fds.len()];
    let go_on = go_write.as_raw_fd();
    let plan = Plan { spawn, argv: &argv, env: &env, shell: &shell, shell_argv: &shell_argv, above, go_on };
    // SAFETY: the child calls only `Plan::run`, which is async-signal-safe and never returns.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: we are the only thread of the forked child.
        0 => unsafe { plan.run(go_read.as_raw_fd(), error_write.as_raw_fd(), &mut lifted) },
        pid => Ok(Forked { pid, go: go_write, error: error_read }),
    }
}

impl Forked {
    /// Lets the child go on to exec. Returns the descriptor that tells whether that succeeded.
    pub fn release(self) -> io::Result<OwnedFd> {
        nix::unistd::write(&self.go, &[1])?;
        Ok(self.error)
    }
}

/// Makes a child of this process end at once, so that a blocked wait4 of any thread returns: a wake-up that cannot be
/// lost, since the zombie stays until it is reaped.
pub fn ring() -> io::Result<()> {
    // SAFETY: the child does nothing but _exit.
    match unsafe { fork_sharing_files() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: _exit is async-signal-safe and never returns.
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}

/// fork(2), but with one table of descriptors: to end, the child would close its copies otherwise, and one close can wait for ever
/// (FUSE_FLUSH).
///
/// # Safety
/// As for fork(2): the child may make async-signal-safe calls only.
pub unsafe fn fork_sharing_files() -> libc::pid_t {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: as fork(2), without a stack of its own.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) as libc::pid_t }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: pipe2 fills the two-element array.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors are new and ours alone.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

struct Plan<'a> {
    spawn: &'a Spawn<'a>,
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    shell: &'a CString,
    shell_argv: &'a [*const c_char],
    /// Descriptors from here on are free for the way to exec.
    above: RawFd,
    /// The parent's end of the hand-shake.
    go_on: RawFd,
}

impl Plan<'_> {
    /// The child's life until exec.
    ///
    /// # Safety
    /// Only in a freshly forked child: it changes process-wide state and ends the process.
    unsafe fn run(&self, go: RawFd, error: RawFd, lifted: &mut [RawFd]) -> ! {
        // SAFETY: the caller's promise; every call in `steps` is async-signal-safe.
        let errno = unsafe { self.steps(go, error, lifted) };
        // SAFETY: writes four bytes of a live local, then ends the process.
        unsafe {
            libc::write(error, (&raw const errno).cast(), size_of::<i32>());
            libc::_exit(127)
        }
    }

    /// Returns the errno of the step that failed; does not return when exec succeeds.
    ///
    /// # Safety
    /// As for [`Plan::run`].
    unsafe fn steps(&self, go: RawFd, mut error: RawFd, lifted: &mut [RawFd]) -> i32 {
        let failed = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        // SAFETY: async-signal-safe calls on integers and on strings that live in `self`.
        unsafe {
            // With a copy of our own we would wait for ever where the parent gives up.
            libc::close(self.go_on);
            let mut byte = 0_u8;
            if libc::read(go, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(127);
            }
            if self.spawn.new_session && libc::setsid() < 0 {
                return failed();
            }
            error = libc::fcntl(error, libc::F_DUPFD_CLOEXEC, self.above);
            // Sources may sit on target numbers, so first lift them all above. Those in place stay: a caller's numbers
            // may be as high as its limit allows.
            for ((from, to), slot) in self.spawn.fds.iter().zip(lifted.iter_mut()) {
                *slot =
                    if from == to { *from } else { libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, self.above) };
                if *slot < 0 {
                    return failed();
                }
            }
            for ((_, to), slot) in self.spawn.fds.iter().zip(lifted.iter()) {
                let done =
                    if slot == to { libc::fcntl(*slot, libc::F_SETFD, 0) } else { libc::dup2(*slot, *to) };
                if done < 0 {
                    return failed();
                }
            }
            if self.spawn.terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return failed();
            }
            if let Some(cwd) = &self.spawn.cwd
                && libc::chdir(cwd.as_ptr()) < 0
            {
                return failed();
            }
            self.spawn.signals.restore();
            // A traced one ends with its tracer, and all that it forked; this is at least the first.
            if self.spawn.filter.is_none() {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            }
            if let Some(filter) = self.spawn.filter {
                let mut loaded = seccomp::load(filter);
                if loaded.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::EACCES)) {
                    libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                    loaded = seccomp::load(filter);
                }
                // Without it nothing of the new program would ever be seen.
                if let Err(error) = loaded {
                    return error.raw_os_error().unwrap_or(libc::EIO);
                }
            }
            if self.spawn.probe {
                libc::access(c"/".as_ptr(), libc::F_OK);
                libc::_exit(0);
            }
            libc::execve(self.spawn.program.as_ptr(), self.argv.as_ptr(), self.env.as_ptr());
            let mut errno = failed();
            if errno == libc::ENOEXEC {
                libc::execve(self.shell.as_ptr(), self.shell_argv.as_ptr(), self.env.as_ptr());
                errno = failed();
            }
            // The lifted descriptor is the one that is still open if a target number hid the old one.
            libc::write(error, (&raw const errno).cast(), size_of::<i32>());
            libc::_exit(127)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_filter_that_is_not_loaded_is_told_and_nothing_runs_without() {
        let signals = Dispositions::current();
        let true_ = c"/bin/true".to_owned();
        let spawn = Spawn {
            program: true_.clone(),
            argv: vec![true_],
            env: Vec::new(),
            cwd: None,
            fds: Vec::new(),
            new_session: false,
            terminal: false,
            // EINVAL: a program has an instruction at least.
            filter: Some(&[]),
            signals: &signals,
            probe: false,
        };
        let child = fork(&spawn).unwrap();
        let pid = nix::unistd::Pid::from_raw(child.pid);
        let mut told = Vec::new();
        File::from(child.release().unwrap()).read_to_end(&mut told).unwrap();
        nix::sys::wait::waitpid(pid, None).unwrap();
        assert_eq!(told, libc::EINVAL.to_ne_bytes());
    }
}
