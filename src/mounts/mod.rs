//! The mount means: rules served by mounts in the supervisor's own mount namespace, so that nothing has to be traced.
//!
//! [`plan`] says which rules can be served so, and why the others cannot; [`Mounts`] lays files over paths, changes them in
//! place, and takes them away again.

mod created;
mod directory;
mod file;
mod look;
pub mod namespace;
pub mod plan;
pub mod points;
mod served;
mod store;

pub use created::sweep;
pub use served::Mounts;

use std::path::{Path, PathBuf};

/// Why something could not be mounted or taken away.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct MountError {
    doing: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl MountError {
    /// For `map_err`, with what was tried.
    fn on<E: Into<std::io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self { doing, path, source: source.into() }
    }
}
