//! The right to start, be, or clear away the supervisor of a run directory: its lock, and with it what lies in the directory.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::process::Stdio;

use super::files::{self, FileError};
use super::lock::{self, Lock, LockError, Role};
use super::paths::{self, Paths};
use super::{preflight, shutdown};
use crate::exit::{Exit, Failure};

/// The claim. Given up, it takes socket, lock and run directory with it.
#[derive(Debug)]
pub struct Claim {
    paths: Paths,
    lock: Option<Lock>,
}

impl Claim {
    /// Makes the run directory and takes its lock.
    pub fn take(paths: &Paths, role: Role) -> Result<Self, LockError> {
        loop {
            files::own_directory(&paths.run, paths::ours_in_run)?;
            match lock::take(&paths.lock(), role) {
                Ok(lock) => return Ok(Self { paths: paths.clone(), lock: Some(lock) }),
                // Whoever has just given up its claim has removed the directory.
                Err(LockError::File(error)) if error.source.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The claim of whoever started us, in exchange for /dev/null as stdin; one of our own if stdin is anything else.
    pub fn take_over(paths: &Paths) -> Result<Self, LockError> {
        let standard = |error| LockError::File(FileError::on("take over", &paths.lock())(error));
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(standard)?);
        let Some(lock) = lock::inherited(stdin, &paths.lock(), Role::Supervisor)? else {
            return Self::take(paths, Role::Supervisor);
        };
        let exchanged = File::open("/dev/null").and_then(|null| Ok(nix::unistd::dup2_stdin(&null)?));
        exchanged.map_err(standard)?;
        Ok(Self { paths: paths.clone(), lock: Some(lock) })
    }

    /// As the stdin of the supervisor that is to have it.
    pub fn hand_over(mut self) -> Stdio {
        self.lock.take().and_then(Lock::hand_over).map_or_else(Stdio::null, Stdio::from)
    }

    /// Gives it up.
    pub fn release(mut self) -> Result<(), FileError> {
        let held = self.lock.take();
        let removed = shutdown::remove_run_files(&self.paths);
        drop(held);
        removed
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock itself goes after this.
        if self.lock.is_some()
            && let Err(error) = shutdown::remove_run_files(&self.paths)
        {
            tracing::warn!("{error}");
        }
    }
}

/// A claim that was refused, as the user sees it.
pub fn failure(error: LockError) -> Failure {
    match error {
        LockError::Held(_) => Failure::new(Exit::Failed, error.to_string()).hint("sandbar status"),
        LockError::File(error) => preflight::failure(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_leaves_nothing_behind_unless_it_is_handed_over() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        let paths = Paths { state: directory.path().into(), run: run.clone() };
        let claim = Claim::take(&paths, Role::Up).unwrap();
        assert!(matches!(Claim::take(&paths, Role::Up), Err(LockError::Held(_))));
        drop(claim);
        assert!(!run.exists());
        Claim::take(&paths, Role::Down).unwrap().release().unwrap();
        assert!(!run.exists());
        let _stdin = Claim::take(&paths, Role::Up).unwrap().hand_over();
        assert!(matches!(Claim::take(&paths, Role::Up), Err(LockError::Held(_))));
    }
}
