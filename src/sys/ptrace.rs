//! ptrace(2) requests, one safe function each. nix lacks PTRACE_LISTEN and hides what a seized stop says.

use std::io;

/// A thread id as wait4(2) reports it.
pub type Tid = i32;
/// The registers of a stopped x86-64 (or ia32) thread.
pub type Registers = libc::user_regs_struct;

/// What a seized tree needs: follow every way to make a process, tell syscall stops from SIGTRAP, die with the tracer.
pub const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_EXITKILL;

fn request(request: libc::c_uint, tid: Tid, addr: usize, data: usize) -> io::Result<libc::c_long> {
    // SAFETY: callers below pass integers, or pointers to live locals of the size that the request writes or reads.
    let result = unsafe { libc::ptrace(request, tid, addr, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Attaches to `tid` with [`OPTIONS`]; its future children are attached by the kernel.
pub fn seize(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, tid, 0, OPTIONS as usize).map(drop)
}

/// Resumes, delivering `signal` unless 0.
pub fn cont(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_CONT, tid, 0, signal as usize).map(drop)
}

/// Resumes until the next syscall entry or exit, delivering `signal` unless 0.
pub fn cont_to_syscall(tid: Tid, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, tid, 0, signal as usize).map(drop)
}

/// Makes the kernel look for signals that came while the thread was stopped, by blocking all and unblocking them again:
/// gVisor before 2026 wakes a thread for a signal only if it is not stopped at that moment.
pub fn recheck_signals(tid: Tid) -> io::Result<()> {
    let (mut mask, all) = (0_u64, u64::MAX);
    let size = size_of::<u64>();
    request(libc::PTRACE_GETSIGMASK, tid, size, (&raw mut mask) as usize)?;
    request(libc::PTRACE_SETSIGMASK, tid, size, (&raw const all) as usize)?;
    request(libc::PTRACE_SETSIGMASK, tid, size, (&raw const mask) as usize).map(drop)
}

/// Blocks a stopped thread's signals, so that none comes before the call that it is about to make, and returns the mask to
/// restore. SIGSYS stays: a filter that raises it for the call would kill the program if it were blocked.
pub fn hold_signals(tid: Tid) -> io::Result<u64> {
    let (mut mask, held) = (0_u64, !(1_u64 << (libc::SIGSYS - 1)));
    request(libc::PTRACE_GETSIGMASK, tid, size_of::<u64>(), (&raw mut mask) as usize)?;
    set_signal_mask(tid, mask | held)?;
    Ok(mask)
}

/// Sets the signals that a stopped thread blocks.
pub fn set_signal_mask(tid: Tid, mask: u64) -> io::Result<()> {
    request(libc::PTRACE_SETSIGMASK, tid, size_of::<u64>(), (&raw const mask) as usize).map(drop)
}

/// Lets a group-stopped thread stay stopped, yet report SIGCONT.
pub fn listen(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_LISTEN, tid, 0, 0).map(drop)
}

/// Reads all general registers.
pub fn registers(tid: Tid) -> io::Result<Registers> {
    // SAFETY: user_regs_struct is plain integers, for which all-zero is valid.
    let mut regs: Registers = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETREGS, tid, 0, (&raw mut regs) as usize)?;
    Ok(regs)
}

/// Writes all general registers.
pub fn set_registers(tid: Tid, regs: &Registers) -> io::Result<()> {
    request(libc::PTRACE_SETREGS, tid, 0, std::ptr::from_ref(regs) as usize).map(drop)
}

/// Whether a thread stands at the end of an exec.
pub fn stands_at_exec(tid: Tid) -> bool {
    // SAFETY: siginfo_t is plain integers, for which all-zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let told = request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info) as usize);
    told.is_ok() && info.si_code == libc::SIGTRAP | libc::PTRACE_EVENT_EXEC << 8
}

/// What an event stop says besides its kind: for exec, the number that the calling thread had.
pub fn event_message(tid: Tid) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut message) as usize)?;
    Ok(message)
}
