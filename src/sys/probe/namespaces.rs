//! What becomes of a pid namespace when its init ends, tried with one of our own.

use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Instant;

use nix::fcntl::OFlag;

use super::{LIED, LIMIT, Refusal, errno, outcome, wait};

/// Exit code of a process that nobody killed.
const LIVED: i32 = 7;

/// Whether the processes of a pid namespace live on when its init has ended, if there is a child subreaper outside. They are
/// killed by every Linux (pid_namespaces(7)), and by gVisor but for the one that reports 4.4.0.
pub fn pid_namespace_outlives_init() -> bool {
    let Ok((read, write)) = nix::unistd::pipe2(OFlag::O_CLOEXEC) else { return false };
    // SAFETY: the child makes system calls on integers that it has a copy of, and ends itself.
    let maker = unsafe {
        match fork() {
            0 => libc::_exit(outlives_init(read.as_raw_fd(), write.as_raw_fd())),
            pid => pid,
        }
    };
    maker > 0 && outcome(wait(maker, Instant::now() + LIMIT), maker) == Err(Refusal::NoEffect)
}

/// What the maker of the namespace does; its exit code.
///
/// # Safety
/// In a child of this process only; async-signal-safe.
unsafe fn outlives_init(read: i32, write: i32) -> i32 {
    let mut byte = [0_u8; 1];
    // SAFETY: system calls on integers and locals; every further process ends itself.
    unsafe {
        let own = libc::unshare(libc::CLONE_NEWPID) == 0
            || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) == 0;
        if !own || libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 {
            return errno();
        }
        let init = fork();
        if init == 0 {
            if fork() == 0 {
                libc::read(read, byte.as_mut_ptr().cast(), 1);
                libc::_exit(LIVED);
            }
            libc::_exit(0);
        }
        libc::waitpid(init, ptr::null_mut(), libc::__WALL);
        libc::write(write, byte.as_ptr().cast(), 1);
        let mut status = 0;
        while libc::waitpid(-1, &raw mut status, libc::__WALL) > 0 {
            if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == LIVED {
                return LIED;
            }
        }
    }
    0
}

/// fork(2), but with one table of descriptors: its end closes none of them, which for some takes for ever (FUSE_FLUSH).
///
/// # Safety
/// As for fork(2).
unsafe fn fork() -> libc::pid_t {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: as fork(2), without a stack of its own.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) as libc::pid_t }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_linux_nobody_outlives_the_init() {
        assert!(!pid_namespace_outlives_init());
    }
}
