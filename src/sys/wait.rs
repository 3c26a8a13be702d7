//! wait4(2) for children and tracees alike, with the raw stop kept: what seizing adds to it is not in any library.

use std::io;

use super::ptrace::Tid;

/// PTRACE_EVENT_STOP from linux/ptrace.h, which the libc crate does not name.
const EVENT_STOP: i32 = 128;

/// What happened to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It ended by exit(2).
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// It is about to get a signal.
    Signal(i32),
    /// Syscall entry or exit, after a resume that asked for them.
    Syscall,
    /// A seccomp filter said RET_TRACE.
    Seccomp,
    /// execve(2) succeeded.
    Exec,
    /// It made a process or thread (which reports itself).
    Made,
    /// First stop of a new tracee, or the end of a group-stop.
    Attached,
    /// It takes part in a group-stop.
    GroupStop,
    /// Anything else; to be resumed.
    Other,
}

impl Event {
    /// Whether the thread is no more.
    pub fn ends(self) -> bool {
        matches!(self, Self::Exited(_) | Self::Killed(_))
    }
}

/// Decodes a wait status.
pub fn decode(status: i32) -> Event {
    if libc::WIFEXITED(status) {
        return Event::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Event::Killed(libc::WTERMSIG(status));
    }
    let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
    match event {
        0 if signal == libc::SIGTRAP | 0x80 => Event::Syscall,
        0 => Event::Signal(signal),
        libc::PTRACE_EVENT_SECCOMP => Event::Seccomp,
        libc::PTRACE_EVENT_EXEC => Event::Exec,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => Event::Made,
        EVENT_STOP if signal == libc::SIGTRAP => Event::Attached,
        EVENT_STOP => Event::GroupStop,
        _ => Event::Other,
    }
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// A thread, and what happened to it.
    For(Tid, Event),
    /// Nobody has anything to report yet.
    Quiet,
    /// There is no child, and no tracee.
    Nobody,
}

/// Waits for any child of this process or tracee of this thread; [`Waited::Quiet`] only if it is not to `block`.
pub fn wait_any(block: bool) -> io::Result<Waited> {
    let mut status = 0;
    let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: `status` is a live local; no rusage is asked for.
        let tid = unsafe { libc::wait4(-1, &raw mut status, flags, std::ptr::null_mut()) };
        if tid > 0 {
            return Ok(Waited::For(tid, decode(status)));
        }
        if tid == 0 {
            return Ok(Waited::Quiet);
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EINTR) => {}
            error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(Waited::Nobody),
            error => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_told_apart_by_signal_and_event() {
        let stop = |signal: i32, event: i32| decode(event << 16 | signal << 8 | 0x7f);
        assert_eq!(stop(libc::SIGTRAP | 0x80, 0), Event::Syscall);
        assert_eq!(stop(libc::SIGTRAP, 0), Event::Signal(libc::SIGTRAP));
        assert_eq!(stop(libc::SIGTRAP, EVENT_STOP), Event::Attached);
        assert_eq!(stop(libc::SIGTSTP, EVENT_STOP), Event::GroupStop);
        assert_eq!(stop(libc::SIGTRAP, libc::PTRACE_EVENT_SECCOMP), Event::Seccomp);
        assert_eq!((decode(3 << 8), decode(9)), (Event::Exited(3), Event::Killed(9)));
    }
}
