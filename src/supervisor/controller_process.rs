//! The controller process: how the supervisor starts it, and the contract between the two.
//!
//! The supervisor runs `sandbar controller` (its own executable) untraced, in a session of its own, once k3s has been
//! ready for the first time, and again with backoff whenever it ends. What it hands over:
//!
//! | descriptor | what it is |
//! |---|---|
//! | 3 | the desired table, writable: [`DesiredWriter::open`](crate::rules::table::DesiredWriter::open) |
//! | 4 | the observed table, read-only: [`Observed::open`](crate::rules::observed::Observed::open)`(fd, false)` |
//! | 5 | *desired bell*, an eventfd: the controller writes 1 after it published a generation |
//! | 6 | *observed bell*, an eventfd: the supervisor writes 1 after every acknowledgement and every change of state |
//! | 7 | *lifeline*, a stream socket: end-of-file says that the supervisor is gone, and the controller must exit. The controller writes the line `applied` to it once the files of `SANDBAR_CONFIG_FILES` are, which the next one is not told of; and the line `ready` once the CRD is established, the built-in profiles are applied and its first table was published; `unready` takes that back while there is no contact with the API server. `told N` says that events up to that sequence are told, `refused JSON` ([`Refused`]) what is refused there, and `taken` that the table is not any more |
//!
//! Both bells are blocking; the controller may set `O_NONBLOCK` on a duplicate made through `/proc/self/fd` only, since
//! the flag belongs to the open file that both sides share. A bell says "look again", never how often: after it, compare
//! [`Observed::revision`](crate::rules::observed::Observed::revision) and the
//! [`Acknowledged`](crate::rules::observed::Scalar::Acknowledged) scalar.
//!
//! | variable | what it says |
//! |---|---|
//! | `SANDBAR_FDS` | `3,4,5,6,7` |
//! | `KUBECONFIG` | k3s's own kubeconfig |
//! | `SANDBAR_RUN_DIR`, `SANDBAR_STATE_DIR` | where this supervisor keeps its things |
//! | `SANDBAR_NODE_NAME` | the name under which k3s registers this machine |
//! | `SANDBAR_ENVIRONMENT` | whose built-in profiles are applied, found out before any rule was in force |
//! | `SANDBAR_CONFIG_FILES` | files given to `up -f`, joined by `:` as in PATH, absolute; to be applied to the cluster once |
//! | `SANDBAR_TOLD_EVENTS` | sequence of the last event that is told |
//!
//! A generation counts as taken or refused when `Acknowledged` equals it; only then may the next be published.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::eventfd::EventFd;
use serde::{Deserialize, Serialize};

use super::control::Options;
use super::k3s_config::{ConfigFile, node_name};
use super::k3s_process::INSTANCE;
use super::paths::Paths;
use super::process::{self, End, ProcessError, Running, SharedLog};
use crate::api::profiles::Environment;
use crate::intercept::{Interceptor, Launch, Session};
use crate::sys::shared;

const DESIRED: i32 = 3;
const OBSERVED: i32 = 4;
const DESIRED_BELL: i32 = 5;
const OBSERVED_BELL: i32 = 6;
const LIFELINE: i32 = 7;

/// Longest line that we read from the controller.
const MAX_LINE: u64 = 16 << 10;

/// What every start of the controller gets.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Handover {
    pub desired: OwnedFd,
    pub observed: OwnedFd,
    pub desired_bell: Arc<EventFd>,
    pub observed_bell: Arc<EventFd>,
    pub kubeconfig: PathBuf,
    pub paths: Paths,
    pub options: Options,
    pub environment: Environment,
    pub told_events: u64,
    pub log: SharedLog,
}

/// What the controller refuses by itself, before the supervisor has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The SandboxConfig; none, if it is the whole table.
    pub object: Option<String>,
    /// Why; shortened, so that it fits a line.
    pub reason: String,
}

/// What a controller's threads tell the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum News {
    Applied,
    Ready(bool),
    Told(u64),
    Refused(Refused),
    Taken,
    Ended(End),
}

/// A controller that runs. Dropping it lets the lifeline go.
#[derive(Debug)]
pub struct Controller {
    /// The process.
    pub process: Running,
    _lifeline: UnixStream,
}

