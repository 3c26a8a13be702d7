//! What the kernel lets us do, found out by doing it in a short-lived child: namespaces, mounts, ptrace with seccomp.
//!
//! The children run between fork and `_exit` only async-signal-safe calls on memory prepared before, since another thread
//! of ours may have held any lock at the moment of the fork. Every wait has a bound.

mod calls;
mod intercept;
mod limits;
mod namespaces;

use std::ffi::CStr;
use std::fmt;
use std::ptr;
use std::time::{Duration, Instant};

pub use calls::{
    inotify, kernel_log, no_new_privs, openat2, pidfd_open, process_vm_read, seccomp_mode, securebits,
};
pub use intercept::{InterceptStep, intercept};
pub use limits::{FORKS, fork_many, use_cpu, use_memory};
pub use namespaces::{pid_namespace_outlives_init, procfs, unmounts_what_lies_elsewhere};

const LIMIT: Duration = Duration::from_secs(2);
/// Exit code of a child for "the call said yes, and it is not so"; above every errno.
const LIED: i32 = 250;

/// Why something cannot be done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel's answer.
    Errno(i32),
    /// The call said yes, and a look at the result says no.
    NoEffect,
    /// The child was killed by this signal: a seccomp filter around us, or a fault in the sandbox kernel.
    Killed(i32),
    /// No answer within two seconds.
    Hung,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(number) => write!(out, "{}", nix::errno::Errno::from_raw(*number)),
            Self::NoEffect => out.write_str("the kernel said yes, but it had no effect"),
            Self::Killed(signal) => write!(out, "killed by signal {signal}"),
            Self::Hung => write!(out, "no answer in {} s", LIMIT.as_secs()),
        }
    }
}

/// The outcome of trying.
pub type Attempt = Result<(), Refusal>;

fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}

/// 0 for success, else errno: what a child's `_exit` carries.
fn code(result: impl Into<i64>) -> i32 {
    if result.into() < 0 { errno() } else { 0 }
}

/// Runs `body` in a child.
///
/// # Safety
/// `body` must be async-signal-safe: no allocation, no locks, no unwinding.
unsafe fn in_child(body: impl FnOnce() -> i32) -> Attempt {
    // SAFETY: the child calls only `body`, async-signal-safe by contract, and `_exit`.
    let pid = match unsafe { libc::fork() } {
        0 => {
            let code = body();
            // SAFETY: ends this process without running anything of the parent's.
            unsafe { libc::_exit(code) }
        }
        pid if pid < 0 => return Err(Refusal::Errno(errno())),
        pid => pid,
    };
    outcome(wait(pid, Instant::now() + LIMIT), pid)
}

fn outcome(status: Option<i32>, pid: libc::pid_t) -> Attempt {
    match status {
        None => {
            reap(pid);
            Err(Refusal::Hung)
        }
        Some(status) if libc::WIFEXITED(status) => match libc::WEXITSTATUS(status) {
            0 => Ok(()),
            LIED => Err(Refusal::NoEffect),
            number => Err(Refusal::Errno(number)),
        },
        Some(status) => Err(Refusal::Killed(libc::WTERMSIG(status))),
    }
}

/// Waits for a change of state of our child `pid`, until `deadline`.
fn wait(pid: libc::pid_t, deadline: Instant) -> Option<i32> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the kernel to write to.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL) } {
            0 if Instant::now() > deadline => return None,
            0 => std::thread::sleep(Duration::from_millis(1)),
            found if found == pid => return Some(status),
            _ => return None,
        }
    }
}

fn reap(pid: libc::pid_t) {
    // SAFETY: plain calls about our own child, which nobody else reaps.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, ptr::null_mut(), libc::__WALL);
    }
}

/// Whether a child may `unshare(flags)`.
pub fn unshare(flags: i32) -> Attempt {
    // SAFETY: one system call.
    unsafe { in_child(|| code(libc::unshare(flags))) }
}

/// Whether a child may have a cgroup namespace of its own. gVisor says yes to the call where it has none, so the
/// namespace's file is looked for too.
pub fn cgroup_namespace() -> Attempt {
    // SAFETY: two system calls, one on a constant path.
    unsafe {
        in_child(|| match code(libc::unshare(libc::CLONE_NEWCGROUP)) {
            0 => seen(c"/proc/self/ns/cgroup"),
            error => error,
        })
    }
}

