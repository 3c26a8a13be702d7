//! The k3s command: found (`--k3s`, `SANDBAR_K3S`, PATH, cache) or fetched, always with the version it reports.

pub mod args;
mod error;
mod known;
pub mod places;
pub mod release;
#[cfg(test)]
mod tests;
pub mod version;

use std::fmt;
use std::path::{Path, PathBuf};

pub use error::Error;
pub use places::Places;
pub use version::Version;

use crate::fetch::{Download, Fetcher, Progress, find_sha256};

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `--k3s PATH`.
    pub explicit: Option<PathBuf>,
    /// A release, such as `v1.34.2+k3s1`; `None` takes what is found, or the pinned release.
    pub version: Option<String>,
    /// Never asks the network.
    pub offline: bool,
}

/// A k3s that runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Absolute path of the binary.
    pub path: PathBuf,
    /// What `k3s --version` says, such as `v1.34.2+k3s1`.
    pub version: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a k3s came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--k3s PATH`.
    Flag,
    /// `SANDBAR_K3S`.
    Environment,
    /// A directory of PATH.
    Path,
    /// sandbar's cache.
    Cache,
    /// Fetched just now.
    Downloaded,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Flag => "--k3s",
            Self::Environment => "SANDBAR_K3S",
            Self::Path => "PATH",
            Self::Cache => "cache",
            Self::Downloaded => "downloaded",
        })
    }
}

/// Finds k3s, or fetches it.
pub fn locate(request: &Request, progress: &mut dyn Progress) -> Result<Located, Error> {
    locate_in(request, &Places::from_env(), &Fetcher::default(), progress)
}

/// The same, told where to look.
pub fn locate_in(
    request: &Request,
    places: &Places,
    fetcher: &Fetcher,
    progress: &mut dyn Progress,
) -> Result<Located, Error> {
    let wanted = request.version.as_deref().map(release::normalise).transpose()?;
    let named = request.explicit.as_ref().map(|path| (path, Origin::Flag));
    let named = named.or_else(|| places.named.as_ref().map(|path| (path, Origin::Environment)));
    if let Some((path, origin)) = named {
        return explicit(path, origin, wanted.as_deref(), places);
    }
    if let Some(found) = on_path(places, wanted.as_deref(), progress) {
        return Ok(found);
    }
    let version = wanted.unwrap_or_else(|| release::DEFAULT.to_owned());
    let dest = places.cached(&version);
    let origin = if dest.exists() {
        Origin::Cache
    } else if request.offline {
        return Err(Error::Offline { version, cached: places.cached_versions() });
    } else {
        fetch(&version, &dest, places, fetcher, progress)?;
        Origin::Downloaded
    };
    let reported = known::version(&dest, places)?;
    Ok(Located { path: dest, version: reported.version, origin })
}

/// A path that the user named is used or refused; nothing else is tried behind their back.
fn explicit(path: &Path, origin: Origin, wanted: Option<&str>, places: &Places) -> Result<Located, Error> {
    let unusable = |reason: String| Error::Unusable { path: path.to_owned(), origin, reason };
    let path = std::path::absolute(path).map_err(|error| unusable(error.to_string()))?;
    places::check_executable(&path).map_err(|error| unusable(error.to_string()))?;
    let reported = known::version(&path, places)?;
    match wanted {
        Some(wanted) if wanted != reported.version => {
            Err(Error::OtherVersion { path, found: reported.version, wanted: wanted.to_owned() })
        }
        _ => Ok(Located { path, version: reported.version, origin }),
    }
}

/// A k3s on PATH that runs and is the wanted version; others are passed over, which is told.
fn on_path(places: &Places, wanted: Option<&str>, progress: &mut dyn Progress) -> Option<Located> {
    let path = places.on_path("k3s")?;
    match known::version(&path, places) {
        Ok(found) if wanted.is_none_or(|wanted| wanted == found.version) => {
            Some(Located { path, version: found.version, origin: Origin::Path })
        }
        Ok(found) => {
            let wanted = wanted.unwrap_or_default();
            progress.note(&format!("{} is {}, not {wanted}: passed over", path.display(), found.version));
            None
        }
        Err(error) => {
            progress.note(&format!("{error}: passed over"));
            None
        }
    }
}

fn fetch(
    version: &str,
    dest: &Path,
    places: &Places,
    fetcher: &Fetcher,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let release = release::Release::new(version, &places.mirror);
    let told = |source| Error::Fetch { version: version.to_owned(), source };
    let list = fetcher.text(&release.checksums_url()).map_err(told)?;
    let sha256 = find_sha256(&list, release::BINARY).ok_or_else(|| {
        told(crate::fetch::Error::NoChecksum {
            url: release.checksums_url(),
            name: release::BINARY.to_owned(),
        })
    })?;
    let (url, label) = (release.binary_url(), format!("k3s {version}"));
    let download = Download { label: &label, url: &url, sha256: &sha256, dest, mode: 0o755 };
    fetcher.file(&download, progress).map_err(told)
}
