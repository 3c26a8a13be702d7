//! The interceptor's two legs tried together: seccomp `RET_TRACE` stops a child's call, ptrace answers it.

use std::ptr;
use std::time::Instant;

use super::{Attempt, LIED, LIMIT, Refusal, errno, outcome, reap, wait};

/// How far interception got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterceptStep {
    /// ptrace(PTRACE_TRACEME) and the first stop.
    Trace,
    /// ptrace(PTRACE_SETOPTIONS).
    Options,
    /// Installing the filter.
    Filter,
    /// The stop for the filtered call.
    Stop,
    /// Answering the call in the kernel's place.
    Answer,
}

/// A number that no process id reaches.
const ANSWER: libc::c_ulonglong = 0x5A4D_BA12;
const FILTER_FAILED: i32 = 251;

/// Tries what the interceptor lives by: a child's system call is stopped by seccomp `RET_TRACE`, skipped, and answered by us.
pub fn intercept() -> Result<(), (InterceptStep, Refusal)> {
    let filter = [
        // Load the call's number; trace getppid, allow everything else.
        bpf(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        bpf(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_getppid as u32),
        bpf(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_TRACE),
        bpf(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the child makes system calls on memory prepared here, then `_exit`s.
    let pid = match unsafe { libc::fork() } {
        // SAFETY: as said above; `raise`, `ptrace`, `prctl` and `_exit` are plain system calls.
        0 => unsafe {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) < 0 {
                libc::_exit(errno());
            }
            libc::raise(libc::SIGSTOP);
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) < 0 {
                libc::_exit(FILTER_FAILED);
            }
            let answer = libc::syscall(libc::SYS_getppid);
            libc::_exit(if answer as u64 == ANSWER { 0 } else { LIED });
        },
        pid if pid < 0 => return Err((InterceptStep::Trace, Refusal::Errno(errno()))),
        pid => pid,
    };
    let result = drive(pid, Instant::now() + LIMIT);
    if matches!(result, Err((_, Refusal::Hung | Refusal::Errno(_)))) {
        // It may be stopped or running; a child that already ended is not affected.
        reap(pid);
    }
    result
}

fn drive(pid: libc::pid_t, deadline: Instant) -> Result<(), (InterceptStep, Refusal)> {
    let stop_for = |step: InterceptStep, wanted: i32| match wait(pid, deadline) {
        Some(status) if libc::WIFSTOPPED(status) && status >> 8 == wanted => Ok(()),
        Some(status) if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == FILTER_FAILED => {
            Err((InterceptStep::Filter, Refusal::Errno(libc::EINVAL)))
        }
        Some(status) if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) => {
            Err((step, outcome(Some(status), pid).err().unwrap_or(Refusal::NoEffect)))
        }
        Some(_) => Err((step, Refusal::Errno(libc::EPROTO))),
        None => Err((step, Refusal::Hung)),
    };
    let ptrace = |step, request, data: libc::c_long| {
        // SAFETY: requests on our own stopped child that take a number.
        match unsafe { libc::ptrace(request, pid, 0 as libc::c_long, data) } {
            0.. => Ok(()),
            _ => Err((step, Refusal::Errno(errno()))),
        }
    };
    stop_for(InterceptStep::Trace, libc::SIGSTOP)?;
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESECCOMP;
    ptrace(InterceptStep::Options, libc::PTRACE_SETOPTIONS, options.into())?;
    ptrace(InterceptStep::Options, libc::PTRACE_CONT, 0)?;
    stop_for(InterceptStep::Stop, libc::SIGTRAP | (libc::PTRACE_EVENT_SECCOMP << 8))?;
    answer(pid).map_err(|refusal| (InterceptStep::Answer, refusal))?;
    ptrace(InterceptStep::Answer, libc::PTRACE_CONT, 0)?;
    outcome(wait(pid, deadline), pid).map_err(|refusal| (InterceptStep::Answer, refusal))
}

/// Makes the stopped call a no-op that returns [`ANSWER`].
fn answer(pid: libc::pid_t) -> Attempt {
    // SAFETY: a register block of integers, for which all zeroes is a value; the kernel fills it.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let null = ptr::null_mut::<libc::c_void>();
    // SAFETY: our own stopped child, and a register block of the kernel's layout.
    if unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, null, &raw mut registers) } < 0 {
        return Err(Refusal::Errno(errno()));
    }
    registers.orig_rax = u64::MAX;
    registers.rax = ANSWER;
    // SAFETY: as above.
    if unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, null, &raw const registers) } < 0 {
        return Err(Refusal::Errno(errno()));
    }
    Ok(())
}

fn bpf(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    #[test]
    fn interception_works_wherever_sandbar_is_built() {
        assert_eq!(super::intercept(), Ok(()));
    }
}
