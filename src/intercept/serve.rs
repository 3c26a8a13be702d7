//! What a trapped call gets: run it, answer it at its entry, make it a memfd, or send it elsewhere.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Backend;
use super::call::{self, Call, Decoded};
use super::faults;
use super::fill::Fake;
use super::filter;
use super::memory::{How, Job};
use super::metadata::{self, Metadata};
use super::open::{self, Answer, Writer};
use super::path::{self, Base, Limits};
use super::probe;
use super::redirect::Name;
use super::scopes::Scope;
use super::steps::{Fill, Opened, Parked, Step};
use super::syscalls::{Kind, Layout};
use super::tracer::Tracer;
use super::walk::wants_directory;
use crate::rules::matcher::RuleIndex;
use crate::rules::model::{Access, Action};
use crate::rules::observed::{Hit, Scalar};
use crate::sys::ptrace::{self, Registers, Tid};

/// Longest name that memfd_create(2) takes.
const MEMFD_NAME_MAX: usize = 249;
/// Size of `struct open_how`, below which openat2 refuses it.
const HOW_SIZE: u64 = 24;
const O_LARGEFILE: i32 = 0o100_000;

impl Tracer {
    /// Whether it is our filter that has stopped the call, and not one of the program's own.
    fn asked_by_us(&self, tid: Tid, call: &Call) -> bool {
        let ours = u64::from(filter::mark(call.index));
        self.backend != Backend::SeccompTrace || ptrace::event_message(tid).is_ok_and(|data| data == ours)
    }

    /// A trapped call at its entry.
    pub(super) fn serve(&mut self, tid: Tid, regs: Registers) {
        let decoded = match call::decode(&regs, self.probe.syscall_marks) {
            Decoded::Ours(call) if !self.asked_by_us(tid, &call) => Decoded::Theirs,
            decoded => decoded,
        };
        let call = match decoded {
            Decoded::Ours(call) => call,
            // A sibling's exec has taken the number over since this stop was told. It stands there now, to be told next.
            Decoded::Theirs | Decoded::Odd
                if self.backend == Backend::SeccompTrace && ptrace::stands_at_exec(tid) =>
            {
                return;
            }
            // A filter of the program's own asks for a tracer, and it has none: the kernel's answer to that.
            Decoded::Theirs if self.backend == Backend::SeccompTrace => {
                return self.resume_with(tid, &call::skipped(&regs, -i64::from(libc::ENOSYS)));
            }
            Decoded::Theirs => return self.resume(tid, 0),
            Decoded::Odd => {
                // By the other ABI's numbers, which are not looked at, it could be any call.
                self.expect_waiting_faults(tid, "a call of another ABI");
                return self.resume(tid, 0);
            }
        };
        self.observed.bump(Scalar::Stops);
        self.observed.bump_syscall(call.index);
        self.refresh();
        let spec = call.syscall;
        match spec.kind {
            Kind::Clone => {
                let mut args = call.args;
                args[0] &= !(libc::CLONE_UNTRACED as u64);
                let mut tamed = regs;
                call::set_args(&mut tamed, call.abi, args);
                self.resume_with(tid, &tamed);
            }
            Kind::Clone3 => {
                let job = Job::StripUntraced { at: call.arg(spec.flags) };
                self.perform(tid, job, Parked::Stripped { regs });
            }
            Kind::Userfault => {
                self.expect_waiting_faults(tid, "userfaultfd");
                self.resume(tid, 0);
            }
            // Looking up the descriptor's path costs more than the stop itself.
            Kind::Fstatfs(_) if !self.active.matcher.has_filesystems() => self.resume(tid, 0),
            Kind::Fstatfs(width) => match path::of_descriptor(tid, call.arg(spec.dirfd) as i32) {
                Some(path) => self.report_type(tid, regs, &call, &path, width),
                None => self.resume(tid, 0),
            },
            Kind::Fstat => self.stat_descriptor(tid, regs, &call, Layout::Stat64Bit),
            kind => {
                let how = if kind == Kind::OpenHow { call.arg(spec.flags) } else { 0 };
                let job = Job::Inputs { path: call.arg(spec.path), how };
                self.perform(tid, job, Parked::Decide { regs, call });
            }
        }
    }

    /// Takes up a new rule set, and forgets namespaces that are gone.
    fn refresh(&mut self) {
        self.files.sweep(&self.tracees, Instant::now());
        let current = self.shared.load();
        if !std::sync::Arc::ptr_eq(&current, &self.active) {
            self.active = current.clone();
            self.files.retain(&self.active.rules);
        }
    }