/// Starts the controller; `tell` is called from threads of their own.
pub fn start(
    interceptor: &Interceptor,
    handover: &Handover,
    run: u64,
    tell: impl Fn(News) + Clone + Send + 'static,
) -> Result<Controller, ProcessError> {
    let (ours, theirs) = UnixStream::pair()?;
    let launch = Launch {
        argv: vec![process::executable()?.into(), "controller".into()],
        env: environment(handover),
        cwd: Some(PathBuf::from("/")),
        stdio: [None, None, None],
        inherit: vec![
            (handover.desired.try_clone()?, DESIRED),
            (shared::read_only(&handover.observed)?, OBSERVED),
            (handover.desired_bell.as_fd().try_clone_to_owned()?, DESIRED_BELL),
            (handover.observed_bell.as_fd().try_clone_to_owned()?, OBSERVED_BELL),
            (theirs.into(), LIFELINE),
        ],
        session: Session::New,
        traced: false,
    };
    let telling = tell.clone();
    let ended = move |end| telling(News::Ended(end));
    let process = process::start(interceptor, "controller", launch, &handover.log, run, ended)?;
    let listening = ours.try_clone()?;
    let listen = move || listen(listening, &tell);
    std::thread::Builder::new().name("controller-line".into()).stack_size(128 << 10).spawn(listen)?;
    Ok(Controller { process, _lifeline: ours })
}

fn environment(handover: &Handover) -> Vec<(OsString, OsString)> {
    let files = env::join_paths(&handover.options.files).unwrap_or_default();
    let flags = &handover.options.k3s_flags;
    let fds = [DESIRED, OBSERVED, DESIRED_BELL, OBSERVED_BELL, LIFELINE].map(|fd| fd.to_string()).join(",");
    let ours: [(&str, OsString); 9] = [
        ("SANDBAR_FDS", fds.into()),
        ("KUBECONFIG", handover.kubeconfig.clone().into()),
        ("SANDBAR_RUN_DIR", handover.paths.run.clone().into()),
        ("SANDBAR_STATE_DIR", handover.paths.state.clone().into()),
        ("SANDBAR_NODE_NAME", node_name(flags, &ConfigFile::load(flags)).into()),
        ("SANDBAR_ENVIRONMENT", handover.environment.name().into()),
        ("SANDBAR_CONFIG_FILES", files),
        ("SANDBAR_TOLD_EVENTS", handover.told_events.to_string().into()),
        (INSTANCE, handover.paths.run.clone().into()),
    ];
    let mut variables: Vec<_> = env::vars_os()
        .filter(|(name, _)| name != "NOTIFY_SOCKET" && !ours.iter().any(|(own, _)| name == own))
        .collect();
    variables.extend(ours.map(|(name, value)| (name.into(), value)));
    variables
}

fn listen(from: UnixStream, tell: &impl Fn(News)) {
    let mut reader = BufReader::new(from);
    loop {
        let mut line = String::new();
        match (&mut reader).take(MAX_LINE).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => match understood(line.trim()) {
                Some(news) => tell(news),
                None => tracing::warn!("the controller said {line:?}, which is not understood"),
            },
        }
    }
}

fn understood(line: &str) -> Option<News> {
    Some(match line.split_once(' ').unwrap_or((line, "")) {
        ("applied", "") => News::Applied,
        ("ready", "") => News::Ready(true),
        ("unready", "") => News::Ready(false),
        ("refused", what) => News::Refused(serde_json::from_str(what).ok()?),
        ("taken", "") => News::Taken,
        ("told", sequence) => News::Told(sequence.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_controller_says_is_understood_or_not() {
        assert_eq!(understood("unready"), Some(News::Ready(false)));
        assert_eq!(understood("told 17"), Some(News::Told(17)));
        let refused = News::Refused(Refused { object: None, reason: "too large".into() });
        assert_eq!(understood(r#"refused {"reason": "too large"}"#), Some(refused));
        for odd in ["", "ready now", "refused", "refused {", "told", "told x"] {
            assert_eq!(understood(odd), None, "{odd}");
        }
    }
}
