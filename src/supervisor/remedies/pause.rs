//! The pause image, embedded and put where k3s imports images from at its start: the first pod needs no registry.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::State;
use crate::image;
use crate::supervisor::files;

/// Its name, given to k3s with `--pause-image`.
pub const IMAGE: &str = "localhost/sandbar/pause:1";
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
/// Below k3s's data directory; k3s imports every archive there.
const IMAGES: &str = "agent/images";
/// The name of ours.
pub const ARCHIVE: &str = "sandbar-pause.tar";

/// The image, as an archive that k3s imports.
pub fn archive() -> io::Result<Vec<u8>> {
    image::archive(IMAGE, "pause", PROGRAM)
}

/// Writes the archive, unless it is there as it should be.
pub fn supply(data: &Path) -> Result<State, String> {
    let path = place(data);
    let archive = archive().map_err(|error| error.to_string())?;
    let state = State::Applied(format!("{IMAGE} from {}", path.display()));
    // k3s imports again what is newer than its last import.
    if fs::read(&path).is_ok_and(|present| present == archive) {
        return Ok(state);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| format!("cannot make {}: {error}", parent.display()))?;
    }
    files::write_atomically(&path, &archive).map_err(|error| error.to_string())?;
    Ok(state)
}

/// Takes the archive away, so that k3s imports it no more.
pub fn withdraw(data: &Path) -> Result<(), String> {
    files::remove_if_there(&place(data)).map_err(|error| error.to_string())
}

fn place(data: &Path) -> PathBuf {
    data.join(IMAGES).join(ARCHIVE)
}
