//! Where k3s may be: what the environment names, PATH, sandbar's cache, the mirror to fetch from.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::release;

/// The places, read from the environment once.
#[derive(Clone, Debug)]
pub struct Places {
    /// `SANDBAR_K3S`.
    pub named: Option<PathBuf>,
    /// PATH.
    pub path: Option<OsString>,
    /// sandbar's cache directory.
    pub cache: PathBuf,
    /// Base URL of releases.
    pub mirror: String,
}

impl Places {
    /// What this process's environment says.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_lookup(get: impl Fn(&str) -> Option<OsString>) -> Self {
        Self {
            named: get("SANDBAR_K3S").map(PathBuf::from),
            path: get("PATH"),
            cache: cache_dir(&get),
            mirror: get("SANDBAR_K3S_MIRROR")
                .and_then(|base| base.into_string().ok())
                .unwrap_or_else(|| release::GITHUB.to_owned()),
        }
    }

    /// Below `dir`: an (empty) PATH and a cache, and nothing named.
    #[cfg(test)]
    pub fn for_tests(dir: &Path, mirror: &str) -> Self {
        Self {
            named: None,
            path: Some(OsString::from(dir.join("bin"))),
            cache: dir.join("cache"),
            mirror: mirror.to_owned(),
        }
    }

    /// Where a version lies in the cache.
    pub fn cached(&self, version: &str) -> PathBuf {
        self.cache.join("k3s").join(version).join(release::BINARY)
    }

    /// The versions that the cache holds, sorted as text.
    pub fn cached_versions(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.cache.join("k3s")) else { return Vec::new() };
        let mut versions: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|version| check_executable(&self.cached(version)).is_ok())
            .collect();
        versions.sort();
        versions
    }

    /// The first executable of that name on PATH.
    pub fn on_path(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(self.path.as_ref()?)
            // A relative entry would mean another file wherever the supervisor stands.
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(|path| check_executable(path).is_ok())
    }
}

/// `SANDBAR_CACHE`, or `sandbar` below the user's cache directory, or below /var/cache where there is no home.
fn cache_dir(get: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let absolute = |name: &str| get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("SANDBAR_CACHE")
        .or_else(|| absolute("XDG_CACHE_HOME").map(|base| base.join("sandbar")))
        .or_else(|| absolute("HOME").map(|home| home.join(".cache/sandbar")))
        .unwrap_or_else(|| PathBuf::from("/var/cache/sandbar"))
}

/// Whether a path is a regular file with an execute bit.
pub fn check_executable(path: &Path) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not executable"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(variables: &[(&str, &str)]) -> PathBuf {
        Places::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
        .cache
    }

    #[test]
    fn the_cache_follows_the_environment() {
        let home = ("HOME", "/home/ann");
        assert_eq!(cache(&[home]), Path::new("/home/ann/.cache/sandbar"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c")]), Path::new("/c/sandbar"));
        assert_eq!(cache(&[home, ("SANDBAR_CACHE", "/s")]), Path::new("/s"));
        assert_eq!(cache(&[home, ("SANDBAR_CACHE", "relative")]), Path::new("/home/ann/.cache/sandbar"));
        assert_eq!(cache(&[]), Path::new("/var/cache/sandbar"));
    }
}
