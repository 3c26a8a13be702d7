//! Running a command to its end within a time limit, with everything that it printed.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Set in the environment of what is run, to find all that came from it.
const MARK: &str = "SANDBAR_TEST_RUN";

/// How a command ended and what it said.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit code or signal.
    pub how: String,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Ended {
    /// Whether it exited with 0.
    pub fn ok(&self) -> bool {
        self.how == "exit 0"
    }
}

/// Runs a command within 30 seconds.
pub fn run(command: &mut Command) -> Ended {
    run_within(command, Duration::from_secs(30))
}

/// Runs a command; one that takes longer is killed with its process group, and says so in `how`.
pub fn run_within(command: &mut Command, limit: Duration) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let mark = format!("{}.{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    command.env(MARK, &mark);
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = child.id() as i32;
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let (done, ended) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let status = child.wait().unwrap();
        let _ = done.send(());
        status
    });
    let late = ended.recv_timeout(limit).is_err();
    if late {
        kill_marked(&mark);
    }
    let status = waiter.join().unwrap();
    let mut how = if late { format!("not ended after {limit:?}") } else { describe(status) };
    if !group_ends(pid) {
        how += ", but left processes behind";
        kill_marked(&mark);
    }
    Ended { how, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Kills all that a run has started, by the mark in its environment: some of it may have left the process group.
fn kill_marked(mark: &str) {
    let wanted = format!("{MARK}={mark}\0");
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&wanted) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Whether the last process of a group ends soon, the tracing one included. Orphans come to us, to be reaped at once.
fn group_ends(group: i32) -> bool {
    (0..400).any(|_| {
        let reap = nix::sys::wait::WaitPidFlag::WNOHANG;
        while nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(-group), Some(reap))
            .is_ok_and(|status| status.pid().is_some())
        {}
        let gone = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), None).is_err();
        if !gone {
            thread::sleep(Duration::from_millis(5));
        }
        gone
    })
}

/// A status in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => format!("{status:?}"),
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
