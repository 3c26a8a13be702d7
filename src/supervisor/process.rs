//! A supervised process: started through the interceptor, its output logged, its end reported with its own last words.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::log::{self, RotatingFile, Tail};
use crate::intercept::{Exited, Interceptor, Launch, LaunchError};

/// How long the log of an ended process may take to drain: descendants that live on may hold its pipe.
const DRAIN: Duration = Duration::from_millis(500);

const OURSELVES: &str = "/proc/self/exe";

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProcessError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("cannot make a pipe or a thread for its log: {0}")]
    Log(#[from] io::Error),
}

/// A log that outlives the runs of what writes to it.
pub type SharedLog = Arc<Mutex<RotatingFile>>;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its status; `None` if the tracer lost it.
    pub status: Option<Exited>,
    /// The last lines that it wrote.
    pub tail: Vec<String>,
}

/// A process that runs, the leader of its own process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which start of this component it is.
    pub run: u64,
    /// Its pid.
    pub pid: u32,
}

/// The running program's file, even if another one has its name since.
pub fn executable() -> io::Result<PathBuf> {
    let link = Path::new(OURSELVES);
    // In a child `/proc/self` is still this program until it executes it. What `ps` shows is better a real name, so that is
    // used as long as it leads to the same file.
    let named = std::fs::read_link(link)?;
    Ok(if named.exists() { named } else { link.to_owned() })
}

/// The name that the running program's file had when it was started.
pub fn named_at_start() -> io::Result<PathBuf> {
    let named = std::fs::read_link(OURSELVES)?;
    // So the kernel says of one that is gone, or has another in its place.
    Ok(match named.to_str().and_then(|name| name.strip_suffix(" (deleted)")) {
        Some(name) if !named.exists() => name.into(),
        _ => named,
    })
}

/// Starts `launch` with stdout and stderr going to `log`; `ended` is called once, on a thread of its own, after the
/// process ended and what was left of its process group was killed.
pub fn start(
    interceptor: &Interceptor,
    name: &'static str,
    mut launch: Launch,
    log: &SharedLog,
    run: u64,
    ended: impl FnOnce(End) + Send + 'static,
) -> Result<Running, ProcessError> {
    let (reader, writer) = io::pipe()?;
    launch.stdio = [None, Some(writer.try_clone()?.into()), Some(writer.into())];
    let tail = Tail::default();
    let pump = log::pump(name, reader, log.clone(), tail.clone())?;
    let launched = interceptor.launch(launch)?;
    let pid = launched.pid;
    let watch = move || ended(wait(pid, &launched.exit, &pump, &tail));
    std::thread::Builder::new().name(format!("{name}-exit")).stack_size(128 << 10).spawn(watch)?;
    Ok(Running { run, pid })
}

fn wait(pid: u32, exit: &Receiver<Exited>, pump: &JoinHandle<()>, tail: &Tail) -> End {
    let status = exit.recv().ok();
    // What it started and did not stop (a datastore, say) would hold its ports and files against its successor.
    signal_group(pid, Signal::SIGKILL);
    let until = Instant::now() + DRAIN;
    while !pump.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    End { status, tail: tail.lines() }
}

/// Whether a process is there and not just waiting to be collected by its parent.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// Signals one process.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = positive(pid) {
        // ESRCH: it has just ended, which is as good.
        let _ = kill(pid, signal);
    }
}

/// Signals the process group that `pid` leads.
pub fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = positive(pid) {
        // As above.
        let _ = killpg(pid, signal);
    }
}

/// 0 and negative numbers mean "everybody" to kill(2): never let one through.
fn positive(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).map(Pid::from_raw)
}

/// Runs a command untraced to its end and returns what it wrote to stdout; `None` if it fails or takes too long.
pub fn output(interceptor: &Interceptor, argv: &[OsString], patience: Duration) -> Option<String> {
    answer(interceptor, argv, Vec::new(), None, patience)
}

/// The same with further variables and something on stdin.
pub fn answer(
    interceptor: &Interceptor,
    argv: &[OsString],
    environment: Vec<(OsString, OsString)>,
    input: Option<OwnedFd>,
    patience: Duration,
) -> Option<String> {
    let (mut reader, writer) = io::pipe().ok()?;
    let launch = Launch {
        argv: argv.to_vec(),
        env: std::env::vars_os().chain(environment).collect(),
        cwd: None,
        stdio: [input, Some(writer.into()), None],
        inherit: Vec::new(),
        session: crate::intercept::Session::New,
        traced: false,
    };
    let launched = interceptor.launch(launch).ok()?;
    let (sender, text) = std::sync::mpsc::channel();
    let read = move || {
        let mut buffer = Vec::new();
        let _ = io::Read::read_to_end(&mut reader, &mut buffer);
        // The receiver may have lost patience.
        let _ = sender.send(String::from_utf8_lossy(&buffer).into_owned());
    };
    std::thread::Builder::new().name("output".into()).stack_size(128 << 10).spawn(read).ok()?;
    match launched.exit.recv_timeout(patience) {
        Ok(Exited::Code(0)) => text.recv_timeout(patience).ok(),
        Ok(_) => None,
        Err(_) => {
            signal_group(launched.pid, Signal::SIGKILL);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_only_waits_to_be_collected_does_not_live() {
        assert!(lives(std::process::id()));
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while lives(child.id()) {
            assert!(Instant::now() < until, "it has ended, and is not collected: it lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Another test's thread may have waited for it.
        let _ = child.wait();
    }
}
