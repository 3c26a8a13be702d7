//! Why a tool is not there.

use std::io;
use std::path::PathBuf;

use crate::fetch;

/// Why one way to a tool failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The way is not open here.
    #[error("{0}")]
    NotHere(String),
    /// Fetching failed.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// Another program failed.
    #[error("{program}: {reason}")]
    Program {
        /// Which.
        program: String,
        /// What it said last.
        reason: String,
    },
    /// What came does not hold the program.
    #[error("{origin} holds no {program}")]
    NotInside {
        /// Where it was looked for.
        origin: String,
        /// Which program.
        program: String,
    },
    /// A file could not be put in place.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}
