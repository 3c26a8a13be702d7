//! Why a tool is not there.

use std::io;
use std::path::PathBuf;

use crate::{fetch, k3s};

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
    /// No k3s.
    #[error(transparent)]
    K3s(#[from] k3s::Error),
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

impl Error {
    /// A step that helps, where one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Fetch(error) => Some(error.hint()),
            Self::K3s(error) => Some(error.hint()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as root, or use --prefix with a directory of PATH that you can write".to_owned())
            }
            _ => None,
        }
    }
}
