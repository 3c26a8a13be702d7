//! The absolute path that a tracee means, found without touching a filesystem: only magic links in /proc are read.
//!
//! `.`, `..`, `//` and procfs's own links (`/proc/self/cwd`, `/proc/mounts`, `/dev/fd`, …) are understood. A symbolic
//! link in an ordinary filesystem is not followed: resolving through a tracee's view could wait for a tracee
//! (a FUSE server), and the tracer never does. docs/transparency.md says so.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::endless;
use super::walk::{Ask, Caller, Links, confined};
use crate::sys::ptrace::Tid;

/// The base that a relative path starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The working directory.
    Cwd,
    /// A descriptor.
    Descriptor(i32),
}

/// How far from its base a path may lead (openat2(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// Anywhere.
    None,
    /// The base is its root directory.
    Root,
    /// Not outside; such a path fails.
    Beneath,
}

/// What a call lets a path do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Where it may lead.
    pub bounds: Bounds,
    /// Which links it may follow.
    pub links: Links,
}

impl Limits {
    /// Those of openat2's `RESOLVE_*` flags. Of RESOLVE_NO_XDEV nothing can be told without touching a filesystem.
    pub const fn of(resolve: u64) -> Self {
        let bounds = match resolve {
            _ if resolve & libc::RESOLVE_IN_ROOT != 0 => Bounds::Root,
            _ if resolve & libc::RESOLVE_BENEATH != 0 => Bounds::Beneath,
            _ => Bounds::None,
        };
        let links = match bounds {
            _ if resolve & libc::RESOLVE_NO_SYMLINKS != 0 => Links::None,
            Bounds::None if resolve & libc::RESOLVE_NO_MAGICLINKS == 0 => Links::All,
            // The kernel lets nothing jump out of a scope (fs/namei.c, nd_jump_link).
            _ => Links::Ordinary,
        };
        Self { bounds, links }
    }
}

/// The absolute, canonical path that thread `tid` means by `path`; `None` if it cannot be told, or is not to be reached so.
pub fn resolve(tid: Tid, base: Base, path: &str, Limits { bounds, links }: Limits) -> Option<String> {
    let caller = caller(tid);
    let start = if path.starts_with('/') && bounds != Bounds::Root {
        String::from("/")
    } else {
        match base {
            Base::Cwd => caller.meant("cwd")?,
            Base::Descriptor(fd) => caller.meant(&format!("fd/{fd}"))?,
        }
    };
    match bounds {
        Bounds::None => caller.walk(&start, path, links),
        // Where it begins with a slash or leads out, the kernel refuses it.
        Bounds::Beneath if path.starts_with('/') => None,
        Bounds::Beneath => caller.walk(&start, &confined(path, false)?, links),
        Bounds::Root => caller.walk(&start, &confined(path, true)?, links),
    }
}

fn caller(tid: Tid) -> Caller<impl Fn(Ask<'_>) -> Option<String>> {
    Caller::new(move |ask| match ask {
        Ask::Link(name) => link(tid, name),
        Ask::Status => fs::read_to_string(format!("/proc/{tid}/status")).ok(),
    })
}

/// The path of a descriptor, as the tracee would name it.
pub fn of_descriptor(tid: Tid, fd: i32) -> Option<String> {
    caller(tid).seen(&format!("fd/{fd}"))
}

/// Whether a descriptor is of the root of a real procfs. May wait for whoever serves the descriptor's filesystem.
pub fn is_procfs_root(tid: Tid, fd: i32) -> bool {
    let handle = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(format!("/proc/{tid}/fd/{fd}"));
    handle.is_ok_and(|handle| is_root_of_procfs(&handle))
}

fn is_root_of_procfs(handle: &File) -> bool {
    // Any directory of procfs can be bound to a path that ends so; of all of them the root alone has `self`. Where that
    // leads depends on who asks: from outside its pid namespace, nowhere.
    let of_procfs = || fstatfs(handle).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC);
    let link = || fstatat(handle, "self", AtFlags::AT_SYMLINK_NOFOLLOW);
    of_procfs() && link().is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFLNK)
}

/// The mount that an open file lies on, where the kernel tells (proc(5), fdinfo; gVisor does not).
pub fn mount_of(file: &File) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// A namespace's identity, such as `mnt:[4026531841]`.
pub fn namespace(tid: Tid, kind: &str) -> Option<String> {
    link(tid, &format!("ns/{kind}"))
}

/// The root directory of a thread as this process names it.
pub fn root(tid: Tid) -> Option<String> {
    link(tid, "root")
}

fn link(tid: Tid, name: &str) -> Option<String> {
    let path = format!("/proc/{tid}/{name}");
    endless::ask(tid, || fs::read_link(path)).ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openat2s_flags_say_what_a_path_may_do() {
        for (resolve, bounds, links) in [
            (0, Bounds::None, Links::All),
            (libc::RESOLVE_NO_XDEV, Bounds::None, Links::All),
            (libc::RESOLVE_NO_MAGICLINKS, Bounds::None, Links::Ordinary),
            (libc::RESOLVE_NO_SYMLINKS, Bounds::None, Links::None),
            (libc::RESOLVE_BENEATH, Bounds::Beneath, Links::Ordinary),
            (libc::RESOLVE_IN_ROOT, Bounds::Root, Links::Ordinary),
            (libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS, Bounds::Root, Links::None),
        ] {
            assert_eq!(Limits::of(resolve), Limits { bounds, links }, "{resolve:#x}");
        }
    }

    #[test]
    fn of_all_directories_of_procfs_its_root_alone_is_taken_for_it() {
        for (directory, expected) in [
            ("/proc", true),
            ("/proc/self", false),
            ("/proc/self/ns", false),
            ("/proc/self/task", false),
            ("/proc/self/fd", false),
            ("/proc/sys", false),
            ("/tmp", false),
        ] {
            let handle = File::open(directory).unwrap();
            assert_eq!(is_root_of_procfs(&handle), expected, "{directory}");
            let me = std::process::id() as Tid;
            assert_eq!(is_procfs_root(me, handle.as_raw_fd()), expected, "{directory} by its number");
        }
    }
}
