//! `sandbar exec`: run a command in the running supervisor's view, on our own descriptors.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigSet, Signal};

use super::pty::Relay;
use crate::exit::{Exit, Failure, Outcome};
use crate::supervisor::client::{self, ClientError};
use crate::supervisor::control::{self, Bytes, ExecInput, ExecRequest, Reply, Request};
use crate::supervisor::paths::Paths;

/// Flags of `sandbar exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Give the command a terminal of its own; without it, it gets one if stdin and stdout are terminals.
    #[arg(short, long, conflicts_with = "no_tty")]
    tty: bool,
    /// Never give the command a terminal of its own.
    #[arg(long)]
    no_tty: bool,
    #[command(flatten)]
    paths: Paths,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What is passed on to the command. SIGWINCH goes to its terminal.
const FORWARDED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Runs a command without a terminal; for other verbs. Returns its exit code.
pub fn plain(paths: &Paths, command: Vec<OsString>) -> Outcome {
    run(Args { tty: false, no_tty: true, paths: paths.clone(), command })
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    // Before any thread is started, so that the one below gets them all.
    let mut signals = SigSet::empty();
    FORWARDED.into_iter().chain([Signal::SIGWINCH]).for_each(|signal| signals.add(signal));
    signals.thread_block()?;
    let both = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let relay = if args.tty || (both && !args.no_tty) { Some(Relay::open()?) } else { None };
    let request = Request::Exec(ExecRequest {
        argv: args.command.into_iter().map(Bytes::new).collect(),
        env: std::env::vars_os().map(|(name, value)| (Bytes::new(name), Bytes::new(value))).collect(),
        cwd: Bytes::new(std::env::current_dir()?),
        terminal: relay.is_some(),
    });
    let own = own_descriptors()?;
    let descriptors: Vec<BorrowedFd<'_>> = match &relay {
        Some(relay) => vec![relay.command_side(); 3],
        None => own.iter().map(AsFd::as_fd).collect(),
    };
    let (stream, reply, _) =
        client::ask(&args.paths, &request, &descriptors).map_err(|error| match error {
            ClientError::Refused(message) => Failure::new(Exit::Failed, message),
            other => other.failure(),
        })?;
    drop(own);
    match reply {
        Reply::Started { .. } => {}
        Reply::NotStarted { message, code } => {
            eprintln!("sandbar: {message}");
            return Ok(code);
        }
        _ => return Err(Failure::new(Exit::Failed, "the supervisor's answer was not understood")),
    }
    stream.set_read_timeout(None)?;
    let running = relay.map(Relay::start).transpose()?;
    forward(signals, stream.try_clone()?, running.as_ref().map(|relay| relay.resizer()).transpose()?)?;
    let ended = control::receive::<Reply>(&stream);
    if let Some(relay) = running {
        // What the command wrote last is still on its way.
        relay.finish();
    }
    match ended {
        Ok((Reply::Exited { code }, _)) => Ok(code),
        _ => Err(Failure::new(Exit::NotRunning, "the supervisor ended, and the command with it")
            .hint("sandbar up")),
    }
}

/// stdin, stdout and stderr; what is closed becomes /dev/null.
fn own_descriptors() -> Result<Vec<OwnedFd>, Failure> {
    let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut own = Vec::new();
    for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        own.push(fd.try_clone_to_owned().or_else(|_| null())?);
    }
    Ok(own)
}

/// A thread that passes signals on for as long as we live.
fn forward(signals: SigSet, stream: UnixStream, resize: Option<super::pty::Resizer>) -> Result<(), Failure> {
    let pass_on = move || {
        while let Ok(signal) = signals.wait() {
            match (signal, &resize) {
                (Signal::SIGWINCH, Some(resize)) => resize.now(),
                (Signal::SIGWINCH, None) => {}
                // The supervisor is gone when this fails, which the main thread sees as well.
                (signal, _) => drop(control::send(&stream, &ExecInput::Signal(signal as i32), &[])),
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(pass_on)?;
    Ok(())
}
