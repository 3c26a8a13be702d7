//! The supervisor's own log: a bounded file, and stderr as well when it runs in the foreground.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

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
        if self.stderr {
            // A closed stderr is no reason not to write the file.
            let _ = io::stderr().write_all(bytes);
        }
        lock(&self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
