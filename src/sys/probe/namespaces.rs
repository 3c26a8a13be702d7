//! What becomes of a pid namespace when its init ends, and of a mount when one in another namespace is unmounted, tried with some of
//! our own; and a procfs to look at others in.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Instant;

use nix::fcntl::OFlag;

use super::{Attempt, LIED, LIMIT, Refusal, enter_and, errno, mount, outcome, wait};
use crate::sys::spawn::fork_sharing_files;

/// Exit code of a process that nobody killed.
const LIVED: i32 = 7;
/// The highest number that an exit code can tell.
const MOST: i32 = 255;

/// Whether the processes of a pid namespace live on when its init has ended, if there is a child subreaper outside. They are
/// killed by every Linux (pid_namespaces(7)), and by gVisor but for the one that reports 4.4.0.
pub fn pid_namespace_outlives_init() -> bool {
    let Ok((read, write)) = nix::unistd::pipe2(OFlag::O_CLOEXEC) else { return false };
    // SAFETY: system calls on integers.
    let tried = unsafe { in_sharing_child(|| outlives_init(read.as_raw_fd(), write.as_raw_fd())) };
    tried == Err(Refusal::NoEffect)
}

/// Runs `body` in a child that shares our descriptors.
///
/// # Safety
/// `body` must be async-signal-safe: no allocation, no locks, no unwinding.
unsafe fn in_sharing_child(body: impl FnOnce() -> i32) -> Attempt {
    // SAFETY: the child calls only `body`, async-signal-safe by contract, and `_exit`.
    let pid = unsafe {
        match fork_sharing_files() {
            0 => libc::_exit(body()),
            pid => pid,
        }
    };
    if pid < 0 {
        return Err(Refusal::Errno(errno()));
    }
    outcome(wait(pid, Instant::now() + LIMIT), pid)
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
        let init = fork_sharing_files();
        if init == 0 {
            if fork_sharing_files() == 0 {
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

/// Whether umount2 of a path that is a mount point in another mount namespace alone takes away what the path lies in, in the end `/`,
/// as in gVisor (`getMountpoint` in `pkg/sentry/vfs/mount.go`). Linux says EINVAL. An error where it could not be tried.
pub fn unmounts_what_lies_elsewhere() -> Result<bool, Refusal> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| Refusal::Errno(errno as i32))?;
    // SAFETY: system calls on integers and constant strings.
    let tried = unsafe {
        in_sharing_child(|| {
            enter_and(libc::CLONE_NEWNS, || unmounts_anothers(read.as_raw_fd(), write.as_raw_fd()))
        })
    };
    match tried {
        Ok(()) => Ok(false),
        Err(Refusal::NoEffect) => Ok(true),
        Err(refusal) => Err(refusal),
    }
}

/// In a mount namespace of its own: has a child mount what is then unmounted here. The exit code.
///
/// # Safety
/// In a child of this process only; async-signal-safe.
unsafe fn unmounts_anothers(read: i32, write: i32) -> i32 {
    // What exists everywhere; here it is a tmpfs.
    let tmpfs = |target| mount(Some(c"tmpfs"), target, Some(c"tmpfs"), 0, None);
    let anothers = c"/proc/anothers";
    let mut failed = [tmpfs(c"/proc") as u8];
    // SAFETY: system calls on integers, locals and constant strings; the other process ends with this one.
    unsafe {
        if failed[0] != 0 || libc::mkdir(anothers.as_ptr(), 0o700) != 0 {
            return errno();
        }
        let other = fork_sharing_files();
        if other == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            failed[0] = enter_and(libc::CLONE_NEWNS, || tmpfs(anothers)) as u8;
            libc::write(write, failed.as_ptr().cast(), 1);
            loop {
                libc::pause();
            }
        }
        let told = other > 0 && libc::read(read, failed.as_mut_ptr().cast(), 1) == 1;
        let unmounted = libc::umount2(anothers.as_ptr(), libc::MNT_DETACH) == 0;
        if other > 0 {
            libc::kill(other, libc::SIGKILL);
            libc::waitpid(other, ptr::null_mut(), libc::__WALL);
        }
        if told && failed[0] == 0 && unmounted { LIED } else { 0 }
    }
}

/// The root of a procfs of our own, mounted nowhere.
///
/// gVisor gives /proc/PID/net to the network namespace that the process is in when its directory is looked at first, and keeps
/// that directory: whoever looks at one too early, in the procfs that a program itself sees, makes it see another's network.
pub fn procfs() -> io::Result<OwnedFd> {
    // SAFETY: the child makes system calls on constant strings, and ends itself; what it opens is in our table.
    let opener = unsafe {
        match fork_sharing_files() {
            0 => libc::_exit(
                match enter_and(libc::CLONE_NEWNS, || {
                    match mount(Some(c"proc"), c"/proc", Some(c"proc"), 0, None) {
                        0 => {
                            libc::open(c"/proc".as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
                        }
                        _ => 0,
                    }
                }) {
                    fd if (3..=MOST).contains(&fd) => fd,
                    _ => 0,
                },
            ),
            pid => pid,
        }
    };
    let status = (opener > 0).then(|| wait(opener, Instant::now() + LIMIT)).flatten();
    match status.filter(|status| libc::WIFEXITED(*status)).map(|status| libc::WEXITSTATUS(status)) {
        // SAFETY: the child has opened it for us, and nobody else knows the number.
        Some(fd @ 3..=MOST) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::other("a procfs cannot be mounted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procfs_of_our_own_shows_what_the_other_does() {
        let (name, procfs) = (format!("{}/ns/pid", std::process::id()), procfs().unwrap());
        let seen = nix::fcntl::readlinkat(&procfs, name.as_str()).unwrap();
        assert_eq!(seen, std::fs::read_link("/proc/self/ns/pid").unwrap());
    }

    #[test]
    fn on_linux_nobody_outlives_the_init_and_what_is_mounted_elsewhere_is_not_unmounted() {
        assert!(!pid_namespace_outlives_init());
        assert_eq!(unmounts_what_lies_elsewhere(), Ok(false));
    }
}
