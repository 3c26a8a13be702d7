//! The walk from a tracee's path to the one that it means: text alone, except for what is asked of /proc about the thread.
//!
//! Any tracee can make the one tracer thread walk, and a path has room for 2,000 segments. So what cannot change within a
//! call is asked for once, and of links no more are followed than the kernel would follow.

use std::cell::OnceCell;

use crate::rules::canonical::fixed_link;

/// Links that the kernel follows in one path; with one more it says ELOOP (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// A question to /proc about a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// The target of this magic link of its, such as `cwd` or `fd/3`.
    Link(&'a str),
    /// The content of its `status`.
    Status,
}

/// Which links a call lets a path follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// All.
    All,
    /// All but procfs's magic ones.
    Ordinary,
    /// None.
    None,
}

/// A thread whose path is resolved, within one call of its.
pub struct Caller<F> {
    ask: F,
    root: OnceCell<Option<String>>,
    number: OnceCell<Option<String>>,
}

impl<F: Fn(Ask<'_>) -> Option<String>> Caller<F> {
    /// Of whom is asked through `ask`.
    pub fn new(ask: F) -> Self {
        Self { ask, root: OnceCell::new(), number: OnceCell::new() }
    }

    /// A magic link's target, relative to the thread's root directory.
    pub fn seen(&self, name: &str) -> Option<String> {
        let target = (self.ask)(Ask::Link(name))?;
        let target = target.strip_suffix(" (deleted)").unwrap_or(&target);
        if !target.starts_with('/') {
            return None;
        }
        below(target, self.root.get_or_init(|| (self.ask)(Ask::Link("root"))).as_deref()?)
    }

    /// As [`Caller::seen`], with the thread's own process under the name that rules have for it.
    pub fn meant(&self, name: &str) -> Option<String> {
        let target = self.seen(name)?;
        let Some(rest) = target.strip_prefix("/proc/") else { return Some(target) };
        let (number, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some(if is_number(number) && self.is_own(number) { format!("/proc/self{rest}") } else { target })
    }

    fn is_own(&self, number: &str) -> bool {
        let own = || innermost_number(&(self.ask)(Ask::Status)?).map(str::to_owned);
        self.number.get_or_init(own).as_deref() == Some(number)
    }

    /// Walks `path` from the directory `start`, folding `.` and `..`, following procfs's links; `None` where one of them may
    /// not be.
    pub fn walk(&self, start: &str, path: &str, allowed: Links) -> Option<String> {
        let mut done = if start == "/" { String::new() } else { start.to_owned() };
        let (mut links, mut magic) = (0, false);
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
                links += 1;
            }
            // The last segment of a call may be the link itself (readlink, lstat), so only what has more behind it is
            // followed.
            if parts.peek().is_some() {
                if process_number(&done).is_some_and(|number| self.is_own(number)) {
                    done = "/proc/self".to_owned();
                } else if matches!(done.as_str(), "/proc/self" | "/proc/thread-self") {
                    links += 1;
                } else if let Some(name) = magic_link(&done) {
                    links += 1;
                    magic = true;
                    if links <= MAX_LINKS {
                        done = self.meant(name)?;
                    }
                    if done == "/" {
                        done.clear();
                    }
                }
            }
            let refused = match allowed {
                Links::All => false,
                Links::Ordinary => magic,
                Links::None => links > 0,
            };
            if refused || links > MAX_LINKS {
                return None;
            }
        }
        Some(if done.is_empty() { "/".to_owned() } else { done })
    }
}

/// Whether a path can only be of a directory.
pub fn wants_directory(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("" | "." | ".."))
}

