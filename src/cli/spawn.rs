//! Starting the supervisor as a daemon, and hearing from it whether it has begun.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::exit::{Exit, Failure};
use crate::supervisor::claim::Claim;
use crate::supervisor::client;
use crate::supervisor::control::Options;
use crate::supervisor::paths::Paths;

/// From the end of the daemon's stderr to a socket that answers, or to its exit status.
const SETTLE: Duration = Duration::from_secs(10);

/// Starts `sandbar supervise --detach`, hands the claim over to it, and returns when it listens. Its failure is returned as
/// our own.
pub fn supervisor(claim: Claim, paths: &Paths, options: &Options) -> Result<(), Failure> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments(paths, options))
        .stdin(claim.hand_over())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // Ends when the daemon exchanges stderr for its log, or dies.
        stderr.read_to_string(&mut said)?;
    }
    let until = Instant::now() + SETTLE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Err(failure(&said, status.code()));
        }
        if client::connect(paths).is_ok() {
            forget(child);
            return Ok(());
        }
        if Instant::now() > until {
            let message = "the supervisor was started but does not answer";
            return Err(Failure::new(Exit::TimedOut, message).hint("sandbar logs supervisor"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The daemon is nobody's child once we have ended; waiting for it is not ours.
fn forget(child: Child) {
    drop(child);
}

fn arguments(paths: &Paths, options: &Options) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["supervise".into(), "--detach".into()];
    let mut pair = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    pair("--state-dir", paths.state.clone().into());
    pair("--run-dir", paths.run.clone().into());
    pair("--mode", options.mode.name().into());
    pair("--k3s", options.k3s.clone().into());
    pair("--k3s-version", options.k3s_version.clone().into());
    options.files.iter().for_each(|file| pair("--filename", file.clone().into()));
    if options.safe {
        arguments.push("--safe".into());
    }
    if !options.k3s_flags.is_empty() {
        arguments.push("--".into());
        arguments.extend(options.k3s_flags.iter().map(OsString::from));
    }
    arguments
}

/// What `main` printed for the daemon, taken apart again.
fn failure(said: &str, code: Option<i32>) -> Failure {
    let known = [Exit::Usage, Exit::NotRunning, Exit::TimedOut, Exit::Unsupported, Exit::K3sExited];
    let exit = known.into_iter().find(|exit| code == Some(*exit as i32)).unwrap_or(Exit::Failed);
    let text = said.trim();
    let text = text.strip_prefix("sandbar: ").unwrap_or(text);
    match text.rsplit_once("\nhint: ") {
        Some((message, hint)) => Failure::new(exit, message).hint(hint),
        None if text.is_empty() => {
            Failure::new(exit, "the supervisor ended at once").hint("sandbar logs supervisor")
        }
        None => Failure::new(exit, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemons_failure_is_told_as_it_told_it() {
        let told = failure("sandbar: port 6443 is taken\nhint: ss -ltnp\n", Some(5));
        assert_eq!((told.exit, told.message.as_str()), (Exit::Unsupported, "port 6443 is taken"));
        assert_eq!(told.hint.as_deref(), Some("ss -ltnp"));
        assert_eq!(failure("", None).exit, Exit::Failed);
    }
}
