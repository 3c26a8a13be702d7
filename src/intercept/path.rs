//! The absolute path that a tracee means, found without touching a filesystem: only magic links in /proc are read.
//!
//! `.`, `..`, `//` and procfs's own links (`/proc/self/cwd`, `/proc/mounts`, `/dev/fd`, …) are understood. A symbolic
//! link in an ordinary filesystem is not followed: resolving through a tracee's view could wait for a tracee
//! (a FUSE server), and the tracer never does. docs/transparency.md says so.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

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

/// The absolute, canonical path that thread `tid` means by `path`; `None` if it cannot be told.
pub fn resolve(tid: Tid, base: Base, path: &str, bounds: Bounds) -> Option<String> {
    let start = if path.starts_with('/') && bounds != Bounds::Root {
        String::from("/")
    } else {
        match base {
            Base::Cwd => seen(tid, "cwd")?,
            Base::Descriptor(fd) => seen(tid, &format!("fd/{fd}"))?,
        }
    };
    let path = match bounds {
        Bounds::None => path.to_owned(),
        // Where it begins with a slash or leads out, the kernel refuses it.
        Bounds::Beneath if path.starts_with('/') => return None,
        Bounds::Beneath => confined(path, false)?,
        Bounds::Root => confined(path, true)?,
    };
    join(&start, &path, &mut |link| match link {
        Link::Magic(name) => seen(tid, name),
        Link::Number(number) => (own_number(tid).as_deref() == Some(number)).then(|| "/proc/self".to_owned()),
    })
}

/// A relative path without `..`. One that leads out stays at its base if `clamp`ed, and is `None` otherwise.
fn confined(path: &str, clamp: bool) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            parts.push(part);
        } else if parts.pop().is_none() && !clamp {
            return None;
        }
    }
    Some(parts.join("/"))
}

/// The path of a descriptor, as the tracee would name it.
pub fn of_descriptor(tid: Tid, fd: i32) -> Option<String> {
    seen(tid, &format!("fd/{fd}"))
}

/// Whether a descriptor is of the root of a real procfs. May wait for whoever serves the descriptor's filesystem.
pub fn is_procfs_root(tid: Tid, fd: i32) -> bool {
    let handle = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(format!("/proc/{tid}/fd/{fd}"));
    handle.is_ok_and(|handle| fstatfs(&handle).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC))
}

/// The mount that an open file lies on, where the kernel tells (proc(5), fdinfo; gVisor does not).
pub fn mount_of(file: &File) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// A namespace's identity, such as `mnt:[4026531841]`.
pub fn namespace(tid: Tid, kind: &str) -> Option<String> {
    link(&format!("/proc/{tid}/ns/{kind}"))
}

/// The root directory of a thread as this process names it.
pub fn root(tid: Tid) -> Option<String> {
    link(&format!("/proc/{tid}/root"))
}

fn link(path: &str) -> Option<String> {
    fs::read_link(path).ok()?.into_os_string().into_string().ok()
}

/// A magic link's target, relative to the tracee's root directory.
fn seen(tid: Tid, name: &str) -> Option<String> {
    let target = link(&format!("/proc/{tid}/{name}"))?;
    let target = target.strip_suffix(" (deleted)").unwrap_or(&target);
    if !target.starts_with('/') {
        return None;
    }
    below(target, &root(tid)?)
}

fn below(target: &str, root: &str) -> Option<String> {
    if root == "/" {
        return Some(target.to_owned());
    }
    match target.strip_prefix(root) {
        Some("") => Some("/".to_owned()),
        Some(rest) if rest.starts_with('/') => Some(rest.to_owned()),
        _ => None,
    }
}

