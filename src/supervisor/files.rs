//! Files that survive a crash half-way: private directories, atomic replacement, a probe for a full disk.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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

    /// Whether a directory was refused because others use it.
    pub fn not_ours(&self) -> bool {
        self.source.get_ref().is_some_and(|reason| reason.is::<NotOurs>())
    }

    /// Whether the disk is full.
    pub fn disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Why a directory is not taken for our own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotOurs(String);

/// Makes a directory, and those above it, that only root may enter. One that is there stays as it is.
pub fn private_directory(path: &Path) -> Result<(), FileError> {
    make(path).map(drop).map_err(FileError::on("make", path))
}

/// The same for one that is to be ours alone: what is there must be closed to others, or be closed without harm, since it holds
/// nothing but what `ours` knows. Of a name the question is whether it is ours, and that of a directory ends with a slash.
pub fn own_directory(path: &Path, ours: impl Fn(&str) -> bool) -> Result<(), FileError> {
    if make(path).map_err(FileError::on("make", path))? {
        return Ok(());
    }
    let found = fs::metadata(path).map_err(FileError::on("look at", path))?;
    if !found.is_dir() {
        return Err(FileError::on("use", path)(io::ErrorKind::NotADirectory.into()));
    }
    let foreign = names(path).map_err(FileError::on("list", path))?.into_iter().find(|name| !ours(name));
    let real = fs::canonicalize(path).map_err(FileError::on("look at", path))?;
    let top = real.components().count() <= 2;
    let owner = Some(found.uid()).filter(|uid| *uid != nix::unistd::geteuid().as_raw());
    if let Some(why) = refusal(owner, found.mode(), top, foreign.as_deref()) {
        return Err(FileError::on("use", path)(io::Error::other(NotOurs(why))));
    }
    match found.mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(FileError::on("protect", path)),
    }
}

/// Why an existing directory is not to be ours: closing it must not close it to others who use it. `owner` is another user who
/// owns it, `top` whether it lies in `/`, `foreign` a name in it that is not ours.
fn refusal(owner: Option<u32>, mode: u32, top: bool, foreign: Option<&str>) -> Option<String> {
    let open = format!("others may enter it (mode {:o})", mode & 0o7777);
    if let Some(owner) = owner {
        return Some(format!("it belongs to user {owner}, not to root"));
    }
    match foreign {
        _ if mode & 0o077 == 0 => None,
        _ if top || mode & 0o022 != 0 => Some(format!("{open}, and are meant to")),
        Some(name) => Some(format!("{open}, and it holds what is not sandbar's: {name}")),
        // An init system makes them so (RuntimeDirectory=, StateDirectory=).
        None => None,
    }
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let name = |entry: fs::DirEntry| -> io::Result<String> {
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        Ok(format!("{}{slash}", entry.file_name().to_string_lossy()))
    };
    fs::read_dir(directory)?.map(|entry| name(entry?)).collect()
}

/// Whether it was not there before.
fn make(path: &Path) -> io::Result<bool> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o700)).map(|()| true),
        // Whatever it is: whoever needs a directory finds out.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
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
    fn a_directory_that_others_use_is_neither_taken_nor_closed() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let ours = |name: &str| ["lock", "logs/"].contains(&name);
        let made = directory.path().join("a/b");
        own_directory(&made, ours).unwrap();
        assert_eq!((mode(&made), mode(&directory.path().join("a"))), (0o700, 0o700));
        // As systemd makes it, and with what was in it when systemd opened it again.
        for name in ["lock", "logs/x"] {
            let path = made.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            fs::set_permissions(&made, Permissions::from_mode(0o755)).unwrap();
            own_directory(&made, ours).unwrap();
            assert_eq!(mode(&made), 0o700);
        }
        fs::write(made.join("theirs"), "").unwrap();
        own_directory(&made, ours).unwrap();
        fs::set_permissions(&made, Permissions::from_mode(0o755)).unwrap();
        let error = own_directory(&made, ours).unwrap_err().to_string();
        assert!(
            error.ends_with("others may enter it (mode 755), and it holds what is not sandbar's: theirs"),
            "{error}"
        );
        private_directory(&made).unwrap();
        assert_eq!(mode(&made), 0o755);
        assert!(
            own_directory(&made.join("theirs"), ours).unwrap_err().to_string().contains("not a directory")
        );
    }

    #[test]
    fn what_is_meant_for_all_is_refused_even_if_it_is_empty() {
        assert_eq!(refusal(None, 0o40700, true, Some("x")), None);
        assert_eq!(refusal(None, 0o40755, false, None), None);
        assert!(refusal(None, 0o40755, true, None).unwrap().contains("(mode 755)"), "/run, say");
        assert!(refusal(None, 0o41777, false, None).unwrap().contains("(mode 1777)"));
        assert!(refusal(Some(1000), 0o40700, false, None).unwrap().contains("user 1000"));
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_names_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let error = write_atomically(&directory.path().join("absent/state.json"), b"x").unwrap_err();
        assert!(error.to_string().contains("absent/state.json"), "{error}");
    }
}
