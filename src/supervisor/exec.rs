//! `sandbar exec` on the supervisor's side: the command runs as k3s does, on the client's own descriptors.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::control::{self, ControlError, ExecInput, ExecRequest, Reply};
use super::process;
use crate::intercept::{Exited, Interceptor, Launch, LaunchError, Launched, Session};

/// From SIGHUP to SIGKILL for a command whose client is gone.
const GRACE: Duration = Duration::from_secs(2);
/// What a client may pass on.
const PASSED_ON: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// Serves one command until it ends or its client does.
pub fn serve(
    interceptor: &Interceptor,
    traced: bool,
    stream: &UnixStream,
    request: ExecRequest,
    descriptors: Vec<OwnedFd>,
) -> Result<(), ControlError> {
    let launched = match launch(interceptor, traced, request, descriptors) {
        Ok(launched) => launched,
        Err(reply) => return control::send(stream, &reply, &[]),
    };
    let pid = launched.pid;
    let ended = Arc::new(AtomicBool::new(false));
    stream.set_read_timeout(None)?;
    let listener = {
        let (stream, ended) = (stream.try_clone()?, ended.clone());
        let listen = move || listen(&stream, pid, &ended);
        std::thread::Builder::new().name("exec-input".into()).stack_size(128 << 10).spawn(listen)
    };
    if let Err(error) = listener {
        process::signal_group(pid, Signal::SIGKILL);
        return Err(error.into());
    }
    let started = control::send(stream, &Reply::Started { pid }, &[]);
    // Even if the client is gone by now: the listener has seen that as well and ends the command.
    let code = launched.exit.recv().map_or(1, Exited::code);
    ended.store(true, Ordering::SeqCst);
    let told = started.and_then(|()| control::send(stream, &Reply::Exited { code }, &[]));
    // Ends the listener.
    stream.shutdown(std::net::Shutdown::Both)?;
    told
}

fn launch(
    interceptor: &Interceptor,
    traced: bool,
    request: ExecRequest,
    descriptors: Vec<OwnedFd>,
) -> Result<Launched, Reply> {
    let Ok(stdio) = <[OwnedFd; 3]>::try_from(descriptors) else {
        return Err(Reply::Failed {
            message: "exec needs exactly three descriptors: stdin, stdout, stderr".into(),
        });
    };
    if request.argv.is_empty() {
        return Err(Reply::Failed { message: "exec needs a command".into() });
    }
    let launch = Launch {
        argv: request.argv.into_iter().map(control::Bytes::into_os).collect(),
        env: request.env.into_iter().map(|(name, value)| (name.into_os(), value.into_os())).collect(),
        cwd: Some(PathBuf::from(request.cwd.into_os())),
        stdio: stdio.map(Some),
        inherit: Vec::new(),
        session: if request.terminal { Session::Terminal } else { Session::New },
        traced,
    };
    interceptor
        .launch(launch)
        .map_err(|error| Reply::NotStarted { message: error.to_string(), code: shell_code(&error) })
}

/// What a shell exits with if it cannot start a command.
fn shell_code(error: &LaunchError) -> u8 {
    match error {
        LaunchError::Exec { source, .. } if source.kind() == ErrorKind::NotFound => 127,
        _ => 126,
    }
}

fn listen(stream: &UnixStream, pid: u32, ended: &AtomicBool) {
    let gone = loop {
        match control::receive::<ExecInput>(stream) {
            Ok((ExecInput::Signal(number), _)) if !ended.load(Ordering::SeqCst) => pass_on(pid, number),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    if ended.load(Ordering::SeqCst) {
        return;
    }
    tracing::debug!(pid, "the client of this command is gone: {gone}");
    process::signal_group(pid, Signal::SIGHUP);
    let step = Duration::from_millis(20);
    for _ in 0..GRACE.as_millis() / step.as_millis() {
        if ended.load(Ordering::SeqCst) {
            return;
        }
        std::thread::sleep(step);
    }
    process::signal_group(pid, Signal::SIGKILL);
}

fn pass_on(pid: u32, number: i32) {
    let Some(signal) = PASSED_ON.into_iter().find(|known| *known as i32 == number) else { return };
    match signal {
        // What a terminal would send goes to the whole job, as from a terminal.
        Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP => process::signal_group(pid, signal),
        _ => process::signal(pid, signal),
    }
}
