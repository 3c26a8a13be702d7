//! Loading a seccomp filter into the calling thread, before exec.

use std::io;

/// One classic BPF instruction.
pub type Instruction = libc::sock_filter;

/// Loads `program`. Without CAP_SYS_ADMIN the caller must have set NO_NEW_PRIVS. Async-signal-safe.
pub fn load(program: &[Instruction]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let prog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `prog` points at `len` live instructions, which the kernel copies.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, std::ptr::from_ref(&prog))
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
