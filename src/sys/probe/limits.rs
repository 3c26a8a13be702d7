//! Whether a control group's limits bind: a child enters the group and wants more than it may have.

use std::ffi::CStr;
use std::ptr;

use super::{Attempt, LIED, Refusal, code, errno, in_child};

/// Processes that [`fork_many`] starts: gVisor counts late, and lets up to a dozen more in than it should.
pub const FORKS: usize = 64;

/// Enters the group whose `cgroup.procs` this is, then runs `body`.
///
/// # Safety
/// As for [`in_child`].
unsafe fn in_group(procs: &CStr, body: impl FnOnce() -> i32) -> Attempt {
    // SAFETY: system calls on strings that outlive the child's use of them; "0" is the writer itself.
    unsafe {
        in_child(|| {
            let fd = libc::open(procs.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if fd < 0 || libc::write(fd, c"0".as_ptr().cast(), 1) < 0 {
                return errno();
            }
            body()
        })
    }
}

/// Whether the group can be entered, and `bytes` of memory be used there. Killed by SIGKILL, or
/// ENOMEM: it cannot.
pub fn use_memory(procs: &CStr, bytes: usize) -> Attempt {
    const PAGE: usize = 4096;
    // SAFETY: the mapping is new, private and `bytes` long, and only that is written to.
    unsafe {
        in_group(procs, || {
            let (access, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let memory = libc::mmap(ptr::null_mut(), bytes, access, flags, -1, 0);
            if memory == libc::MAP_FAILED {
                return errno();
            }
            for at in (0..bytes).step_by(PAGE) {
                memory.cast::<u8>().add(at).write_volatile(1);
            }
            0
        })
    }
}

/// Uses `micros` of processor time in the group, or gives up after a second and a half with success: what came of it is
/// for the caller to read from clocks.
pub fn use_cpu(procs: &CStr, micros: i64) -> Attempt {
    const PATIENCE: i64 = 1_500_000;
    // SAFETY: clock_gettime on places of our own.
    unsafe {
        in_group(procs, || {
            let start = clock(libc::CLOCK_MONOTONIC);
            while clock(libc::CLOCK_PROCESS_CPUTIME_ID) < micros
                && clock(libc::CLOCK_MONOTONIC) - start < PATIENCE
            {}
            0
        })
    }
}

/// Microseconds.
///
/// # Safety
/// Async-signal-safe; the clock must be one that exists.
unsafe fn clock(which: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the kernel to write to.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

/// Starts processes in a group that may have one: refused by EAGAIN where the limit binds.
pub fn fork_many(procs: &CStr) -> Attempt {
    // SAFETY: forks and system calls; the children only wait to be killed.
    let outcome = unsafe {
        in_group(procs, || {
            let mut children = [0; FORKS];
            let mut refused = LIED;
            for child in &mut children {
                *child = libc::fork();
                if *child == 0 {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    // Long enough to be counted, short enough never to linger.
                    libc::sleep(2);
                    libc::_exit(0);
                }
                if *child < 0 {
                    refused = code(*child);
                    break;
                }
            }
            for child in children.into_iter().filter(|child| *child > 0) {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, ptr::null_mut(), 0);
            }
            refused
        })
    };
    match outcome {
        // All were let in.
        Err(Refusal::NoEffect) => Ok(()),
        other => other,
    }
}
