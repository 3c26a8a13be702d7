//! Files that survive a crash half-way: private directories, atomic replacement, a probe for a full disk.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file operation that failed, and on what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}")]
pub struct FileError {
    /// What was tried, as a verb.
    pub what: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// The kernel's reason.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub fn on(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { what, path, source }
    }

    /// Whether the disk is full.
    pub fn disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Makes a directory, and those above it, that only root may enter.
pub fn private_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::on("make", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(FileError::on("protect", path))
}

/// Replaces `path` by `content` whole or not at all, readable by its owner alone.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_and_sync(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Best effort: a temporary file left behind does no harm, and the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(FileError::on("write", path))?;
    // The rename itself lives in the directory; some filesystems cannot sync one, which is then their own risk.
    if let Some(Ok(directory)) = path.parent().map(File::open) {
        let _ = directory.sync_all();
    }
    Ok(())
}

fn write_and_sync(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Whether the supervisor could save its state in `directory`: writes a file as large as a table usually is, and removes it.
pub fn probe_space(directory: &Path) -> Result<(), FileError> {
    let path = directory.join(format!(".space.{}", std::process::id()));
    let probed = write_and_sync(&path, &[0; 64 << 10]);
    // As above: the result of the write is what counts.
    let _ = fs::remove_file(&path);
    probed.map_err(FileError::on("write to", directory))
}

/// Removes a file; one that is not there is as good.
pub fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::on("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        fs::write(&path, "old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_names_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let error = write_atomically(&directory.path().join("absent/state.json"), b"x").unwrap_err();
        assert!(error.to_string().contains("absent/state.json"), "{error}");
    }
}
