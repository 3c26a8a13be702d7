//! One supervisor per run directory: a file lock that the kernel drops with its last holder, however that ends. Whoever starts
//! a supervisor takes the lock before anything else and hands it over, so that there is no moment between the two.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::files::FileError;

/// What a holder of the lock does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is the supervisor.
    Supervisor,
    /// It is about to start one.
    Up,
    /// It removes what one has left.
    Down,
}

impl Role {
    const ALL: [Self; 3] = [Self::Supervisor, Self::Up, Self::Down];

    fn name(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Who holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its pid; 0 if it has not written it yet.
    pub pid: u32,
    /// What it does.
    pub role: Role,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.pid;
        match self.role {
            Role::Supervisor => write!(out, "another supervisor (pid {pid}) is running"),
            Role::Up => write!(out, "a `sandbar up` (pid {pid}) is starting one"),
            Role::Down => write!(out, "a `sandbar down` (pid {pid}) is at work"),
        }
    }
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LockError {
    #[error("{0}")]
    Held(Holder),
    #[error(transparent)]
    File(#[from] FileError),
}

/// The lock, held until dropped or handed over.
#[derive(Debug)]
pub struct Lock(Option<File>);

impl Lock {
    fn signed(mut file: File, path: &Path, role: Role) -> Result<Self, LockError> {
        let line = format!("{} {}\n", std::process::id(), role.name());
        let written = file.set_len(0).and_then(|()| file.rewind());
        written.and_then(|()| file.write_all(line.as_bytes())).map_err(FileError::on("write", path))?;
        Ok(Self(Some(file)))
    }

    /// The locked file, for the process that is to hold the lock instead: the lock is that of whoever has it open.
    pub fn hand_over(mut self) -> Option<File> {
        self.0.take()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that is just being started may have the descriptor for an instant longer.
        let _ = self.0.as_ref().map(File::unlock);
    }
}

/// Takes the lock and writes into it who we are.
pub fn take(path: &Path, role: Role) -> Result<Lock, LockError> {
    loop {
        let mut file = open(path)?;
        match file.try_lock() {
            // Whoever held it before may have removed the file between our open and our lock.
            Ok(()) if !same_file(&file, path) => continue,
            Ok(()) => return Lock::signed(file, path, role),
            // Somebody who only looks has it for an instant, and that shared.
            Err(TryLockError::WouldBlock) if file.try_lock_shared().is_ok() => {
                drop(file);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(written_in(&mut file))),
            Err(TryLockError::Error(error)) => return Err(FileError::on("lock", path)(error).into()),
        }
    }
}

/// The lock that whoever started us holds through `file`, if that is what it is.
pub fn inherited(file: File, path: &Path, role: Role) -> Result<Option<Lock>, LockError> {
    match same_file(&file, path) && file.try_lock().is_ok() {
        true => Lock::signed(file, path, role).map(Some),
        false => Ok(None),
    }
}

/// Who holds the lock, if somebody does.
pub fn holder(path: &Path) -> Option<Holder> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Ok(()) => None,
        Err(_) => Some(written_in(&mut file)),
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
    options.open(path).map_err(FileError::on("open", path))
}

fn same_file(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let held = file.metadata().map(identity).ok();
    held.is_some() && held == fs::metadata(path).map(identity).ok()
}

fn written_in(file: &mut File) -> Holder {
    let mut text = String::new();
    // What cannot be read is as good as not written yet.
    let _ = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    parse(&text)
}

/// A supervisor that is older than roles wrote its pid alone.
fn parse(text: &str) -> Holder {
    let (pid, role) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let role = Role::ALL.into_iter().find(|known| known.name() == role).unwrap_or(Role::Supervisor);
    Holder { pid: pid.parse().unwrap_or(0), role }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = take(&path, Role::Up).unwrap();
        let us = Holder { pid: std::process::id(), role: Role::Up };
        assert!(matches!(take(&path, Role::Down), Err(LockError::Held(holder)) if holder == us));
        assert_eq!(holder(&path), Some(us));
        drop(held);
        assert_eq!(holder(&path), None);
        take(&path, Role::Down).unwrap();
    }

    #[test]
    fn a_lock_that_is_handed_over_is_never_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = take(&path, Role::Up).unwrap().hand_over().unwrap();
        let other = File::open("/dev/null").unwrap();
        assert!(inherited(other, &path, Role::Supervisor).unwrap().is_none());
        let inherited = inherited(file.try_clone().unwrap(), &path, Role::Supervisor).unwrap().unwrap();
        drop(file);
        assert!(take(&path, Role::Up).unwrap_err().to_string().starts_with("another supervisor"));
        drop(inherited);
        take(&path, Role::Up).unwrap();
    }

    #[test]
    fn who_only_looks_keeps_nobody_from_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        drop(take(&path, Role::Up).unwrap());
        let looking = File::open(&path).unwrap();
        looking.try_lock_shared().unwrap();
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| take(&path, Role::Up).map(drop));
            std::thread::sleep(Duration::from_millis(20));
            drop(looking);
            taking.join().unwrap().unwrap();
        });
    }

    #[test]
    fn what_is_written_is_read_and_so_is_what_an_older_one_wrote() {
        assert_eq!(parse("12 down\n"), Holder { pid: 12, role: Role::Down });
        assert_eq!(parse("12\n"), Holder { pid: 12, role: Role::Supervisor });
        assert_eq!(parse(""), Holder { pid: 0, role: Role::Supervisor });
    }
}
