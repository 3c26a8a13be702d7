//! What becomes of a pid namespace when its init ends, tried with one of our own.

use std::ptr;

use super::{LIED, Refusal, errno, in_child};

/// Exit code of a process that nobody killed.
const LIVED: i32 = 7;

/// Whether the processes of a pid namespace live on when its init has ended, if there is a child subreaper outside. They are
/// killed by every Linux (pid_namespaces(7)), and by gVisor but for the one that reports 4.4.0.
pub fn pid_namespace_outlives_init() -> bool {
    // SAFETY: forks and system calls on local integers; every process ends itself.
    let outcome = unsafe {
        in_child(|| {
            let mut pipe = [0; 2];
            let own = || {
                libc::unshare(libc::CLONE_NEWPID) == 0
                    || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) == 0
            };
            if libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) != 0
                || libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0
                || !own()
            {
                return errno();
            }
            let init = libc::fork();
            if init == 0 {
                if libc::fork() == 0 {
                    // Until the pipe's other end is closed, below.
                    libc::close(pipe[1]);
                    libc::read(pipe[0], ptr::from_mut(&mut [0_u8; 1]).cast(), 1);
                    libc::_exit(LIVED);
                }
                libc::_exit(0);
            }
            libc::waitpid(init, ptr::null_mut(), libc::__WALL);
            libc::close(pipe[1]);
            let mut status = 0;
            while libc::waitpid(-1, &raw mut status, libc::__WALL) > 0 {
                if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == LIVED {
                    return LIED;
                }
            }
            0
        })
    };
    outcome == Err(Refusal::NoEffect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_linux_nobody_outlives_the_init() {
        assert!(!pid_namespace_outlives_init());
    }
}
