//! Why there is no k3s, and what helps.

use std::path::PathBuf;

use super::Origin;
use crate::exit::{Exit, Failure};
use crate::fetch;

/// Why k3s was not found or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path that the user named cannot be used.
    #[error("{origin}={}: {reason}", path.display())]
    Unusable {
        /// The path as given.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// Why not.
        reason: String,
    },
    /// It is there and does not run, or is no k3s.
    #[error("{} --version: {reason}", path.display())]
    DoesNotRun {
        /// The binary.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The named k3s has another version than the one asked for.
    #[error("{} is {found}, not {wanted}", path.display())]
    OtherVersion {
        /// The binary.
        path: PathBuf,
        /// What it reports.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Not the shape of a k3s release.
    #[error("{given:?} is no k3s release: {reason}")]
    BadVersion {
        /// As given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not here, and the network may not be asked.
    #[error("k3s {version} is neither on PATH nor in the cache, and it is not to be fetched{}", list(cached))]
    Offline {
        /// What was looked for.
        version: String,
        /// What the cache has.
        cached: Vec<String>,
    },
    /// The download failed.
    #[error("k3s {version} could not be fetched: {source}")]
    Fetch {
        /// The release.
        version: String,
        /// Why.
        source: fetch::Error,
    },
}

impl Error {
    /// A step that helps.
    pub fn hint(&self) -> String {
        match self {
            Self::Unusable { .. } => "name an executable k3s binary: --k3s /path/to/k3s".to_owned(),
            Self::DoesNotRun { path, .. } => {
                format!("try it by hand: {} --version; if it is damaged, remove it", path.display())
            }
            Self::OtherVersion { .. } => "leave out the path or the version".to_owned(),
            Self::BadVersion { .. } => format!("for example {}", super::release::DEFAULT),
            Self::Offline { cached, .. } => match cached.last() {
                Some(version) => format!("use the cached one: --k3s-version {version}"),
                None => "name a binary: --k3s /path/to/k3s".to_owned(),
            },
            Self::Fetch { source: fetch::Error::Status { status: 404, .. }, .. } => {
                "check the version at https://github.com/k3s-io/k3s/releases, and SANDBAR_K3S_MIRROR if set"
                    .to_owned()
            }
            Self::Fetch { source, .. } => match source {
                fetch::Error::Status { .. } | fetch::Error::Unreachable { .. } => format!(
                    "{}; or bring a binary: --k3s /path/to/k3s, or a mirror: SANDBAR_K3S_MIRROR",
                    source.hint()
                ),
                _ => source.hint(),
            },
        }
    }

    /// As the command line reports it.
    pub fn into_failure(self) -> Failure {
        let exit = if matches!(self, Self::BadVersion { .. }) { Exit::Usage } else { Exit::Failed };
        Failure::new(exit, self.to_string()).hint(self.hint())
    }
}

fn list(cached: &[String]) -> String {
    if cached.is_empty() { String::new() } else { format!(" (cached: {})", cached.join(", ")) }
}
