//! The interceptor: one thread that traces every process of the tree and answers trapped path syscalls from the rules.
//!
//! The thread is also the only one that forks and waits in this process, so an exit status is never taken by anybody
//! else. Other parts ask it through [`Interceptor`].

pub mod launch;

use std::sync::Arc;
use std::sync::mpsc;

pub use launch::{Exited, Launch, LaunchError, Launched, Session};

use crate::rules::model::DesiredDocument;
use crate::rules::observed::{InterceptorState, Observed, ObservedRule};

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
    requests: mpsc::Sender<Launch>,
    state: Arc<InterceptorState>,
}

impl Interceptor {
    /// Probes the kernel and starts the tracer thread. Counters go to `observed`.
    pub fn start(_observed: Observed, _backend: Backend) -> Result<Self, StartError> {
        Err(StartError::Unsupported("not built yet".into()))
    }

    /// What probing found, for the observed table.
    pub fn state(&self) -> &InterceptorState {
        &self.state
    }

    /// Compiles the rules of a checked document and puts them in force for every tracee at its next call. Returns
    /// them as the observed table lists them; the caller publishes that and the acknowledgement.
    pub fn program(&self, _document: &DesiredDocument) -> Vec<ObservedRule> {
        Vec::new()
    }

    /// Starts a process, traced from its first instruction or not at all, and returns once it has executed its
    /// program (or failed to).
    pub fn launch(&self, _launch: Launch) -> Result<Launched, LaunchError> {
        Err(LaunchError::Gone)
    }
}
