//! Whether umount2 would unmount what a tracee asks for.
//!
//! gVisor (`getMountpoint` in `pkg/sentry/vfs/mount.go`) takes a directory for a mount point if it is one in any mount namespace, and
//! unmounts what it lies in if it is none in the caller's: `/` in the end, with all mounts (`hack/experiments/unmount-elsewhere`). containerd
//! asks so for what it mounts for sandboxes that died by themselves. Linux says EINVAL, and so do we.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::{endless, path};
use crate::mounts::points::points;
use crate::sys::ptrace::Tid;

/// Whether the kernel may be asked to unmount an absolute path of thread `tid`. May wait for whoever serves a filesystem on its way.
///
/// What cannot be told, and what is reached by a symbolic link, is the kernel's to answer.
pub fn may_go(tid: Tid, path: &str) -> bool {
    path == "/" || is_mount_point(tid, path) || !is_named_so(tid, path)
}

fn is_mount_point(tid: Tid, path: &str) -> bool {
    let table = fs::read_to_string(format!("/proc/{tid}/mountinfo"));
    table.is_ok_and(|table| points(&table).any(|point| point == path))
}

/// Whether something is there under just this name, and is no link to another.
fn is_named_so(tid: Tid, path: &str) -> bool {
    let handle = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(format!("/proc/{tid}/root{path}"));
    let (Ok(handle), Some(root)) = (handle, path::root(tid)) else { return false };
    if handle.metadata().is_ok_and(|found| found.is_symlink()) {
        return false;
    }
    let own = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let named = endless::ask(tid, || fs::read_link(own));
    let expected = if root == "/" { path.to_owned() } else { root + path };
    named.is_ok_and(|named| named.as_os_str() == expected.as_str())
}
