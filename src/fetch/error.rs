//! What can go wrong with a download, and what helps.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The place cannot be written to.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// File or directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No space.
    #[error("no space left for {}{}", path.display(), needs(*missing))]
    DiskFull {
        /// File that was being written.
        path: PathBuf,
        /// Bytes that are lacking, when known beforehand.
        missing: Option<u64>,
    },
    /// A file on disk could not be read back.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The server said no.
    #[error("{url}: HTTP status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: u16,
    },
    /// No answer at all.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// The transfer broke again and again.
    #[error("{url}: the transfer broke off at {got} bytes{} and did not get further: {reason}", of(*total))]
    Interrupted {
        /// What was asked for.
        url: String,
        /// Bytes that are in the partial file.
        got: u64,
        /// Bytes in all, when the server said so.
        total: Option<u64>,
        /// The last failure.
        reason: String,
    },
    /// Not the file that was published.
    #[error(
        "{url}: checksum mismatch, the file was deleted (published sha256 {expected}, received {actual})"
    )]
    Checksum {
        /// What was asked for.
        url: String,
        /// As published.
        expected: String,
        /// As received.
        actual: String,
    },
    /// The checksum list does not name the file.
    #[error("{url} lists no sha256 for {name}")]
    NoChecksum {
        /// The list.
        url: String,
        /// The file.
        name: String,
    },
    /// Another process holds the lock.
    #[error("another sandbar has been fetching into {} for {seconds} s", dir.display())]
    Busy {
        /// The locked directory.
        dir: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    /// An error of writing `path`, a full disk told apart.
    pub(super) fn writing(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned(), missing: None }
            }
            _ => Self::Unwritable { path: path.to_owned(), source },
        }
    }

    /// A step that helps.
    pub fn hint(&self) -> String {
        match self {
            Self::Unwritable { .. } => {
                "run as root, or set SANDBAR_CACHE to a directory you can write".to_owned()
            }
            Self::DiskFull { path, .. } => {
                format!("free space below {}, or set SANDBAR_CACHE to another filesystem", parent(path))
            }
            Self::Unreadable { path, .. } => format!("remove it and try again: rm {}", path.display()),
            Self::Status { status: 404, .. } => "check the version and the mirror".to_owned(),
            Self::Status { status: 401 | 403 | 407, .. } => {
                "a proxy or an egress policy may refuse this address; allow it, or use a mirror".to_owned()
            }
            Self::Status { .. } => "try again later".to_owned(),
            Self::Unreachable { reason, .. } if reason.contains("certificate") => {
                "set SSL_CERT_FILE to the certificate of the proxy or mirror".to_owned()
            }
            Self::Unreachable { .. } => "check network and HTTPS_PROXY: sandbar doctor".to_owned(),
            Self::Interrupted { .. } => {
                "run the same command again: it continues where it stopped".to_owned()
            }
            Self::Checksum { .. } => {
                "try again; if it happens twice, do not trust that mirror or proxy".to_owned()
            }
            Self::NoChecksum { .. } => "check the version and the mirror".to_owned(),
            Self::Busy { dir, .. } => format!("see who it is: fuser -v {}", dir.display()),
        }
    }
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

fn needs(missing: Option<u64>) -> String {
    missing.map_or_else(String::new, |bytes| format!(": {} MiB more are needed", bytes.div_ceil(1 << 20)))
}

fn of(total: Option<u64>) -> String {
    total.map_or_else(String::new, |bytes| format!(" of {bytes}"))
}
