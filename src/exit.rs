//! Exit codes and the one error shape that reaches a user: what failed, why, and the command that helps.

use std::fmt;

/// How `sandbar` ends; documented in README.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The operation failed.
    Failed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// No supervisor is running.
    NotRunning = 3,
    /// A wait ended; the message says for what.
    TimedOut = 4,
    /// This environment cannot run it; the message says why.
    Unsupported = 5,
    /// k3s exited.
    K3sExited = 6,
}

/// A failure as the user sees it.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What failed, and why.
    pub message: String,
    /// A command, or a step, that helps.
    pub hint: Option<String>,
}

/// What a verb returns: the process's exit code (a traced command's own, for `run` and `exec`) or a failure.
pub type Outcome = Result<u8, Failure>;

impl Failure {
    /// A failure with an exit code and a message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Adds what helps.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.message)?;
        match &self.hint {
            Some(hint) => write!(out, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// For failures that need no more than their own words.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !message.contains(&inner_text) {
                message = format!("{message}: {inner_text}");
            }
            cause = inner.source();
        }
        Self::new(Exit::Failed, message)
    }
}
