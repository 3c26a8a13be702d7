//! What was created outside of our mounts to mount on, on record until it is removed: it outlives the namespace.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::MountError;

fn record(run: &Path) -> PathBuf {
    run.join("created")
}

/// Puts a path on record; before it is created, so that a supervisor that is killed leaves nothing unknown.
pub fn remember(run: &Path, path: &Path) -> Result<(), MountError> {
    let record = record(run);
    let line = format!("{}\n", path.display());
    let written = fs::File::options()
        .append(true)
        .create(true)
        .open(&record)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(MountError::on("write", &record))
}

/// Removes all that is on record, last first, and the mount point of our store. What is no longer the empty file or
/// directory that we made belongs to somebody else by now, and stays.
pub fn sweep(run: &Path) -> io::Result<()> {
    let record = record(run);
    let lines = fs::read_to_string(&record).unwrap_or_default();
    for path in lines.lines().rev() {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() && found.len() == 0 => fs::remove_file(path)?,
            // Not empty: stays.
            Ok(found) if found.is_dir() => drop(fs::remove_dir(path)),
            _ => {}
        }
    }
    // Not there, or a mount point still.
    let _ = fs::remove_dir(super::store::place(run));
    match fs::remove_file(&record) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_created_is_removed_and_what_was_filled_since_stays() {
        let dir = tempfile::tempdir().unwrap();
        let [made, file, filled] = ["made", "made/file", "filled"].map(|name| dir.path().join(name));
        for path in [&made, &file, &filled] {
            remember(dir.path(), path).unwrap();
        }
        fs::create_dir(&made).unwrap();
        fs::write(&file, "").unwrap();
        fs::write(&filled, "x").unwrap();
        sweep(dir.path()).unwrap();
        assert!(!made.exists() && filled.exists());
        assert!(!dir.path().join("created").exists());
        sweep(dir.path()).unwrap();
    }
}
