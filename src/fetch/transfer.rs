//! One file into its `.partial`: as many requests as it takes, each continuing where the last one broke.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use super::http::{self, Trouble};
use super::{Download, Error, Fetcher, Progress};

/// Upper bound on requests for one file, however much each gains.
const MOST_REQUESTS: u32 = 100;

/// Brings the partial file to its full length.
pub(super) fn run(
    fetcher: &Fetcher,
    download: &Download<'_>,
    partial: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let mut state = State { best: length(partial), ..State::default() };
    loop {
        let trouble = match attempt(fetcher, download, partial, &mut state, progress) {
            Ok(()) => return Ok(()),
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Broken { reason, connected }) => {
                state.ever_connected |= connected;
                reason
            }
        };
        let got = length(partial);
        if got > state.best {
            state.best = got;
            state.failures = 0;
        }
        state.failures += 1;
        state.requests += 1;
        let url = download.url.to_owned();
        if !state.ever_connected {
            return Err(Error::Unreachable { url, reason: trouble });
        }
        if state.failures >= fetcher.attempts || state.requests >= MOST_REQUESTS {
            return Err(Error::Interrupted { url, got, total: state.total, reason: trouble });
        }
        progress.note(&format!("{}: broke off at {got} bytes ({trouble}); trying again", download.label));
        std::thread::sleep(fetcher.pause * state.failures);
    }
}

#[derive(Default)]
struct State {
    best: u64,
    failures: u32,
    requests: u32,
    total: Option<u64>,
    ever_connected: bool,
}

fn attempt(
    fetcher: &Fetcher,
    download: &Download<'_>,
    partial: &Path,
    state: &mut State,
    progress: &mut dyn Progress,
) -> Result<(), Trouble> {
    let writing = |source| Trouble::Final(Error::writing(partial, source));
    let mut file = OpenOptions::new().create(true).append(true).open(partial).map_err(writing)?;
    let have = file.metadata().map_err(writing)?.len();
    let response = http::get(&fetcher.agent, download.url, have)?;
    state.ever_connected = true;
    let range =
        response.headers().get("content-range").and_then(|value| http::content_range(value.to_str().ok()?));
    let offset = match (response.status().as_u16(), range) {
        (206, Some((Some(first), _))) if first == have => have,
        (416, Some((None, Some(total)))) if total == have => return Ok(()),
        // The server ignores Range and sends all of it.
        (200, _) => restart(&file).map_err(writing)?,
        // It is at odds with what we have: drop that, and ask for all of it.
        (status, _) => {
            restart(&file).map_err(writing)?;
            return Err(Trouble::Broken {
                reason: format!("cannot continue (HTTP {status})"),
                connected: true,
            });
        }
    };
    state.total = response.body().content_length().map(|rest| rest + offset);
    room_for(partial, state.total, offset)?;
    progress.start(download.label, state.total, offset);
    copy(response, &mut file, partial, progress)?;
    match state.total {
        Some(total) if length(partial) < total => {
            Err(Trouble::Broken { reason: "the server closed the connection".to_owned(), connected: true })
        }
        _ => Ok(()),
    }
}

fn restart(file: &File) -> std::io::Result<u64> {
    if file.metadata()?.len() > 0 {
        file.set_len(0)?;
    }
    Ok(0)
}

fn copy(
    mut response: ureq::http::Response<ureq::Body>,
    file: &mut File,
    partial: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Trouble> {
    let mut reader = response.body_mut().as_reader();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Trouble::Broken { reason: error.to_string(), connected: true }),
        };
        if let Err(source) = file.write_all(&buffer[..count]) {
            let error = Error::writing(partial, source);
            if matches!(error, Error::DiskFull { .. }) {
                // Others need the space more than our next run needs these bytes.
                let _ = fs::remove_file(partial);
            }
            return Err(Trouble::Final(error));
        }
        progress.advance(count as u64);
    }
}

/// Refuses at once what cannot fit, rather than after filling the disk.
fn room_for(partial: &Path, total: Option<u64>, offset: u64) -> Result<(), Trouble> {
    let Some(rest) = total.map(|total| total.saturating_sub(offset)) else { return Ok(()) };
    let dir = partial.parent().unwrap_or(partial);
    let Ok(stat) = nix::sys::statvfs::statvfs(dir) else { return Ok(()) };
    let free = stat.blocks_available() * stat.fragment_size();
    // A filesystem that reports no size at all (some 9p and FUSE servers) says nothing.
    if stat.blocks() > 0 && free < rest {
        let missing = Some(rest - free);
        return Err(Trouble::Final(Error::DiskFull { path: partial.to_owned(), missing }));
    }
    Ok(())
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}
