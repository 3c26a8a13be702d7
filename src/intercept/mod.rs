//! The interceptor: one thread that traces every process of the tree and answers trapped path syscalls from the rules.
//!
//! The thread is also the only one that forks and waits in this process, so an exit status is never taken by anybody
//! else. Other parts ask it through [`Interceptor`].

mod active;
mod call;
mod endless;
mod faults;
mod files;
mod fill;
mod filter;
mod launch;
mod memory;
mod metadata;
mod offload;
mod open;
mod path;
mod pid_namespaces;
pub mod probe;
mod redirect;
mod scopes;
mod seldom;
mod serve;
mod steps;
pub mod syscalls;
mod tracer;
mod turns;
mod unmount;
mod walk;

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use arc_swap::ArcSwap;

pub use launch::{Exited, Launch, LaunchError, Launched, Session};

use crate::rules::model::DesiredDocument;
use crate::rules::observed::{InterceptorState, Observed, ObservedRule};
use crate::sys::signal::{self, Dispositions};
use active::{Active, SlotBook};
use launch::Request;
use tracer::Tracer;

/// How calls are intercepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// A seccomp filter stops the path syscalls alone.
    #[default]
    SeccompTrace,
    /// Every syscall stops twice: the earlier art, kept for comparison.
    PtraceSyscall,
}

/// Why the interceptor could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// ptrace or seccomp is refused or behaves in a way that we do not know.
    #[error("this kernel does not let sandbar trace: {0}")]
    Unsupported(String),
    /// The tracer thread could not be made.
    #[error("cannot start the tracer thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A handle on the tracer thread. It runs until the process ends; tracees do not outlive it.
#[derive(Clone, Debug)]
pub struct Interceptor {
    observed: Observed,
    requests: mpsc::Sender<Request>,
    active: Arc<ArcSwap<Active>>,
    slots: Arc<Mutex<SlotBook>>,
    state: Arc<InterceptorState>,
}

impl Interceptor {
    /// Probes the kernel and starts the tracer thread. Counters go to `observed`.
    ///
    /// To be called before the process starts other threads: SIGCHLD is blocked here, for them to inherit.
    pub fn start(observed: Observed, backend: Backend) -> Result<Self, StartError> {
        Self::start_restoring(observed, backend, Dispositions::current(), false)
    }

    /// As [`Interceptor::start`]; what is launched gets these signal dispositions instead of the present ones. With
    /// `descriptors`, stat calls about descriptors are trapped too, so that the root of a procfs has the inode number by
    /// which runc knows it.
    pub fn start_restoring(
        observed: Observed,
        backend: Backend,
        signals: Dispositions,
        descriptors: bool,
    ) -> Result<Self, StartError> {
        signal::claim_sigchld()?;
        endless::watch()?;
        let (requests, inbox) = mpsc::channel();
        let active = Arc::new(ArcSwap::from_pointee(Active::default()));
        let (ready, found) = mpsc::channel();
        let (shared, counters) = (active.clone(), observed.clone());
        thread::Builder::new().name("tracer".into()).spawn(move || {
            let tracer = probe::probe().and_then(|probe| {
                Ok(Tracer::new((backend, descriptors), probe, counters, shared, inbox, signals)?)
            });
            let (tracer, report) = match tracer {
                Ok(tracer) => (Some(tracer), Ok(())),
                Err(error) => (None, Err(error)),
            };
            let probe = tracer.as_ref().map(|tracer| tracer.probe);
            if ready.send((probe, report)).is_ok()
                && let Some(tracer) = tracer
            {
                tracer.run();
            }
        })?;
        let gone = || StartError::Unsupported("the tracer thread ended while probing".to_owned());
        let (probe, report) = found.recv().map_err(|_| gone())?;
        report?;
        let state = probe.ok_or_else(gone)?.state(backend, descriptors);
        Ok(Self { observed, requests, active, slots: Arc::default(), state: Arc::new(state) })
    }

    /// What probing found, for the observed table.
    pub fn state(&self) -> &InterceptorState {
        &self.state
    }

    /// Compiles the rules of a checked document and puts them in force for every tracee at its next call. Returns
    /// them as the observed table lists them; the caller publishes that and the acknowledgement.
    pub fn program(&self, document: &DesiredDocument) -> Vec<ObservedRule> {
        let mut book = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = Active::compile(&document.rules, &mut book, &self.observed);
        let listed = compiled.listed();
        self.active.store(Arc::new(compiled));
        listed
    }

    /// Starts a process, traced from its first instruction or not at all, and returns once it has executed its
    /// program (or failed to).
    pub fn launch(&self, launch: Launch) -> Result<Launched, LaunchError> {
        launch::request(&self.requests, launch)
    }

    /// Waits until no tracee is left.
    pub fn wait_idle(&self) {
        let (reply, idle) = mpsc::channel();
        if self.requests.send(Request::WhenIdle(reply)).is_ok() {
            // None means that the tracer is gone, and its tracees with it.
            let _ = launch::rung_for(&idle);
        }
    }
}
