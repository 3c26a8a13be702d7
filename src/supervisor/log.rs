//! Logs of bounded size, and the pump that takes a child's output into one while remembering its last lines.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log is set aside when it has grown to this.
pub const MAX_BYTES: u64 = 16 << 20;
const MAX_LINE: usize = 16 << 10;
const TAIL_LINES: usize = 200;

/// A file that is renamed to `NAME.1` when it is full. Losing a line to a full disk is better than stopping what logs.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    file: Option<File>,
    len: u64,
    max: u64,
}

impl RotatingFile {
    /// Opens `path` for appending.
    pub fn open(path: &Path, max: u64) -> io::Result<Self> {
        let file = append_to(path)?;
        let len = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file: Some(file), len, max })
    }

    /// A second descriptor of the file now open.
    pub fn descriptor(&self) -> io::Result<File> {
        self.file.as_ref().map_or_else(|| append_to(&self.path), File::try_clone)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        fs::rename(&self.path, old)?;
        self.file = Some(append_to(&self.path)?);
        self.len = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len > 0 && self.len + bytes.len() as u64 > self.max {
            // A log that cannot be rotated grows on; there is nobody to tell.
            let _ = self.rotate();
        }
        if let Some(file) = &mut self.file {
            self.len += file.write(bytes).unwrap_or(0) as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The last lines that a process wrote.
#[derive(Clone, Debug, Default)]
pub struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// The lines, oldest first.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.0).iter().cloned().collect()
    }

    fn push(&self, line: String) {
        let mut lines = lock(&self.0);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// A mutex whose holder may have panicked: the data here is lines and files, valid at every step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies `from` to `log` line by line on a thread of its own until end-of-file, keeping the last lines in `tail`.
pub fn pump(
    name: &str,
    from: impl Read + Send + 'static,
    log: Arc<Mutex<RotatingFile>>,
    tail: Tail,
) -> io::Result<std::thread::JoinHandle<()>> {
    let copy = move || {
        let mut reader = BufReader::new(from);
        while let Ok(Some(line)) = bounded_line(&mut reader) {
            // RotatingFile takes every write.
            let _ = lock(&log).write_all(&line);
            tail.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    };
    std::thread::Builder::new().name(format!("{name}-log")).stack_size(128 << 10).spawn(copy)
}

fn bounded_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_set_aside_and_both_stay_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k3s.log");
        let mut log = RotatingFile::open(&path, 1000).unwrap();
        for line in 0..100 {
            writeln!(log, "line {line:>40}").unwrap();
        }
        let sizes: Vec<u64> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= 1000), "{sizes:?}");
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_last_lines_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = RotatingFile::open(&directory.path().join("log"), MAX_BYTES).unwrap();
        let mut input = vec![b'x'; MAX_LINE * 2];
        for line in 0..TAIL_LINES {
            input.extend_from_slice(format!("\n{line}").as_bytes());
        }
        let tail = Tail::default();
        pump("test", io::Cursor::new(input), Arc::new(Mutex::new(log)), tail.clone())
            .unwrap()
            .join()
            .unwrap();
        let lines = tail.lines();
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (TAIL_LINES, "199"));
    }
}
