//! The supervisor's own log: a bounded file, and stderr as well when it runs in the foreground.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::log::{MAX_BYTES, RotatingFile, lock};
use super::paths::{Component, Paths};

/// Writes to the file and, in the foreground, to stderr.
#[derive(Clone, Debug)]
struct Output {
    file: Arc<Mutex<RotatingFile>>,
    stderr: bool,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Held for both, so that no other thread of ours takes the room that stderr was seen to have.
        let mut file = lock(&self.file);
        if self.stderr {
            write_where_there_is_room(io::stderr(), bytes);
        }
        file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The tracer logs too, and must not wait for whoever reads: where the line would have to, it is in the file alone. A pipe that
/// is ready has room for PIPE_BUF bytes (pipe(7)).
fn write_where_there_is_room(mut to: impl Write + AsFd, bytes: &[u8]) {
    for part in bytes.chunks(PIPE_BUF) {
        let mut asked = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
        let found = poll(&mut asked, PollTimeout::ZERO).ok().and_then(|_| asked[0].revents());
        // A closed stderr is no reason not to write the file.
        if !found.is_some_and(|found| found.contains(PollFlags::POLLOUT)) || to.write_all(part).is_err() {
            return;
        }
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Starts logging. `SANDBAR_LOG` sets the level (error, warn, info, debug, trace).
pub fn start(paths: &Paths, stderr: bool) -> io::Result<Arc<Mutex<RotatingFile>>> {
    let file = Arc::new(Mutex::new(RotatingFile::open(&paths.log(Component::Supervisor), MAX_BYTES)?));
    let asked = std::env::var("SANDBAR_LOG").ok().and_then(|level| level.parse().ok());
    let output = Output { file: file.clone(), stderr };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(asked.unwrap_or(LevelFilter::INFO))
        .with_ansi(false)
        .with_target(false)
        .with_writer(output)
        .finish();
    // A second supervisor in one process exists in tests only; it shares the first one's log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let (mut read, mut write) = (File::from(read), File::from(write));
        let lines = 1 << 16;
        for _ in 0..lines {
            write_where_there_is_room(&mut write, b"one line of these");
        }
        let mut first = [0; 17];
        read.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"one line of these");
        drop(write);
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        assert!(rest.len() < lines * first.len(), "all of it fitted");
    }
}
