//! What is asked of the tracer thread to start a process, and what comes back.

use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::mpsc;

/// A process to start.
#[derive(Debug)]
pub struct Launch {
    /// Program and arguments; the program is looked up on PATH if it has no slash.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory; the supervisor's own if none.
    pub cwd: Option<PathBuf>,
    /// stdin, stdout, stderr; /dev/null where none.
    pub stdio: [Option<OwnedFd>; 3],
    /// Further descriptors and the numbers that they get in the child (3 and up).
    pub inherit: Vec<(OwnedFd, RawFd)>,
    /// Which session the process belongs to.
    pub session: Session,
    /// Whether it and all that it starts is traced.
    pub traced: bool,
}

/// Session of a started process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// The supervisor's own session and process group.
    #[default]
    Inherit,
    /// A new session, so also a new process group whose id is the process's pid.
    New,
    /// A new session whose controlling terminal is the process's stdin.
    Terminal,
}

/// A started process.
#[derive(Debug)]
pub struct Launched {
    /// Its pid.
    pub pid: u32,
    /// Receives once, when it ends. Its children may live on.
    pub exit: mpsc::Receiver<Exited>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exited {
    /// exit(2) with this status.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program could not be executed.
    #[error("cannot run {program}: {source}")]
    Exec {
        /// argv\[0\].
        program: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The new process could not be attached to.
    #[error("cannot trace {program}: {source}")]
    Attach {
        /// argv\[0\].
        program: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The tracer thread has ended.
    #[error("the tracer thread has ended")]
    Gone,
}

impl Exited {
    /// The code that a shell would show: the status itself, or 128 plus the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => (code & 0xff) as u8,
            Self::Signal(signal) => (128 + signal).clamp(0, 255) as u8,
        }
    }
}
