//! Whether umount2 would unmount what a tracee asks for.
//!
//! gVisor (`getMountpoint` in `pkg/sentry/vfs/mount.go`) takes a directory for a mount point if it is one in any mount namespace, and
//! unmounts what it lies in if it is none in the caller's: `/` in the end, with all mounts (`hack/experiments/unmount-elsewhere`). containerd
//! asks so for what it mounts for sandboxes that died by themselves. Linux says EINVAL, and so do we.
//!
//! What cannot be told by a path's text is left to the kernel: under another root than the namespace's, with `..` behind a name, through
//! a symbolic link, of a point that another mount covers.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

use super::call;
use super::memory::Job;
use super::path::{Base, Limits};
use super::steps::{Parked, Step};
use super::tracer::Tracer;
use super::{endless, path};
use crate::mounts::points::unescaped;
use crate::sys::ptrace::{self, Registers, Tid};

const CAP_SYS_ADMIN: u32 = 21;

/// How long one may keep the next waiting: one that waits for a FUSE server may wait for ever, perhaps for the next.
const TURN: Duration = Duration::from_secs(2);

/// The calls of umount2, which run one after the other: what one unmounts another would have found.
#[derive(Default)]
pub(super) struct Unmounts {
    now: Option<(Tid, Instant)>,
    waiting: VecDeque<(Tid, Registers, String)>,
}

impl Unmounts {
    /// A thread is gone.
    pub(super) fn forget(&mut self, tid: Tid) {
        self.waiting.retain(|(waits, ..)| *waits != tid);
    }

    /// How long to wait for other events. Where no thread can serve a FUSE filesystem no call waits for one.
    pub(super) fn patience(&self) -> PollTimeout {
        if self.waiting.is_empty() { PollTimeout::NONE } else { PollTimeout::from(TURN.as_millis() as u16) }
    }
}

impl Tracer {
    /// At the call's entry.
    pub(super) fn unmount(&mut self, tid: Tid, regs: Registers, path: &str) {
        let judged = self.probe.unmounts_astray && !path.is_empty() && is_plain(path);
        match judged.then(|| path::resolve(tid, Base::Cwd, path, Limits::of(0))).flatten() {
            Some(path) => self.unmounts.waiting.push_back((tid, regs, path)),
            None => self.resume(tid, 0),
        }
    }

    /// Whose turn it is, if nobody has it. To be asked after every stop.
    pub(super) fn whose_unmount(&self) -> Option<Tid> {
        let (next, ..) = self.unmounts.waiting.front()?;
        let taken =
            self.unmounts.now.is_some_and(|(tid, since)| since.elapsed() < TURN && self.is_unmounting(tid));
        (!taken).then_some(*next)
    }

    /// Lets that one go on.
    pub(super) fn next_unmount(&mut self) {
        let Some((tid, regs, path)) = self.unmounts.waiting.pop_front() else { return };
        self.unmounts.now = Some((tid, Instant::now()));
        // A sibling's exec can have taken its number over while it waited, to be told next.
        if !ptrace::stands_at_exec(tid) {
            self.perform(tid, Job::Unmount { path }, Parked::Unmount { regs });
        }
    }

    /// Whether a thread has the turn, or had it and has not done.
    pub(super) fn is_unmounting(&self, tid: Tid) -> bool {
        let judged = matches!(self.parked.get(&tid), Some((_, Parked::Unmount { .. })));
        judged || self.pending.get(&tid).is_some_and(|pending| matches!(pending.step, Step::Unmount))
    }

    /// Whether it may go was asked.
    pub(super) fn judged(&mut self, tid: Tid, regs: Registers, may_go: bool) {
        if may_go {
            self.await_exit(tid, &regs.clone(), regs, Step::Unmount);
        } else {
            self.resume_with(tid, &call::skipped(&regs, -i64::from(libc::EINVAL)));
        }
    }
}