/// What a walk meets in procfs.
enum Link<'a> {
    /// A link of the caller's own process, such as `cwd` or `fd/3`.
    Magic(&'a str),
    /// A process by its number: where does it lead if it is the caller?
    Number(&'a str),
}

/// Walks `path` from `start`, folding `.` and `..`, following procfs's links through `follow`.
fn join(start: &str, path: &str, follow: &mut dyn FnMut(Link<'_>) -> Option<String>) -> Option<String> {
    let mut done = if start == "/" { String::new() } else { start.to_owned() };
    let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
    while let Some(part) = parts.next() {
        if part == ".." {
            done.truncate(done.rfind('/').unwrap_or(0));
            continue;
        }
        done.push('/');
        done.push_str(part);
        if let Some(fixed) = fixed_link(&done) {
            done = fixed.to_owned();
        }
        // The last segment of a call may be the link itself (readlink, lstat), so only what has more behind it is
        // followed.
        if parts.peek().is_none() {
            continue;
        }
        if let Some(own) = process_number(&done).and_then(|number| follow(Link::Number(number))) {
            done = own;
        } else if let Some(name) = magic_link(&done) {
            done = follow(Link::Magic(name))?;
            if done == "/" {
                done.clear();
            }
        }
    }
    Some(if done.is_empty() { "/".to_owned() } else { done })
}

/// Links whose target is the same everywhere.
fn fixed_link(path: &str) -> Option<&'static str> {
    match path {
        "/dev/fd" => Some("/proc/self/fd"),
        "/proc/mounts" => Some("/proc/self/mounts"),
        "/proc/net" => Some("/proc/self/net"),
        _ => None,
    }
}

fn magic_link(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/proc/self/").or_else(|| path.strip_prefix("/proc/thread-self/"))?;
    let descriptor = name.strip_prefix("fd/").is_some_and(|fd| fd.bytes().all(|byte| byte.is_ascii_digit()));
    (name == "cwd" || name == "root" || descriptor).then_some(name)
}

/// The number, if this is a process's directory.
fn process_number(path: &str) -> Option<&str> {
    let number = path.strip_prefix("/proc/")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(number)
}

fn own_number(tid: Tid) -> Option<String> {
    innermost_number(&fs::read_to_string(format!("/proc/{tid}/status")).ok()?).map(str::to_owned)
}

/// The process's number in its own pid namespace, from /proc/PID/status.
fn innermost_number(status: &str) -> Option<&str> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    field("NStgid:").or_else(|| field("Tgid:"))?.split_whitespace().last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(start: &str, path: &str) -> Option<String> {
        join(start, path, &mut |link| match link {
            Link::Magic("cwd") => Some("/some/dir".to_owned()),
            Link::Magic("root") => Some("/".to_owned()),
            Link::Magic("fd/3") => Some("/proc/sys".to_owned()),
            Link::Number("77") => Some("/proc/self".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn dots_and_slashes_are_folded() {
        for (start, path, expected) in [
            ("/", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic"),
            ("/", "//proc/./sys//kernel/../kernel/panic", "/proc/sys/kernel/panic"),
            ("/", "/../../proc/x", "/proc/x"),
            ("/proc/sys", "kernel/panic", "/proc/sys/kernel/panic"),
            ("/proc/sys", "../..", "/"),
            ("/proc/sys", "", "/proc/sys"),
        ] {
            assert_eq!(walk(start, path).as_deref(), Some(expected), "{start} {path}");
        }
    }

    #[test]
    fn procfs_links_are_followed_where_more_comes_behind_them() {
        for (path, expected) in [
            ("/proc/self/root/proc/x", "/proc/x"),
            ("/proc/self/cwd/file", "/some/dir/file"),
            ("/proc/self/cwd/../file", "/some/file"),
            ("/dev/fd/3/kernel/panic", "/proc/sys/kernel/panic"),
            ("/proc/self/fd/3", "/proc/self/fd/3"),
            ("/proc/mounts", "/proc/self/mounts"),
            ("/proc/net/dev", "/proc/self/net/dev"),
            ("/proc/77/stat", "/proc/self/stat"),
            ("/proc/77/root/proc/77/stat", "/proc/self/stat"),
            ("/proc/78/stat", "/proc/78/stat"),
        ] {
            assert_eq!(walk("/", path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(walk("/", "/proc/self/fd/9/x"), None);
    }

    #[test]
    fn a_confined_path_stays_below_its_base() {
        assert_eq!(confined("/a/../../b/./c", true).as_deref(), Some("b/c"));
        assert_eq!(confined("a/../b", false).as_deref(), Some("b"));
        assert_eq!(confined("a/../../b", false), None);
    }

    #[test]
    fn a_path_outside_the_root_directory_is_not_guessed() {
        assert_eq!(below("/jail/proc/x", "/jail").as_deref(), Some("/proc/x"));
        assert_eq!(below("/jailed/x", "/jail"), None);
    }

    #[test]
    fn the_own_number_is_that_of_the_innermost_pid_namespace() {
        assert_eq!(innermost_number("Name:\tx\nTgid:\t77\nNStgid:\t77\t1\n"), Some("1"));
        assert_eq!(innermost_number("Tgid:\t77\n"), Some("77"));
    }
}
