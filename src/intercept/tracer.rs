//! The tracer thread: waits, tells stops apart, resumes. What a trapped call gets is decided in `serve`.
//!
//! It blocks in wait4 alone. Once a page fault of a tracee may wait for another (`faults`), tracee memory is touched by
//! other threads and this one also listens for their results.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use arc_swap::ArcSwap;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getsid};

use super::Backend;
use super::active::Active;
use super::files::Store;
use super::fill::Memfds;
use super::filter;
use super::launch::{Exited, Request};
use super::memory::{Done, Job};
use super::offload::Offload;
use super::path;
use super::pid_namespaces::PidNamespaces;
use super::probe::Probe;
use super::seldom::Seldom;
use super::steps::{Parked, Pending};
use super::turns::{NodeSessions, Turns};
use super::unmount::Unmounts;
use crate::rules::observed::{Observed, Scalar};
use crate::sys::ptrace::{self, Registers, Tid};
use crate::sys::seccomp::Instruction;
use crate::sys::signal::Dispositions;
use crate::sys::wait::{self, Event, Waited};

/// After so many stops served as they come, those that wait take turns.
const IN_A_ROW: u32 = 16;

/// All that the tracer thread owns.
pub struct Tracer {
    pub(super) backend: Backend,
    /// Stat calls about descriptors are trapped.
    pub(super) descriptors: bool,
    pub(super) probe: Probe,
    pub(super) observed: Observed,
    pub(super) shared: Arc<ArcSwap<Active>>,
    pub(super) active: Arc<Active>,
    pub(super) files: Store,
    pub(super) filter: Vec<Instruction>,
    pub(super) signals: Dispositions,
    pub(super) requests: Receiver<Request>,
    pub(super) exits: HashMap<Tid, Sender<Exited>>,
    pub(super) tracees: HashSet<Tid>,
    pub(super) idle_waiters: Vec<Sender<()>>,
    turns: Turns,
    node_sessions: NodeSessions,
    pub(super) pending: HashMap<Tid, Pending>,
    pub(super) parked: HashMap<Tid, (u64, Parked)>,
    /// Scratch pages of threads whose redirected call is under way, or was interrupted.
    pub(super) scratch: HashMap<Tid, u64>,
    pub(super) tokens: u64,
    pub(super) offload: Offload,
    pub(super) faults_may_wait: bool,
    pub(super) own_mount_namespace: Option<String>,
    pub(super) memfds: Arc<Memfds>,
    /// Where the kernel does not end them by itself.
    pid_namespaces: Option<PidNamespaces>,
    pub(super) unmounts: Unmounts,
    complaints: HashMap<&'static str, Seldom>,
}

impl Tracer {
    /// A tracer without tracees.
    pub(super) fn new(
        (backend, descriptors): (Backend, bool),
        probe: Probe,
        observed: Observed,
        shared: Arc<ArcSwap<Active>>,
        requests: Receiver<Request>,
        signals: Dispositions,
    ) -> std::io::Result<Self> {
        // With everything traced a filter would only add stops.
        let filter = if backend == Backend::SeccompTrace {
            filter::program(|call| probe.traps(call), descriptors)
        } else {
            filter::allow_all()
        };
        Ok(Self {
            backend,
            descriptors,
            probe,
            observed,
            active: shared.load_full(),
            shared,
            files: Store::default(),
            filter,
            signals,
            requests,
            exits: HashMap::new(),
            tracees: HashSet::new(),
            idle_waiters: Vec::new(),
            turns: Turns::default(),
            node_sessions: NodeSessions::new(getsid(None).ok().map(Pid::as_raw)),
            pending: HashMap::new(),
            parked: HashMap::new(),
            scratch: HashMap::new(),
            tokens: 0,
            offload: Offload::new(probe.memory)?,
            faults_may_wait: false,
            own_mount_namespace: path::namespace(std::process::id() as Tid, "mnt"),
            memfds: Arc::new(Memfds::probe()?),
            pid_namespaces: probe
                .namespaces_outlive_init
                .then(PidNamespaces::new)
                .transpose()
                .unwrap_or_else(|error| {
                    tracing::warn!(%error, "containers may outlive their first process");
                    None
                }),
            unmounts: Unmounts::default(),
            complaints: HashMap::new(),
        })
    }

