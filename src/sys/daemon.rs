//! What a daemon sheds before anything else: descriptors that it inherited by accident.

use std::os::fd::RawFd;

/// Closes every descriptor from `first` on. For the start of `main` alone: nothing of this process may own one yet.
pub fn close_inherited(first: RawFd) {
    let Ok(low) = libc::c_uint::try_from(first) else { return };
    // SAFETY: close_range takes three integers; the caller vouches that nothing owns these descriptors yet.
    let done = unsafe { libc::syscall(libc::SYS_close_range, low, libc::c_uint::MAX, 0) };
    if done == 0 {
        return;
    }
    // A kernel without close_range: by name. The list is complete before the first is closed, and with it the
    // directory's own descriptor.
    let listed: Vec<RawFd> = std::fs::read_dir("/proc/self/fd").map_or_else(
        |_| (first..1024).collect(),
        |entries| entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
    );
    for fd in listed.into_iter().filter(|fd| *fd >= first) {
        // SAFETY: as above; closing a number that is not open fails with EBADF and does nothing.
        unsafe { libc::close(fd) };
    }
}
