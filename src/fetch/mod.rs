//! Files from the network: fetched with a published checksum, resumed after an interruption, put in place whole or not at all.
//!
//! While a file is on its way it is called `NAME.partial`; under its own name it only ever appears complete, verified and
//! with its final mode. What is left of a broken transfer is continued by the next run (HTTP Range).

mod checksum;
mod error;
mod http;
pub mod progress;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod testserver;
mod transfer;

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use checksum::{find_sha256, sha256_of};
pub use error::Error;
pub use progress::Progress;

/// How long to wait for another process that is fetching the same file.
const BUSY_WAIT: Duration = Duration::from_secs(600);

/// What to fetch, and where it goes.
#[derive(Clone, Debug)]
pub struct Download<'a> {
    /// Name for people.
    pub label: &'a str,
    /// Where it is.
    pub url: &'a str,
    /// SHA-256 in hexadecimal.
    pub sha256: &'a str,
    /// Where it goes; its directory is made.
    pub dest: &'a Path,
    /// Permission bits.
    pub mode: u32,
}

/// Fetches over HTTP(S), honouring `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR`.
#[derive(Debug)]
pub struct Fetcher {
    agent: ureq::Agent,
    /// Failures in a row, without a byte gained, before giving up.
    attempts: u32,
    /// Pause after the first failure; grows with each further one.
    pause: Duration,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self { agent: http::agent(), attempts: 5, pause: Duration::from_secs(1) }
    }
}

impl Fetcher {
    /// Three tries without a pause, and no proxy: test servers are on loopback.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self { agent: http::direct_agent(), attempts: 3, pause: Duration::ZERO }
    }

    /// A short text, such as a checksum file.
    pub fn text(&self, url: &str) -> Result<String, Error> {
        let mut failures = 0;
        loop {
            match http::text(&self.agent, url) {
                Ok(text) => return Ok(text),
                Err(http::Trouble::Final(error)) => return Err(error),
                Err(http::Trouble::Broken { reason, connected }) => {
                    failures += 1;
                    if !connected || failures >= self.attempts {
                        return Err(Error::Unreachable { url: url.to_owned(), reason });
                    }
                    std::thread::sleep(self.pause * failures);
                }
            }
        }
    }

    /// Fetches a file, verifies it, and puts it in place. A file that is already there with this checksum is kept.
    pub fn file(&self, download: &Download<'_>, progress: &mut dyn Progress) -> Result<(), Error> {
        let dir = download.dest.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir).map_err(|source| Error::writing(dir, source))?;
        let _lock = lock(dir, progress)?;
        if download.dest.is_file() && sha256_of(download.dest)? == download.sha256 {
            return Ok(());
        }
        let partial = partial_path(download.dest);
        let mut left_over = fs::metadata(&partial).is_ok_and(|meta| meta.len() > 0);
        loop {
            let outcome = transfer::run(self, download, &partial, progress);
            progress.finish();
            outcome?;
            let actual = sha256_of(&partial)?;
            if actual == download.sha256 {
                return install(&partial, download);
            }
            fs::remove_file(&partial).map_err(|source| Error::writing(&partial, source))?;
            if !left_over {
                return Err(Error::Checksum {
                    url: download.url.to_owned(),
                    expected: download.sha256.to_owned(),
                    actual,
                });
            }
            // What an earlier run left may belong to a file that was since replaced: one clean try decides.
            left_over = false;
            progress.note("the continued file does not match its checksum; it was deleted, starting anew");
        }
    }
}

/// `NAME.partial` beside `dest`.
pub fn partial_path(dest: &Path) -> PathBuf {
    let mut name = dest.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn install(partial: &Path, download: &Download<'_>) -> Result<(), Error> {
    let place = || -> std::io::Result<()> {
        fs::set_permissions(partial, fs::Permissions::from_mode(download.mode))?;
        // Without this a power cut after the rename could leave an empty file under the final name.
        File::open(partial)?.sync_all()?;
        fs::rename(partial, download.dest)
    };
    place().map_err(|source| Error::writing(download.dest, source))
}

/// Locks the directory against another sandbar fetching into it; where locks are not to be had, goes without.
fn lock(dir: &Path, progress: &mut dyn Progress) -> Result<Option<File>, Error> {
    let Ok(handle) = File::open(dir) else { return Ok(None) };
    let start = Instant::now();
    let mut told = false;
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(Some(handle)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if start.elapsed() > BUSY_WAIT => {
                return Err(Error::Busy { dir: dir.to_owned(), seconds: BUSY_WAIT.as_secs() });
            }
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress.note("another sandbar is fetching this; waiting for it");
                    told = true;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
}
