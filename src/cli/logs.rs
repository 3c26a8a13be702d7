//! `sandbar logs`: show a component's log, or all of them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::output;
use crate::exit::{Exit, Failure, Outcome};
use crate::supervisor::paths::{Component, Paths};

/// Time between two looks at a log that is followed.
const STEP: Duration = Duration::from_millis(200);
/// Most that is read from the end of a log to find its last lines.
const WINDOW: u64 = 4 << 20;

/// Flags of `sandbar logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose log; all of them if none is named.
    #[arg(value_enum)]
    component: Option<Component>,
    /// Go on as it grows.
    #[arg(short, long)]
    follow: bool,
    /// Begin with this many of its last lines.
    #[arg(long, value_name = "N", default_value_t = 200)]
    tail: usize,
    #[command(flatten)]
    paths: Paths,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let components = args.component.map_or(Component::ALL.to_vec(), |one| vec![one]);
    let several = components.len() > 1;
    let mut logs: Vec<Followed> =
        components.iter().map(|component| Followed::new(args.paths.log(*component), *component)).collect();
    let mut found = false;
    for log in &mut logs {
        let Some(text) = log.last_lines(args.tail)? else { continue };
        found = true;
        if several {
            print(format!("==> {} <==\n", log.component.name()).as_bytes())?;
        }
        print(&text)?;
    }
    if !found && !args.follow {
        let message = format!("no log in {}", args.paths.logs().display());
        return Err(Failure::new(Exit::NotRunning, message).hint("sandbar up"));
    }
    if !args.follow {
        return Ok(0);
    }
    while output::wait_for_reader(STEP) {
        for log in &mut logs {
            let text = log.news()?;
            print(&if several { prefixed(log.component, &text) } else { text })?;
        }
    }
    Ok(0)
}

/// A log and how far it was read.
struct Followed {
    path: PathBuf,
    component: Component,
    file: Option<(File, u64)>,
    rest: Vec<u8>,
}

impl Followed {
    fn new(path: PathBuf, component: Component) -> Self {
        Self { path, component, file: None, rest: Vec::new() }
    }

    fn open(&self) -> Result<Option<(File, u64)>, Failure> {
        match File::open(&self.path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                Ok(Some((file, inode)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let message = format!("cannot read {}: {error}", self.path.display());
                Err(Failure::new(Exit::Failed, message).hint("run this as root"))
            }
        }
    }

    fn last_lines(&mut self, count: usize) -> Result<Option<Vec<u8>>, Failure> {
        let Some((mut file, inode)) = self.open()? else { return Ok(None) };
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(WINDOW)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        self.file = Some((file, inode));
        Ok(Some(last_lines(&text, count).to_vec()))
    }

    /// What was appended since, in whole lines; goes over to the new file when the log was set aside.
    fn news(&mut self) -> Result<Vec<u8>, Failure> {
        let mut text = std::mem::take(&mut self.rest);
        if let Some((file, inode)) = &mut self.file {
            file.read_to_end(&mut text)?;
            let moved =
                std::fs::metadata(&self.path).map(|metadata| metadata.ino() != *inode).unwrap_or(false);
            if moved {
                self.file = None;
            }
        }
        if self.file.is_none() {
            self.file = self.open()?;
            if let Some((file, _)) = &mut self.file {
                file.read_to_end(&mut text)?;
            }
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest = text.split_off(whole);
        Ok(text)
    }
}

fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    if count == 0 {
        return &[];
    }
    let start = body.iter().rev().enumerate().filter(|(_, byte)| **byte == b'\n').nth(count - 1);
    start.map_or(text, |(from_end, _)| &text[body.len() - from_end..])
}

fn prefixed(component: Component, text: &[u8]) -> Vec<u8> {
    let prefix = format!("{:<10} | ", component.name());
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(|line| [prefix.as_bytes(), line].concat()).collect()
}

fn print(text: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let text = b"one\ntwo\nthree\n";
        for (count, expected) in [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (9, "one\ntwo\nthree\n")] {
            assert_eq!(std::str::from_utf8(last_lines(text, count)).unwrap(), expected, "{count}");
        }
        assert_eq!(last_lines(b"no end", 1), b"no end");
    }

    #[test]
    fn a_followed_log_goes_on_in_the_new_file_after_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k3s.log");
        std::fs::write(&path, "one\n").unwrap();
        let mut log = Followed::new(path.clone(), Component::K3s);
        assert_eq!(log.last_lines(10).unwrap().unwrap(), b"one\n");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"two\nthr").unwrap();
        assert_eq!(log.news().unwrap(), b"two\n");
        file.write_all(b"ee\n").unwrap();
        std::fs::rename(&path, directory.path().join("k3s.log.1")).unwrap();
        std::fs::write(&path, "four\n").unwrap();
        assert_eq!(log.news().unwrap(), b"three\nfour\n");
    }
}
