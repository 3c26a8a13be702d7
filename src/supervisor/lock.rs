//! One supervisor per run directory: a file lock that the kernel drops with its holder, however that ends.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::files::FileError;

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LockError {
    #[error("another supervisor (pid {pid}) is running")]
    Held { pid: u32 },
    #[error(transparent)]
    File(#[from] FileError),
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] Flock<File>);

/// Takes the lock and writes our pid into it.
pub fn take(path: &Path) -> Result<Lock, LockError> {
    loop {
        let file = open(path)?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, Errno::EWOULDBLOCK)) => return Err(LockError::Held { pid: pid_in(&mut file) }),
            Err((_, errno)) => return Err(FileError::on("lock", path)(errno.into()).into()),
        };
        // Whoever held it before may have removed the file between our open and our lock.
        if !same_file(&lock, path) {
            continue;
        }
        let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| {
            let pid = std::process::id();
            lock.write_all(format!("{pid}\n").as_bytes())
        });
        written.map_err(FileError::on("write", path))?;
        return Ok(Lock(lock));
    }
}

/// Pid of the supervisor that holds the lock, if one does.
pub fn holder(path: &Path) -> Option<u32> {
    let file = OpenOptions::new().read(true).open(path).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err((mut file, _)) => Some(pid_in(&mut file)),
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

fn pid_in(file: &mut File) -> u32 {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = take(&path).unwrap();
        let pid = std::process::id();
        assert!(matches!(take(&path), Err(LockError::Held { pid: holder }) if holder == pid));
        assert_eq!(holder(&path), Some(pid));
        drop(held);
        assert_eq!(holder(&path), None);
        take(&path).unwrap();
    }
}