/// A relative path without `..`. One that leads out stays at its base if `clamp`ed, and is `None` otherwise.
pub fn confined(path: &str, clamp: bool) -> Option<String> {
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

fn magic_link(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/proc/self/").or_else(|| path.strip_prefix("/proc/thread-self/"))?;
    (name == "cwd" || name == "root" || name.strip_prefix("fd/").is_some_and(is_number)).then_some(name)
}

/// The number, if this is a process's directory.
fn process_number(path: &str) -> Option<&str> {
    path.strip_prefix("/proc/").filter(|number| is_number(number))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The process's number in its own pid namespace, from /proc/PID/status.
fn innermost_number(status: &str) -> Option<&str> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    field("NStgid:").or_else(|| field("Tgid:"))?.split_whitespace().last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Process 77, whose working directory is /some/dir; a path that it means, and the questions that it took.
    fn counted(start: &str, path: &str) -> (Option<String>, u32) {
        let asked = Cell::new(0);
        let caller = Caller::new(|ask| {
            asked.set(asked.get() + 1);
            let answer = match ask {
                Ask::Status => "Name:\tx\nTgid:\t4077\nNStgid:\t4077\t77\n",
                Ask::Link("cwd") => "/some/dir",
                Ask::Link("root") => "/",
                Ask::Link("fd/3") => "/proc/sys",
                Ask::Link("fd/4") => "/proc/77",
                Ask::Link("fd/5") => "/proc/77/net",
                Ask::Link("fd/6") => "/proc/78",
                Ask::Link("fd/7") => "/proc/77/fd",
                Ask::Link("fd/8") => "/proc",
                Ask::Link(_) => return None,
            };
            Some(answer.to_owned())
        });
        let start = if start.starts_with('/') { Some(start.to_owned()) } else { caller.meant(start) };
        (start.and_then(|start| caller.walk(&start, path, Links::All)), asked.get())
    }

    fn walk(start: &str, path: &str) -> Option<String> {
        counted(start, path).0
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
    fn the_own_process_is_known_by_a_directory_or_link_too() {
        for (start, path, expected) in [
            ("fd/4", "stat", "/proc/self/stat"),
            ("fd/4", "net/dev", "/proc/self/net/dev"),
            ("fd/4", "../77/stat", "/proc/self/stat"),
            ("fd/4", "../net/dev", "/proc/self/net/dev"),
            ("fd/5", "dev", "/proc/self/net/dev"),
            ("fd/6", "stat", "/proc/78/stat"),
            ("fd/7", "3/kernel/panic", "/proc/sys/kernel/panic"),
            ("fd/8", "mounts", "/proc/self/mounts"),
            ("fd/8", "77/stat", "/proc/self/stat"),
            ("/", "/proc/self/fd/4/stat", "/proc/self/stat"),
        ] {
            assert_eq!(walk(start, path).as_deref(), Some(expected), "{start} {path}");
        }
    }

    #[test]
    fn a_path_made_to_be_long_takes_few_questions() {
        for (part, most) in [("/1/../77/..", 1), ("/self/..", 0), ("/self/fd/8", 41), ("/self/root/proc", 40)]
        {
            let path = format!("/proc{}", part.repeat(4090 / part.len()));
            let (_, asked) = counted("/", &path);
            assert!(asked <= most, "{path:.40}…: {asked} questions");
        }
    }

    #[test]
    fn no_more_links_are_followed_than_the_kernel_follows() {
        let path = |times: usize| format!("{}/proc/x", "/proc/self/root".repeat(times));
        assert_eq!(walk("/", &path(20)).as_deref(), Some("/proc/x"));
        assert_eq!(walk("/", &path(21)), None);
        assert_eq!(walk("/", &format!("/proc{}/x", "/self/..".repeat(41))), None);
    }

    #[test]
    fn a_link_that_may_not_be_followed_leads_nowhere() {
        let caller = Caller::new(|ask| (ask == Ask::Status).then(|| "Tgid:\t77\n".to_owned()));
        let caller_in_root = Caller::new(|_| Some("/".to_owned()));
        for (path, ordinary, none) in [
            ("/proc/sys/kernel/panic", true, true),
            ("/proc/77/stat", true, true),
            ("/proc/mounts", true, false),
            ("/proc/self/stat", true, false),
            ("/proc/thread-self/../self", true, false),
        ] {
            assert_eq!(caller.walk("/", path, Links::Ordinary).is_some(), ordinary, "{path}");
            assert_eq!(caller.walk("/", path, Links::None).is_some(), none, "{path}");
        }
        for (allowed, followed) in [(Links::All, true), (Links::Ordinary, false), (Links::None, false)] {
            let walked = caller_in_root.walk("/proc/self", "root/proc/x", allowed);
            assert_eq!(walked.is_some(), followed, "{allowed:?}");
        }
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
