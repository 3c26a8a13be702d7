//! Single system calls that tell what the kernel has, made in our own process.

use std::ffi::CStr;
use std::io;

use super::{Attempt, Refusal, errno};

/// Whether process_vm_readv works, on ourselves.
pub fn process_vm_read() -> Attempt {
    let source = 0x5AFE_u64;
    let mut target = 0_u64;
    let len = size_of::<u64>();
    let local = libc::iovec { iov_base: (&raw mut target).cast(), iov_len: len };
    let remote = libc::iovec { iov_base: (&raw const source).cast_mut().cast(), iov_len: len };
    // SAFETY: both vectors describe live integers of ours of that length.
    let count =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    match count {
        _ if count < 0 => Err(Refusal::Errno(errno())),
        _ if target == source => Ok(()),
        _ => Err(Refusal::NoEffect),
    }
}

/// Whether the kernel has openat2.
pub fn openat2() -> Attempt {
    let how = [libc::O_PATH as u64, 0, 0];
    // SAFETY: a NUL-terminated path, and an open_how of three words, whose size is passed.
    let fd = unsafe {
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, c"/".as_ptr(), how.as_ptr(), size_of_val(&how))
    };
    close_or_refuse(fd)
}

/// Whether the kernel has pidfd_open.
pub fn pidfd_open() -> Attempt {
    // SAFETY: a system call without pointers.
    close_or_refuse(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) })
}

fn close_or_refuse(fd: libc::c_long) -> Attempt {
    if fd < 0 {
        return Err(Refusal::Errno(errno()));
    }
    // SAFETY: the kernel just gave us this descriptor.
    unsafe { libc::close(fd as i32) };
    Ok(())
}

/// Whether inotify reports what `change` does below `dir`.
pub fn inotify(dir: &CStr, change: impl FnOnce() -> io::Result<()>) -> Attempt {
    let refused = |error: io::Error| Refusal::Errno(error.raw_os_error().unwrap_or(libc::EIO));
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
    if fd < 0 {
        return Err(Refusal::Errno(errno()));
    }
    let watch = || -> Attempt {
        // SAFETY: our descriptor and a NUL-terminated path.
        if unsafe { libc::inotify_add_watch(fd, dir.as_ptr(), libc::IN_CREATE) } < 0 {
            return Err(Refusal::Errno(errno()));
        }
        change().map_err(refused)?;
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, and a bound of half a second.
        match unsafe { libc::poll(&raw mut poll, 1, 500) } {
            1 => Ok(()),
            0 => Err(Refusal::NoEffect),
            _ => Err(Refusal::Errno(errno())),
        }
    };
    let seen = watch();
    // SAFETY: our own descriptor.
    unsafe { libc::close(fd) };
    seen
}

/// `prctl(PR_GET_SECUREBITS)`.
pub fn securebits() -> Option<i32> {
    // SAFETY: a prctl that reads a number.
    let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
    (bits >= 0).then_some(bits)
}

/// `prctl(PR_GET_NO_NEW_PRIVS)`; gVisor's /proc/self/status does not say.
pub fn no_new_privs() -> Option<bool> {
    // SAFETY: a prctl that reads a number; its further arguments must be 0.
    match unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// `prctl(PR_GET_SECCOMP)`: 0 none, 2 filter.
pub fn seccomp_mode() -> Option<i32> {
    // SAFETY: a prctl that reads a number. In strict mode it would kill us, but then we would not have come here.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP) };
    (mode >= 0).then_some(mode)
}

/// The first kilobytes of the kernel's log, if we may read it.
pub fn kernel_log() -> Option<String> {
    const READ_ALL: i32 = 3;
    let mut buffer = vec![0_u8; 16 << 10];
    // SAFETY: the buffer has that length.
    let count = unsafe { libc::klogctl(READ_ALL, buffer.as_mut_ptr().cast(), buffer.len() as i32) };
    buffer.truncate(usize::try_from(count).ok()?);
    Some(String::from_utf8_lossy(&buffer).into_owned())
}
