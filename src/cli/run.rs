//! `sandbar run`: any command under a private interceptor.
//!
//! Two processes: this one stays what the caller started (its exit code, its job control); a second one traces and
//! lives until the last process of the tree has ended, so that a daemon started by the command goes on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::api;
use crate::controller::build;
use crate::exit::{Exit, Failure, Outcome};
use crate::intercept::{Backend, Exited, Interceptor, Launch, LaunchError, Launched, Session};
use crate::rules::model::DesiredDocument;
use crate::rules::observed::{Observed, create_observed};
use crate::sys::process::{self, Side};
use crate::sys::signal::{self, Dispositions};

/// Flags of `sandbar run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// SandboxConfig files whose rules apply (several documents per file are fine); none: no rules.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How calls are intercepted; `ptrace-syscall` is there for comparison.
    #[arg(long, value_enum, default_value_t, hide_short_help = true)]
    backend: Backend,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Signals that a caller may send to us and means for the command.
const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGIO,
];

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let document = document(&args.files)?;
    let inherited = process::take_inherited()?;
    let (report, to_front) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (from_front, alive) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    match process::fork()? {
        Side::Parent(_) => {
            drop((inherited, to_front, from_front));
            front(File::from(report))
        }
        Side::Child => {
            drop((report, alive));
            let mut out = Report(File::from(to_front));
            if let Err(failure) = back(args, &document, inherited, File::from(from_front), &mut out) {
                out.failed(&failure);
            }
            std::process::exit(0)
        }
    }
}

fn document(files: &[PathBuf]) -> Result<DesiredDocument, Failure> {
    let configs = api::load_files(files).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let (document, _) = build::desired(&configs, &BTreeMap::new());
    Ok(document)
}

/// What the tracing process tells the one in front: a tag and a number, or a failure's exit code and text.
struct Report(File);

impl Report {
    fn send(&mut self, tag: u8, number: i32) {
        let mut message = vec![tag];
        message.extend(number.to_ne_bytes());
        // The front may be gone; there is nobody to tell then.
        let _ = self.0.write_all(&message);
    }

    fn failed(&mut self, failure: &Failure) {
        self.send(b'F', failure.exit as i32);
        let _ = self.0.write_all(failure.to_string().as_bytes());
    }
}

/// The process that the caller sees: passes signals on and ends as the command ended. While the command runs it holds
/// nothing of the caller's, so that a pipe which the command closes is closed.
fn front(mut report: File) -> Outcome {
    let mut set = SigSet::empty();
    FORWARDED.into_iter().for_each(|signal| set.add(signal));
    set.thread_block()?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut command = None;
    // Those that came before there was a command.
    let mut early = Vec::new();
    loop {
        let fds = &mut [
            PollFd::new(report.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        // A failed poll (EINTR after a stop) only means one look more.
        if poll(fds, PollTimeout::NONE).is_err() {
            continue;
        }
        let reported = fds[0].any().unwrap_or(false);
        while let Ok(Some(got)) = signals.read_signal() {
            // What the kernel sends for a terminal has reached the command's group already.
            let by_process = got.ssi_code <= 0;
            match (Signal::try_from(got.ssi_signo as i32), command) {
                (Ok(signal), Some(pid)) if by_process => {
                    let _ = kill(Pid::from_raw(pid), signal);
                }
                (Ok(signal), None) if by_process => early.push(signal),
                _ => {}
            }
        }
        if !reported {
            continue;
        }
        let mut message = [0; 5];
        if report.read_exact(&mut message).is_err() {
            if command.is_some() {
                // The tracing process was killed, and the kernel has killed the command with it.
                process::die_by(libc::SIGKILL);
            }
            return Err(Failure::new(Exit::Failed, "the tracing process ended, and the command with it"));
        }
        let [tag, number @ ..] = message;
        let number = i32::from_ne_bytes(number);
        match tag {
            b'P' => {
                command = Some(number);
                for signal in early.drain(..) {
                    let _ = kill(Pid::from_raw(number), signal);
                }
                process::let_go()?;
            }
            b'X' => return Ok(Exited::Code(number).code()),
            b'S' => {
                process::die_by(number);
                return Ok(Exited::Signal(number).code());
            }
            _ => {
                let mut text = String::new();
                report.read_to_string(&mut text)?;
                eprintln!("sandbar: {text}");
                return Ok(number.clamp(1, 255) as u8);
            }
        }
    }
}

/// The process that traces.
fn back(
    args: Args,
    document: &DesiredDocument,
    inherited: Vec<(std::os::fd::OwnedFd, i32)>,
    front: File,
    report: &mut Report,
) -> Result<(), Failure> {
    let dispositions = Dispositions::current();
    // The tracing process outlives what is sent to its group: a terminal's signals, or anybody's to the command.
    signal::ignore_what_others_send();
    let observed = Observed::open(&create_observed()?, true)?;
    let interceptor =
        Interceptor::start_restoring(observed, args.backend, dispositions, false).map_err(|error| {
            Failure::new(Exit::Unsupported, error.to_string()).hint("`sandbar doctor` says what is missing")
        })?;
    interceptor.program(document);
    let stdio = [
        Some(std::io::stdin().as_fd().try_clone_to_owned()?),
        Some(std::io::stdout().as_fd().try_clone_to_owned()?),
        Some(std::io::stderr().as_fd().try_clone_to_owned()?),
    ];
    let launch = Launch {
        argv: args.command,
        env: std::env::vars_os().collect(),
        cwd: None,
        stdio,
        inherit: inherited,
        session: Session::Inherit,
        traced: true,
    };
    let Launched { pid, exit } = match interceptor.launch(launch) {
        Ok(launched) => launched,
        Err(error) => {
            // As env(1) and shells have it: 127 not found, 126 found but not executable.
            let code = match &error {
                LaunchError::Exec { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
                LaunchError::Exec { .. } => 126,
                _ => 1,
            };
            report.send(b'F', code);
            let _ = report.0.write_all(error.to_string().as_bytes());
            return Ok(());
        }
    };
    process::let_go()?;
    report.send(b'P', pid as i32);
    let done = Arc::new(AtomicBool::new(false));
    watch_front(front, pid, done.clone());
    let how = exit.recv().map_err(|_| Failure::new(Exit::Failed, "the tracer thread ended"))?;
    done.store(true, Ordering::SeqCst);
    match how {
        Exited::Code(code) => report.send(b'X', code),
        Exited::Signal(signal) => report.send(b'S', signal),
    }
    interceptor.wait_idle();
    Ok(())
}

/// When the process in front is killed, so is the command, as it would be without us.
fn watch_front(mut front: File, pid: u32, done: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut byte = [0];
        if matches!(front.read(&mut byte), Ok(0)) && !done.load(Ordering::SeqCst) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    });
}