    /// The call's path is known.
    pub(super) fn decide(
        &mut self,
        tid: Tid,
        regs: Registers,
        call: Call,
        path: Option<Vec<u8>>,
        how: Option<How>,
    ) {
        if call.syscall.kind == Kind::Mount {
            if faults::may_wait(path.as_deref(), call.arg(call.syscall.flags)) {
                self.expect_waiting_faults(tid, "mount");
            }
            return self.resume(tid, 0);
        }
        // What cannot be read gets the kernel's own error; what is not UTF-8 can match no rule.
        let Some(text) = path.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return self.resume(tid, 0);
        };
        if let (true, true, Kind::Stat(layout)) = (self.descriptors, text.is_empty(), call.syscall.kind) {
            return self.stat_descriptor(tid, regs, &call, layout);
        }
        if call.syscall.kind == Kind::Unmount {
            return self.unmount(tid, regs, text);
        }
        let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let may_serve = faults::could_serve(last) && !self.faults_may_wait;
        let about_type =
            matches!(call.syscall.kind, Kind::Statfs(_)) && self.active.matcher.has_filesystems();
        let unclear = matches!(last, "." | "..");
        if text.is_empty() || !(about_type || may_serve || unclear || self.active.matcher.could_match(last)) {
            return self.resume(tid, 0);
        }
        let base = match call.syscall.dirfd.map(|_| call.arg(call.syscall.dirfd) as i32) {
            None | Some(libc::AT_FDCWD) => Base::Cwd,
            Some(fd) => Base::Descriptor(fd),
        };
        let limits = match (call.syscall.kind, how) {
            // Unreadable, or of another size: the kernel knows what to say.
            (Kind::OpenHow, None) => return self.resume(tid, 0),
            (Kind::OpenHow, _) if call.args[3] < HOW_SIZE => return self.resume(tid, 0),
            _ => Limits::of(how.map_or(0, |how| how.resolve)),
        };
        let resolved = path::resolve(tid, base, text, limits);
        // What cannot be told might be such a device.
        if may_serve && resolved.as_deref().is_none_or(faults::serves) {
            self.expect_waiting_faults(tid, text);
        }
        let Some(resolved) = resolved else { return self.resume(tid, 0) };
        let found = self.active.matcher.lookup(&resolved);
        match found.filter(|rule| self.active.answers(*rule, call.syscall.kind)) {
            Some(rule) => self.apply(
                tid,
                regs,
                call,
                rule,
                Name { text, resolved: &resolved, bounds: limits.bounds },
                how,
            ),
            None => match call.syscall.kind {
                Kind::Statfs(width) if about_type => self.report_type(tid, regs, &call, &resolved, width),
                _ => self.resume(tid, 0),
            },
        }
    }

    /// From now on a tracee may serve page faults of another.
    pub(super) fn expect_waiting_faults(&mut self, tid: Tid, cause: &str) {
        if !self.faults_may_wait {
            tracing::info!(
                tid,
                cause,
                "page faults may wait: tracee memory is left to other threads from now on"
            );
            self.faults_may_wait = true;
        }
    }

    fn apply(
        &mut self,
        tid: Tid,
        regs: Registers,
        call: Call,
        rule: RuleIndex,
        name: Name<'_>,
        how: Option<How>,
    ) {
        let active = self.active.clone();
        match active.rules.get(rule).map(|rule| &rule.action) {
            Some(Action::File { path, value, access }) => {
                self.count(tid, &call, rule);
                self.fake(tid, regs, &call, name.text, how, (path, value, *access));
            }
            Some(Action::Redirect { target, .. }) => match self.redirected(tid, name, target) {
                Some(new) => {
                    self.count(tid, &call, rule);
                    self.redirect(tid, regs, call, new);
                }
                None => self.resume(tid, 0),
            },
            _ => {
                tracing::debug!(name.resolved, "no file rule at the matched index");
                self.resume(tid, 0);
            }
        }
    }

    fn count(&self, tid: Tid, call: &Call, rule: RuleIndex) {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
        let slot = self.active.slot(rule) as u64;
        self.observed.hit(Hit { tid: tid as u32, syscall: call.index as u32, slot, at_ms });
    }

    /// runc knows a procfs by its root's inode number, which old gVisors do not keep to.
    fn stat_descriptor(&mut self, tid: Tid, regs: Registers, call: &Call, layout: Layout) {
        let fd = call.arg(call.syscall.dirfd) as i32;
        // Few descriptors are named so; what they are of is asked where it may take time.
        if !path::of_descriptor(tid, fd).is_some_and(|name| name.ends_with("/proc")) {
            return self.resume(tid, 0);
        }
        let (at, bytes) = metadata::inode_field(layout, probe::PROCFS_ROOT);
        let patch = Job::Write { at: call.arg(call.syscall.out).wrapping_add(at), bytes };
        self.perform(tid, Job::IsProcfsRoot { fd }, Parked::ProcfsRoot { regs, patch });
    }

    fn report_type(&mut self, tid: Tid, regs: Registers, call: &Call, path: &str, width: u8) {
        match self.active.type_patch(path, call.arg(call.syscall.out), width) {
            Some((rule, patch)) => {
                self.count(tid, call, rule);
                self.await_exit(tid, &regs.clone(), regs, Step::Patch { patch });
            }
            None => self.resume(tid, 0),
        }
    }

    fn fake(
        &mut self,
        tid: Tid,
        regs: Registers,
        call: &Call,
        text: &str,
        how: Option<How>,
        (path, value, access): (&str, &str, Access),
    ) {
        let spec = call.syscall;
        let directory = wants_directory(text);
        let skip = |result: i64| call::skipped(&regs, result);
        let flags = match spec.kind {
            Kind::Open => call.arg(spec.flags) as i32,
            Kind::OpenHow => how.map_or(0, |how| how.flags) as i32,
            Kind::Creat => libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC,
            Kind::Stat(_) | Kind::Access | Kind::Readlink | Kind::Truncate if directory => {
                return self.resume_with(tid, &skip(-i64::from(libc::ENOTDIR)));
            }
            Kind::Stat(layout) => {
                let (device, seconds) = (self.memfds.device, self.memfds.made);
                let facts =
                    Metadata { device, inode: metadata::inode(path), mode: open::mode(access), seconds };
                let job = Job::Write { at: call.arg(spec.out), bytes: metadata::encode(&facts, layout) };
                return self.perform(tid, job, Parked::Answered { regs: skip(0) });
            }
            Kind::Access => {
                // access(2) asks for the real uid, unless AT_EACCESS is given.
                let effective = spec.name == "faccessat2" && call.args[3] & libc::AT_EACCESS as u64 != 0;
                let uid = if effective { Uid::Filesystem } else { Uid::Real };
                let result = open::check(call.arg(spec.flags) as i32, access, || is_root(tid, uid));
                return self.resume_with(tid, &skip(result));
            }
            Kind::Readlink => return self.resume_with(tid, &skip(-i64::from(libc::EINVAL))),
            Kind::Truncate => {
                let result = open::check(libc::W_OK, access, || is_root(tid, Uid::Filesystem));
                return self.resume_with(tid, &skip(result));
            }
            _ => return self.resume(tid, 0),
        };
        let scope = Scope::of(path);
        let answer = open::answer(flags, directory, access, || Writer {
            root: is_root(tid, Uid::Filesystem),
            in_scope: scope != Scope::Node || self.in_own_mount_namespace(tid),
        });
        let (content, writer) = match answer {
            Answer::Fail(errno) => return self.resume_with(tid, &skip(-i64::from(errno))),
            Answer::Snapshot => (self.files.value(path, value, tid), None),
            Answer::Writable { filled } => {
                let content = if filled { self.files.value(path, value, tid) } else { Vec::new() };
                (content, Some((path.to_owned(), value.to_owned())))
            }
        };
        let kept = libc::O_APPEND | libc::O_NONBLOCK;
        let status_flags = match flags & kept {
            0 => 0,
            // O_LARGEFILE is what the kernel adds to every 64-bit open.
            some => (some | O_LARGEFILE) as u64,
        };
        // The caller's own path serves as the name, so nothing has to be written into its memory.
        let cut = text.len().saturating_sub(MEMFD_NAME_MAX);
        let fake = Fake {
            name: text.as_bytes()[cut..].to_vec(),
            content,
            mode: open::mode(access),
            sealed: writer.is_none(),
        };
        let fill = Fill { fake, then: Opened { status_flags, writer } };
        let name = call.arg(spec.path) + cut as u64;
        let cloexec = if flags & libc::O_CLOEXEC == 0 { 0 } else { libc::MFD_CLOEXEC };
        let args = [name, u64::from(cloexec | libc::MFD_ALLOW_SEALING), 0, 0, 0, 0];
        let create = call::replaced(&regs, call.abi, call.abi.injected().memfd_create, args);
        self.await_exit(tid, &create, regs, Step::Fill(fill));
    }
}

/// A thread's user ids, by their place in /proc/PID/status.
#[derive(Clone, Copy)]
enum Uid {
    Real = 0,
    Filesystem = 3,
}

fn is_root(tid: Tid, which: Uid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(which as usize)) == Some("0")
}
