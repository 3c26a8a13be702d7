//! Where the k3s executable is.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// Finds k3s: as given, or on PATH.
pub fn locate(explicit: Option<&Path>, _version: Option<&str>) -> Result<PathBuf, Failure> {
    if let Some(path) = explicit {
        let path = std::path::absolute(path)?;
        return match path.is_file() {
            true => Ok(path),
            false => Err(Failure::new(Exit::Failed, format!("no k3s at {}", path.display()))),
        };
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&directories)
        .map(|directory| directory.join("k3s"))
        .find(|path| path.is_file());
    let missing = || Failure::new(Exit::Failed, "no k3s on PATH").hint("sandbar up --k3s PATH");
    found.ok_or_else(missing)
}
