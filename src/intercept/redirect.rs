//! Redirects: the call runs with another path, which lies in a scratch page that is mapped into the tracee for it.
//!
//! To map the page the call is replaced by mmap and then made again, from its own instruction and with its own
//! arguments, as the kernel restarts an interrupted call. So a signal that comes in between finds nothing odd. The page
//! is unmapped afterwards, unless the call was interrupted: then it waits for the call's next try.

use super::call::{self, Call};
use super::memory::Job;
use super::path::{self, Bounds};
use super::steps::{Injection, Parked, Step};
use super::syscalls::Abi;
use super::tracer::Tracer;
use super::walk::wants_directory;
use crate::rules::model::Target;
use crate::sys::ptrace::{Registers, Tid};

/// Bytes mapped for a rewritten path; a path is never longer.
pub(super) const SCRATCH: u64 = 4096;

/// How a call names what a rule is about.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    /// As the caller wrote it.
    pub text: &'a str,
    /// What that means.
    pub resolved: &'a str,
    /// How far it may lead.
    pub bounds: Bounds,
}

impl Name<'_> {
    /// Whether another absolute path may stand in its place: under a bound it would fail, or mean something else.
    fn replaceable(&self) -> bool {
        self.bounds == Bounds::None
    }

    /// The path of a neighbour.
    fn beside(&self, sibling: &str) -> Option<String> {
        // What asks for a directory must go on doing so.
        let slash = if wants_directory(self.text) { "/" } else { "" };
        let bare = self.text.trim_end_matches('/');
        let last = bare.rsplit('/').next().unwrap_or_default();
        let named = match last {
            // Whose neighbour is meant does not stand there.
            "." | ".." if self.replaceable() => self.resolved,
            "." | ".." => return None,
            _ => bare,
        };
        let dir = named.rfind('/').map_or("", |at| &named[..=at]);
        Some(format!("{dir}{sibling}{slash}"))
    }
}

impl Tracer {
    /// The new path of a redirected call; `None` where it would lead astray.
    pub(super) fn redirected(&self, tid: Tid, name: Name<'_>, target: &Target) -> Option<Vec<u8>> {
        let path = match target {
            Target::Sibling(sibling) => name.beside(sibling)?,
            Target::To(path) => (name.replaceable() && self.at_home(tid)).then(|| path.clone())?,
        };
        Some(path.into_bytes()).filter(|path| (path.len() as u64) < SCRATCH)
    }

    /// Whether the thread shares the supervisor's mount namespace and root directory.
    fn at_home(&self, tid: Tid) -> bool {
        self.in_own_mount_namespace(tid) && path::root(tid).as_deref() == Some("/")
    }

    /// Whether the thread shares the supervisor's mount namespace; not if the kernel does not tell.
    pub(super) fn in_own_mount_namespace(&self, tid: Tid) -> bool {
        known_and_same(self.own_mount_namespace.as_deref(), path::namespace(tid, "mnt").as_deref())
    }

    /// At the call's entry: go elsewhere.
    pub(super) fn redirect(&mut self, tid: Tid, regs: Registers, call: Call, path: Vec<u8>) {
        let Some(at) = self.scratch.get(&tid).copied() else { return self.map_scratch(tid, regs, call) };
        let bytes = [path, vec![0]].concat();
        self.perform(tid, Job::Write { at, bytes }, Parked::PathWritten { saved: regs, call, scratch: at });
    }

    fn map_scratch(&mut self, tid: Tid, regs: Registers, call: Call) {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let args = [0, SCRATCH, prot as u64, flags as u64, u64::MAX, 0];
        let map = call::replaced(&regs, call.abi, call.abi.injected().mmap, args);
        self.await_exit(tid, &map, regs, Step::Map);
    }

    /// The scratch page is there: the call is made again, and this time finds it.
    pub(super) fn mapped(&mut self, tid: Tid, saved: &Registers, result: i64) {
        if (-4095..0).contains(&result) {
            return self.resume_with(tid, &call::finished(saved, result));
        }
        // A 32-bit address may look negative.
        let page = if call::abi(saved) == Abi::I386 { result & 0xffff_ffff } else { result };
        self.scratch.insert(tid, page as u64);
        self.resume_with(tid, &call::rewound(saved));
    }

    /// The new path was written, or could not be: the tracee unmapped our page.
    pub(super) fn path_written(&mut self, tid: Tid, saved: Registers, call: Call, at: u64, done: bool) {
        if !done {
            self.scratch.remove(&tid);
            return self.resume_with(tid, &call::skipped(&saved, -i64::from(libc::ENOMEM)));
        }
        let mut args = call.args;
        if let Some(slot) = call.syscall.path.and_then(|index| args.get_mut(index)) {
            *slot = at;
        }
        let rewritten = call::replaced(&saved, call.abi, saved.orig_rax, args);
        self.await_exit(tid, &rewritten, saved, Step::Rewritten);
    }

    /// The redirected call has run.
    pub(super) fn redirect_done(&mut self, tid: Tid, saved: Registers, result: i64) {
        let page = self.scratch.get(&tid).copied().filter(|_| !call::restarts(result));
        let Some(page) = page else { return self.resume_with(tid, &call::finished(&saved, result)) };
        let (number, args) = (call::abi(&saved).injected().munmap, [page, SCRATCH, 0, 0, 0, 0]);
        self.inject(tid, saved, Injection { number, args }, Step::Unmap { result });
    }
}

fn known_and_same(ours: Option<&str>, theirs: Option<&str>) -> bool {
    ours.is_some() && ours == theirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_the_kernel_does_not_tell_is_not_ours() {
        assert!(known_and_same(Some("mnt:[1]"), Some("mnt:[1]")));
        for (ours, theirs) in [(Some("mnt:[1]"), Some("mnt:[2]")), (Some("mnt:[1]"), None), (None, None)] {
            assert!(!known_and_same(ours, theirs), "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn a_neighbour_is_that_of_what_the_path_means() {
        let resolved = "/proc/sys/kernel/x";
        let beside = |text, bounds| Name { text, resolved, bounds }.beside("y");
        for (text, expected) in [
            ("/proc/sys/kernel/x", "/proc/sys/kernel/y"),
            ("x", "y"),
            ("x//", "y/"),
            ("../kernel/./x", "../kernel/./y"),
            ("/proc/sys/kernel/x/.", "/proc/sys/kernel/y/"),
            ("x/./", "/proc/sys/kernel/y/"),
            (".", "/proc/sys/kernel/y/"),
            ("x/z/..", "/proc/sys/kernel/y/"),
        ] {
            assert_eq!(beside(text, Bounds::None).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(beside("kernel/x", Bounds::Beneath).as_deref(), Some("kernel/y"));
        assert_eq!(beside("kernel/x/.", Bounds::Root), None);
    }
}