/// Whether a path can be judged by its text.
pub fn is_plain(path: &str) -> bool {
    let climbs = |part: &str| part == "..";
    let names = |part: &str| !matches!(part, "" | "." | "..");
    // A line of a table ends where a name has a newline.
    !path.contains('\n') && !path.split('/').skip_while(|part| !names(part)).any(climbs)
}

/// Whether the kernel may be asked to unmount an absolute path of thread `tid`. May wait for whoever serves a filesystem on its way.
pub fn may_go(tid: Tid, path: &str) -> bool {
    // The last ones alone walk the path; a thread that may not unmount is to learn nothing by us.
    path == "/"
        || path::root(tid).is_none_or(|root| root != "/")
        || table(tid).is_none_or(|table| leads_to_mount(&table, path))
        || !may_unmount(tid)
        || !is_named_so(tid, path)
}

/// What is mounted, by a thread's root. In mountinfo gVisor 4.4.0 asks the servers of all FUSE filesystems.
fn table(tid: Tid) -> Option<String> {
    endless::ask(tid, || fs::read_to_string(format!("/proc/{tid}/mounts"))).ok()
}

/// Whether a table such as /proc/PID/mounts has a mount point, or one of a FUSE filesystem on the way there: its server may never
/// answer a look-up.
fn leads_to_mount(table: &str, path: &str) -> bool {
    let leads = |(point, kind): (&str, &str)| {
        let names = [point.to_owned(), unescaped(point)];
        let below =
            |point: &String| path.strip_prefix(point.as_str()).is_some_and(|rest| rest.starts_with('/'));
        names.iter().any(|point| point == path) || kind.starts_with("fuse") && names.iter().any(below)
    };
    table.lines().filter_map(point).any(leads)
}

/// Mount point and type in a line. gVisor writes blanks in it as they are.
fn point(line: &str) -> Option<(&str, &str)> {
    let (_source, rest) = line.split_once(' ')?;
    // Behind them stand options and two numbers.
    let mut from_the_end = rest.rsplitn(5, ' ').skip(3);
    let kind = from_the_end.next()?;
    Some((from_the_end.next()?, kind))
}

fn may_unmount(tid: Tid) -> bool {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0)
}

/// Whether something is there under just this name, and is no link to another.
fn is_named_so(tid: Tid, path: &str) -> bool {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let Ok(handle) = endless::ask(tid, || options.open(format!("/proc/{tid}/root{path}"))) else {
        return false;
    };
    if handle.metadata().is_ok_and(|found| found.is_symlink()) {
        return false;
    }
    let named = endless::ask(tid, || fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd())));
    named.is_ok_and(|named| named.as_os_str() == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_climbs_behind_a_name_is_not_plain() {
        for path in ["/", ".", "..", "../..", "a/b", "/a/./b/", "../a", "/../a"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["a\nb", "a/..", "/a/../b", "../a/../b", "a/b/.."] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn mount_points_and_what_fuse_serves_are_found_in_a_table() {
        let table = "none / 9p rw 0 0\nnone /a b/c tmpfs rw,size=1 0 0\n/dev/x /d\\040e ext4 rw 0 0\nfs /f fuse.x rw 0 0\nbad\n";
        for path in ["/", "/a b/c", "/d e", "/f", "/f/x/y"] {
            assert!(leads_to_mount(table, path), "{path}");
        }
        for path in ["/a b", "/a b/c/d", "/d", "/ff", "bad"] {
            assert!(!leads_to_mount(table, path), "{path}");
        }
    }

    #[test]
    fn mount_points_what_is_not_there_and_links_are_the_kernels_to_answer() {
        let own = std::process::id() as Tid;
        let place = tempfile::tempdir().unwrap();
        let name = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(name("directory")).unwrap();
        std::os::unix::fs::symlink("directory", name("link")).unwrap();
        fs::create_dir(name("directory/in")).unwrap();
        for path in ["/", "/proc", &name("nothing"), &name("link"), &name("link/in")] {
            assert!(may_go(own, path), "{path}");
        }
        for path in [name("directory"), name("directory/in")] {
            assert!(!may_go(own, &path), "{path}");
        }
    }
}