    /// Runs until the process ends.
    pub fn run(mut self) {
        let mut in_a_row = 0;
        loop {
            if self.faults_may_wait {
                self.wait_with_offload();
            } else {
                match wait::wait_any(true) {
                    Ok(Waited::For(tid, event)) => {
                        self.guarded(tid, event);
                        in_a_row += 1;
                        if in_a_row >= IN_A_ROW {
                            in_a_row = 0;
                            self.serve_in_turns();
                        }
                    }
                    // Sleep until a request rings.
                    Ok(Waited::Nobody) => {
                        self.alone();
                        self.wait_for_request();
                    }
                    Ok(Waited::Quiet) => {}
                    Err(error) => tracing::error!(%error, "wait4 failed"),
                }
            }
            self.take_requests();
        }
    }

    fn wait_for_request(&mut self) {
        if let Ok(request) = self.requests.recv() {
            self.take(request);
        }
    }

    fn take_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.take(request);
        }
    }

    fn wait_with_offload(&mut self) {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        let Ok(children) = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) else {
            tracing::error!("no signalfd: tracee memory is read inline although that may wait for a tracee");
            self.faults_may_wait = false;
            return self.serve_in_turns();
        };
        loop {
            let served = self.serve_round();
            for (tid, token, done) in self.offload.finished() {
                self.offloaded(tid, token, done);
            }
            self.take_requests();
            self.next_unmounts();
            if served {
                continue;
            }
            let fds = &mut [
                PollFd::new(children.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.offload.bell(), PollFlags::POLLIN),
            ];
            // A failed poll (EINTR) only means one look more.
            let _ = poll(fds, self.unmounts.patience());
            while let Ok(Some(_)) = children.read_signal() {}
        }
    }

    /// Serves until nobody waits.
    fn serve_in_turns(&mut self) {
        while !self.faults_may_wait && self.serve_round() {
            self.take_requests();
        }
    }

    /// Serves those whose turn it is; whether there was one. None runs on before all that wait are known: each can wait but
    /// once until then, see [`Turns::note`].
    fn serve_round(&mut self) -> bool {
        let mut last = wait::wait_any(false);
        while let Ok(Waited::For(tid, event)) = last {
            self.turns.note(tid, event, self.whose_turn(tid, event));
            last = wait::wait_any(false);
        }
        let due = self.turns.round();
        if due.is_empty() && matches!(last, Ok(Waited::Nobody)) {
            self.alone();
        }
        let any = !due.is_empty();
        due.into_iter().for_each(|(tid, event)| self.guarded(tid, event));
        any
    }

    /// The session that has to wait for its turn with this.
    fn whose_turn(&self, tid: Tid, event: Event) -> Option<Tid> {
        // Others may wait for the unmount.
        let at_once = event.ends() || event == Event::Exec || self.is_unmounting(tid);
        // One that is gone may have no session any more.
        let session = if at_once { None } else { session(tid) };
        session.filter(|session| !self.node_sessions.contains(*session))
    }

    /// What a launched process runs in its session is the node's own.
    pub(super) fn remember_session(&mut self, launched: Tid) {
        let Self { node_sessions, tracees, .. } = self;
        let ours = std::process::id() as Tid;
        // One that was launched just now may not have made its session yet.
        let living = || {
            let all = tracees.iter().copied().chain([ours]);
            all.flat_map(|tid| [Some(tid), session(tid)]).flatten().collect()
        };
        node_sessions.add(launched, living);
    }

    /// Nothing that one stop does may end the loop.
    fn guarded(&mut self, tid: Tid, event: Event) {
        if catch_unwind(AssertUnwindSafe(|| self.handle(tid, event))).is_err() {
            self.rescue(tid);
        }
        self.next_unmounts();
    }

    fn offloaded(&mut self, tid: Tid, token: u64, done: Done) {
        let Some(parked) = claim(&mut self.parked, tid, token) else { return };
        // A sibling's exec has taken the number over, to be told next.
        if ptrace::stands_at_exec(tid) {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| self.proceed(tid, parked, done))).is_err() {
            self.rescue(tid);
        }
        self.next_unmounts();
    }

    fn next_unmounts(&mut self) {
        while let Some(tid) = self.whose_unmount() {
            if catch_unwind(AssertUnwindSafe(|| self.next_unmount())).is_err() {
                self.rescue(tid);
            }
        }
    }

    fn rescue(&mut self, tid: Tid) {
        self.observed.bump(Scalar::Panics);
        if let Some(pending) = self.pending.remove(&tid) {
            self.let_signals_in(tid, pending.held);
        }
        self.parked.remove(&tid);
        self.unmounts.forget(tid);
        self.resume(tid, 0);
    }

    fn handle(&mut self, tid: Tid, event: Event) {
        match event {
            Event::Exited(code) => self.ended(tid, Exited::Code(code)),
            Event::Killed(signal) => self.ended(tid, Exited::Signal(signal)),
            Event::Seccomp => self.call_stop(tid),
            Event::Syscall => self.syscall_stop(tid),
            Event::Attached => {
                self.met(tid);
                self.resume(tid, 0);
            }
            Event::GroupStop => {
                self.met(tid);
                self.tolerate(ptrace::listen(tid));
            }
            Event::Signal(signal) => {
                self.give_up_injection(tid, signal);
                self.resume(tid, signal);
            }
            Event::Exec => self.executed(tid),
            Event::Made | Event::Other => self.resume(tid, 0),
        }
    }

    /// A new tracee, or an old number anew: nothing of an earlier holder may stick to it.
    fn met(&mut self, tid: Tid) {
        if self.tracees.insert(tid) {
            self.forget(tid);
            self.node_sessions.met(tid);
            self.count_tracees();
            if self.pid_namespaces.as_mut().is_some_and(|namespaces| !namespaces.met(tid)) {
                end(tid);
            }
        }
    }

    /// The thread that called exec takes over the leader's number; its own ends without a word, as the leader does.
    fn executed(&mut self, tid: Tid) {
        let former = ptrace::event_message(tid).ok().and_then(|former| Tid::try_from(former).ok());
        if let Some(former) = former.filter(|former| *former != tid) {
            self.forget(former);
            self.tracees.remove(&former);
        }
        self.forget(tid);
        self.tracees.insert(tid);
        self.count_tracees();
        self.resume(tid, 0);
    }

    fn ended(&mut self, tid: Tid, how: Exited) {
        self.forget(tid);
        if self.tracees.remove(&tid) {
            self.count_tracees();
        }
        if let Some(namespaces) = &mut self.pid_namespaces {
            namespaces.ended(tid, &self.tracees).into_iter().for_each(end);
        }
        self.files.sweep(&self.tracees, Instant::now());
        if self.tracees.is_empty() {
            self.files.release();
        }
        if let Some(waiter) = self.exits.remove(&tid) {
            // Whoever started it may no longer care.
            let _ = waiter.send(how);
        }
    }

    /// No child at all: whatever was missed, no tracee is left. That none is known is not enough: one that was made just now
    /// may not have stopped yet, and ends with us if somebody takes that for our end.
    fn alone(&mut self) {
        self.tracees.clear();
        self.files.release();
        for waiter in self.idle_waiters.drain(..) {
            let _ = waiter.send(());
        }
    }

    fn forget(&mut self, tid: Tid) {
        self.pending.remove(&tid);
        self.parked.remove(&tid);
        self.scratch.remove(&tid);
        self.unmounts.forget(tid);
    }

    pub(super) fn count_tracees(&self) {
        self.observed.set(Scalar::Tracees, self.tracees.len() as u64);
    }

    /// A seccomp stop, or the entry of a call where everything is traced.
    fn call_stop(&mut self, tid: Tid) {
        let ours = self.pending.get(&tid).is_some_and(|pending| pending.step.injected());
        if !ours {
            self.pending.remove(&tid);
        }
        match ptrace::registers(tid) {
            Ok(regs) if ours => self.injected_refused(tid, &regs),
            Ok(regs) => self.serve(tid, regs),
            Err(error) => self.tolerate(Err(error)),
        }
    }

    fn syscall_stop(&mut self, tid: Tid) {
        if let Some(pending) = self.pending.get_mut(&tid) {
            if pending.entries > 0 {
                pending.entries -= 1;
                return self.tolerate(ptrace::cont_to_syscall(tid, 0));
            }
            if let Some(pending) = self.pending.remove(&tid) {
                return match ptrace::registers(tid) {
                    Ok(regs) => self.exit_stop(tid, pending, &regs),
                    Err(error) => self.tolerate(Err(error)),
                };
            }
        }
        // Everything is traced: an entry shows the result that no call has yet.
        match ptrace::registers(tid) {
            Ok(regs) if regs.rax as i64 == -i64::from(libc::ENOSYS) => self.serve(tid, regs),
            Ok(_) => self.resume(tid, 0),
            Err(error) => self.tolerate(Err(error)),
        }
    }

    /// Lets the thread run on, to its next trapped call.
    pub(super) fn resume(&mut self, tid: Tid, signal: i32) {
        if self.probe.forgets_signals && signal == 0 {
            self.tolerate(ptrace::recheck_signals(tid));
        }
        let waits_for_exit = self.pending.contains_key(&tid);
        if self.backend == Backend::PtraceSyscall || waits_for_exit {
            self.tolerate(ptrace::cont_to_syscall(tid, signal));
        } else {
            self.tolerate(ptrace::cont(tid, signal));
        }
    }

    /// Sets registers and lets the thread run on.
    pub(super) fn resume_with(&mut self, tid: Tid, regs: &Registers) {
        if self.set_registers(tid, regs) {
            self.resume(tid, 0);
        }
    }

    /// Sets registers; whether it did. A sibling's exec can have taken the thread's number over since its stop was told: that
    /// one stands at its exec then, to be told next, and another program must not begin where this one was.
    pub(super) fn set_registers(&mut self, tid: Tid, regs: &Registers) -> bool {
        if ptrace::stands_at_exec(tid) {
            return false;
        }
        let set = ptrace::set_registers(tid, regs);
        let done = set.is_ok();
        self.tolerate(set);
        // It came in between, and its own registers are lost.
        let lost = done && ptrace::stands_at_exec(tid);
        if lost {
            end(tid);
        }
        done && !lost
    }

    /// A tracee may be killed at any moment, also while it is stopped: that is no error.
    pub(super) fn tolerate(&mut self, result: std::io::Result<()>) {
        if let Err(error) = result
            && error.raw_os_error() != Some(libc::ESRCH)
        {
            self.complain("a ptrace request failed", &error);
        }
    }

    /// Warns of what a tracee may cause as often as it likes: seldom.
    pub(super) fn complain(&mut self, what: &'static str, why: &dyn Display) {
        if let Some(left_out) = self.complaints.entry(what).or_default().due(Instant::now()) {
            tracing::warn!(%why, left_out, "{what}");
        }
    }

    /// Runs a job on a tracee's memory, here or where it may block, and goes on with its result.
    pub(super) fn perform(&mut self, tid: Tid, job: Job, parked: Parked) {
        // As in [`Self::set_registers`]: not into another program.
        if job.writes() && ptrace::stands_at_exec(tid) {
            return;
        }
        if !self.faults_may_wait {
            let done = job.run(self.probe.memory, tid);
            return self.proceed(tid, parked, done);
        }
        self.tokens += 1;
        match self.offload.submit(tid, self.tokens, job) {
            Ok(()) => {
                self.parked.insert(tid, (self.tokens, parked));
            }
            Err(error) => {
                self.complain("no thread for a memory access", &error);
                self.proceed(tid, parked, Done::Reached(false));
            }
        }
    }
}

/// The session of a thread that is not gone.
fn session(tid: Tid) -> Option<Tid> {
    getsid(Some(Pid::from_raw(tid))).ok().map(Pid::as_raw)
}

/// Kills a tracee that the kernel should have.
fn end(tid: Tid) {
    // It may be gone by itself.
    let _ = kill(Pid::from_raw(tid), Signal::SIGKILL);
}

/// What a job's result is for. Nothing, if its thread is gone; whoever has its number now may wait for a job of its own.
fn claim(parked: &mut HashMap<Tid, (u64, Parked)>, tid: Tid, token: u64) -> Option<Parked> {
    let meant = parked.get(&tid).is_some_and(|(wanted, _)| *wanted == token);
    if meant { parked.remove(&tid).map(|(_, parked)| parked) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_result_does_not_take_what_the_next_holder_of_the_number_waits_for() {
        let mut parked = HashMap::from([(8, (2, Parked::Run))]);
        assert!(claim(&mut parked, 8, 1).is_none());
        assert!(claim(&mut parked, 8, 2).is_some());
        assert!(claim(&mut parked, 8, 2).is_none());
    }
}
