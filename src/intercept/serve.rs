//! What a trapped call gets: run it, answer it at its entry, make it a memfd, or send it elsewhere.

use std::time::{SystemTime, UNIX_EPOCH};

use super::call::{self, Call};
use super::files::Scope;
use super::memory::Job;
use super::metadata::{self, Metadata};
use super::open::{self, Answer, Writer};
use super::path::{self, Base};
use super::steps::{Fill, Parked, SCRATCH, Step};
use super::syscalls::Kind;
use super::tracer::Tracer;
use crate::rules::matcher::RuleIndex;
use crate::rules::model::{Access, Action, Target};
use crate::rules::observed::{Hit, Scalar};
use crate::sys::ptrace::{Registers, Tid};

/// Longest name that memfd_create(2) takes.
const MEMFD_NAME_MAX: usize = 249;
const O_LARGEFILE: i32 = 0o100_000;

impl Tracer {
    /// A trapped call at its entry.
    pub(super) fn serve(&mut self, tid: Tid, regs: Registers) {
        let Some(call) = call::decode(&regs) else { return self.resume(tid, 0) };
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
                self.perform(tid, Job::StripUntraced { at: call.arg(spec.flags) }, Parked::Run);
            }
            Kind::Fstatfs(width) => match path::of_descriptor(tid, call.arg(spec.dirfd) as i32) {
                Some(path) if self.active.matcher.has_filesystems() => {
                    self.report_type(tid, regs, &call, &path, width);
                }
                _ => self.resume(tid, 0),
            },
            kind => {
                let how = if kind == Kind::OpenHow { call.arg(spec.flags) } else { 0 };
                let job = Job::Inputs { path: call.arg(spec.path), how };
                self.perform(tid, job, Parked::Decide { regs, call });
            }
        }
    }

    /// Takes up a new rule set.
    fn refresh(&mut self) {
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
        how: Option<u64>,
    ) {
        // What cannot be read gets the kernel's own error; what is not UTF-8 can match no rule.
        let Some(text) = path.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return self.resume(tid, 0);
        };
        let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let opens_fuse = last == "fuse" && !self.fuse_seen;
        let about_type =
            matches!(call.syscall.kind, Kind::Statfs(_)) && self.active.matcher.has_filesystems();
        let unclear = matches!(last, "." | "..");
        if text.is_empty() || !(about_type || opens_fuse || unclear || self.active.matcher.could_match(last))
        {
            return self.resume(tid, 0);
        }
        let base = match call.syscall.dirfd.map(|_| call.arg(call.syscall.dirfd) as i32) {
            None | Some(libc::AT_FDCWD) => Base::Cwd,
            Some(fd) => Base::Descriptor(fd),
        };
        let Some(resolved) = path::resolve(tid, base, text) else { return self.resume(tid, 0) };
        if opens_fuse && resolved == "/dev/fuse" {
            tracing::info!(
                tid,
                "a tracee opened /dev/fuse: tracee memory is read by other threads from now on"
            );
            self.fuse_seen = true;
        }
        match self.active.matcher.lookup(&resolved) {
            Some(rule) => self.apply(tid, regs, call, rule, text, &resolved, how),
            None => match call.syscall.kind {
                Kind::Statfs(width) if about_type => self.report_type(tid, regs, &call, &resolved, width),
                _ => self.resume(tid, 0),
            },
        }
    }

    #[allow(clippy::too_many_arguments)] // One call's facts, used once.
    fn apply(
        &mut self,
        tid: Tid,
        regs: Registers,
        call: Call,
        rule: RuleIndex,
        text: &str,
        resolved: &str,
        how: Option<u64>,
    ) {
        let active = self.active.clone();
        match active.rules.get(rule).map(|rule| &rule.action) {
            Some(Action::File { path, value, access }) => {
                self.count(tid, &call, rule);
                self.fake(tid, regs, &call, text, how, (path, value, *access));
            }
            Some(Action::Redirect { target, .. }) => match self.redirected(tid, text, target) {
                Some(new) => {
                    self.count(tid, &call, rule);
                    self.redirect(tid, regs, call, new);
                }
                None => self.resume(tid, 0),
            },
            _ => {
                tracing::debug!(resolved, "no file rule at the matched index");
                self.resume(tid, 0);
            }
        }
    }

    fn count(&self, tid: Tid, call: &Call, rule: RuleIndex) {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
        let slot = self.active.slot(rule) as u64;
        self.observed.hit(Hit { tid: tid as u32, syscall: call.index as u32, slot, at_ms });
    }

    /// The new path of a redirected call; `None` where it would lead a process in another mount namespace astray.
    fn redirected(&self, tid: Tid, text: &str, target: &Target) -> Option<Vec<u8>> {
        match target {
            Target::Sibling(name) => {
                let text = text.trim_end_matches('/');
                let dir = text.rfind('/').map_or("", |at| &text[..=at]);
                Some(format!("{dir}{name}").into_bytes())
            }
            Target::To(path) => self.at_home(tid).then(|| path.clone().into_bytes()),
        }
        .filter(|path| (path.len() as u64) < SCRATCH)
    }

    /// Whether the thread shares the supervisor's mount namespace and root directory.
    fn at_home(&self, tid: Tid) -> bool {
        path::namespace(tid, "mnt") == self.own_mount_namespace && path::root(tid).as_deref() == Some("/")
    }

    fn redirect(&mut self, tid: Tid, regs: Registers, call: Call, path: Vec<u8>) {
        let numbers = call.abi.injected();
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let args = [0, SCRATCH, prot as u64, flags as u64, u64::MAX, 0];
        let map = call::replaced(&regs, call.abi, numbers.mmap, args);
        self.await_exit(tid, &map, regs, Step::Map { call, path });
    }

    fn report_type(&mut self, tid: Tid, regs: Registers, call: &Call, path: &str, width: u8) {
        match self.active.type_patch(path, call.arg(call.syscall.out), width) {
            Some((rule, patch)) => {
                self.count(tid, call, rule);
                self.await_exit(tid, &regs.clone(), regs, Step::Type { patch });
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
        how: Option<u64>,
        (path, value, access): (&str, &str, Access),
    ) {
        let spec = call.syscall;
        let directory = text.ends_with('/');
        let skip = |result: i64| call::skipped(&regs, result);
        let flags = match spec.kind {
            Kind::Open => call.arg(spec.flags) as i32,
            Kind::OpenHow => how.unwrap_or(0) as i32,
            Kind::Creat => libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC,
            Kind::Stat(_) if directory => return self.resume_with(tid, &skip(-i64::from(libc::ENOTDIR))),
            Kind::Stat(layout) => {
                let (device, seconds) = (self.memfd_device, self.started);
                let facts =
                    Metadata { device, inode: metadata::inode(path), mode: open::mode(access), seconds };
                let job = Job::Write { at: call.arg(spec.out), bytes: metadata::encode(&facts, layout) };
                return self.perform(tid, job, Parked::Answered { regs: skip(0) });
            }
            Kind::Access => {
                let result = open::check(call.arg(spec.flags) as i32, access);
                return self.resume_with(tid, &skip(result));
            }
            Kind::Readlink => return self.resume_with(tid, &skip(-i64::from(libc::EINVAL))),
            Kind::Truncate => {
                let result = open::check(libc::W_OK, access);
                return self.resume_with(tid, &skip(result));
            }
            _ => return self.resume(tid, 0),
        };
        let scope = Scope::of(path);
        let answer = open::answer(flags, directory, access, || Writer {
            root: is_root(tid),
            in_scope: scope != Scope::Node || path::namespace(tid, "mnt") == self.own_mount_namespace,
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
        let fill = Fill { content, mode: open::mode(access), status_flags, writer };
        // The caller's own path serves as the name, so nothing has to be written into its memory.
        let name = call.arg(spec.path) + text.len().saturating_sub(MEMFD_NAME_MAX) as u64;
        let cloexec = if flags & libc::O_CLOEXEC == 0 { 0 } else { libc::MFD_CLOEXEC };
        let args = [name, u64::from(cloexec | libc::MFD_ALLOW_SEALING), 0, 0, 0, 0];
        let create = call::replaced(&regs, call.abi, call.abi.injected().memfd_create, args);
        self.await_exit(tid, &create, regs, Step::Fill(fill));
    }
}

/// Whether a thread's filesystem uid is 0.
fn is_root(tid: Tid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(3)) == Some("0")
}