/// In a private mount namespace (and, with `user`, a new user namespace): mounts a tmpfs on `target`.
pub fn tmpfs(target: &CStr, user: bool) -> Attempt {
    let flags = libc::CLONE_NEWNS | if user { libc::CLONE_NEWUSER } else { 0 };
    // SAFETY: system calls on strings that outlive the child's use of them.
    unsafe { in_child(|| enter_and(flags, || mount(Some(c"tmpfs"), target, Some(c"tmpfs"), 0, None))) }
}

/// In a private mount namespace: binds the directory `source` over `target`, and looks whether `witness` came with it.
pub fn bind(source: &CStr, target: &CStr, witness: &CStr) -> Attempt {
    // SAFETY: as above.
    unsafe {
        in_child(|| {
            enter_and(libc::CLONE_NEWNS, || match mount(Some(source), target, None, libc::MS_BIND, None) {
                0 => seen(witness),
                error => error,
            })
        })
    }
}

/// Enters new namespaces, keeps mounts from propagating out, goes on with `then`. Async-signal-safe if `then` is.
fn enter_and(flags: i32, then: impl FnOnce() -> i32) -> i32 {
    // SAFETY: a system call without pointers.
    if unsafe { libc::unshare(flags) } < 0 {
        return errno();
    }
    match mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None) {
        0 => then(),
        error => error,
    }
}

fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> i32 {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is null or a NUL-terminated string that outlives the call.
    code(unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(data).cast()) })
}

fn seen(path: &CStr) -> i32 {
    // SAFETY: a NUL-terminated path.
    if unsafe { libc::access(path.as_ptr(), libc::F_OK) } < 0 { LIED } else { 0 }
}

/// Whether a process may join the pid namespace of another (`kubectl exec` needs it; gVisor 4.4.0 answers EINVAL).
pub fn join_pid_namespace() -> Attempt {
    // SAFETY: forks and system calls; the path is built on the stack.
    unsafe {
        in_child(|| {
            if libc::unshare(libc::CLONE_NEWPID) < 0 {
                return errno();
            }
            let inner = libc::fork();
            if inner == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // Long enough for the parent to join, short enough never to linger.
                libc::sleep(2);
                libc::_exit(0);
            }
            let mut path = [0; 40];
            pid_namespace_path(inner, &mut path);
            let fd = libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
            let joined = if fd < 0 { errno() } else { code(libc::setns(fd, libc::CLONE_NEWPID)) };
            libc::kill(inner, libc::SIGKILL);
            joined
        })
    }
}

/// `/proc/PID/ns/pid`, NUL-terminated, without allocating.
fn pid_namespace_path(pid: libc::pid_t, path: &mut [u8; 40]) {
    let mut digits = [0_u8; 10];
    let (mut rest, mut first) = (pid.unsigned_abs(), digits.len());
    while rest > 0 || first == digits.len() {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let parts: [&[u8]; 3] = [b"/proc/", &digits[first..], b"/ns/pid\0"];
    let mut at = 0;
    for part in parts {
        path[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
}

/// Whether a session keyring can be joined, as runc does; it takes ENOSYS for an answer, nothing else.
pub fn session_keyring() -> Attempt {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: one system call; a null name asks for an anonymous keyring.
    let joined = unsafe {
        in_child(|| code(libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>())))
    };
    if joined == Err(Refusal::Errno(libc::ENOSYS)) { Ok(()) } else { joined }
}

/// Whether a raw socket can be opened, as iptables and ping do.
pub fn raw_socket() -> Attempt {
    // SAFETY: one system call without pointers.
    unsafe { in_child(|| code(libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_reports_success_errno_and_death() {
        // SAFETY: constants and async-signal-safe calls.
        unsafe {
            assert_eq!(in_child(|| 0), Ok(()));
            assert_eq!(in_child(|| libc::EPERM), Err(Refusal::Errno(libc::EPERM)));
            assert_eq!(in_child(|| LIED), Err(Refusal::NoEffect));
            assert_eq!(in_child(|| libc::raise(libc::SIGKILL)), Err(Refusal::Killed(libc::SIGKILL)));
        }
    }

    #[test]
    fn a_child_that_hangs_is_ended() {
        // SAFETY: a single async-signal-safe call.
        assert_eq!(unsafe { in_child(|| libc::pause()) }, Err(Refusal::Hung));
    }

    #[test]
    fn namespace_paths_are_built_on_the_stack() {
        for pid in [0, 7, 4_194_304] {
            let mut path = [0; 40];
            pid_namespace_path(pid, &mut path);
            let text = CStr::from_bytes_until_nul(&path).unwrap().to_str().unwrap();
            assert_eq!(text, format!("/proc/{pid}/ns/pid"));
        }
    }
}
