//! When a page fault in a tracee may wait for another process: then its memory must not be touched by the tracer thread.
//!
//! What the kernel itself keeps in memory never makes a fault wait. Everything else might: a FUSE or 9p server, an NFS
//! export, a network block device, all of which may be served by a tracee that is stopped and waits for us.

/// Filesystems whose pages come from the kernel alone.
const KERNEL_MADE: [&str; 21] = [
    "proc",
    "sysfs",
    "tmpfs",
    "ramfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "cpuset",
    "overlay",
    "mqueue",
    "hugetlbfs",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "configfs",
    "pstore",
    "binfmt_misc",
    "nsfs",
    "efivarfs",
];

/// mount(2) with one of these makes no new filesystem.
const NO_NEW_FILESYSTEM: u64 = libc::MS_BIND
    | libc::MS_MOVE
    | libc::MS_REMOUNT
    | libc::MS_SHARED
    | libc::MS_PRIVATE
    | libc::MS_SLAVE
    | libc::MS_UNBINDABLE;

/// Whether a filesystem of this type, mounted with these flags, may make faults wait.
pub fn may_wait(filesystem: Option<&[u8]>, flags: u64) -> bool {
    let known = |name: &[u8]| KERNEL_MADE.iter().any(|made| made.as_bytes() == name);
    flags & NO_NEW_FILESYSTEM == 0 && !filesystem.is_none_or(known)
}

/// Whether a descriptor with this link in /proc lets its holder answer page faults.
pub fn serves(link: &str) -> bool {
    link == "/dev/fuse"
        || link == "/dev/userfaultfd"
        || link == "anon_inode:[userfaultfd]"
        || link.starts_with("/dev/nbd")
}

/// Whether a path that ends so could be one that [`serves`]: a look at the last segment is cheap, resolving is not.
pub fn could_serve(last: &str) -> bool {
    last == "fuse" || last == "userfaultfd" || last.starts_with("nbd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_that_serves_faults_is_worth_a_look() {
        for link in ["/dev/fuse", "/dev/userfaultfd", "/dev/nbd0", "/dev/nbd15p1"] {
            assert!(serves(link) && could_serve(link.rsplit('/').next().unwrap()), "{link}");
        }
        assert!(!could_serve("null") && !serves("/home/nbd"));
    }

    #[test]
    fn only_what_the_kernel_serves_from_memory_is_trusted() {
        for (name, flags, expected) in [
            (Some(&b"fuse.sshfs"[..]), 0, true),
            (Some(b"9p"), 0, true),
            (Some(b"ext4"), 0, true),
            (Some(b"ext4"), libc::MS_BIND, false),
            (Some(b"proc"), 0, false),
            (Some(b"tmpfs"), libc::MS_NOSUID, false),
            (None, 0, false),
        ] {
            assert_eq!(may_wait(name, flags), expected, "{name:?} {flags:#x}");
        }
    }
}
