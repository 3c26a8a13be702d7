//! `sandbar down`: stop everything that sandbar started.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::output::{self, Phases, seconds};
use crate::exit::{Exit, Failure, Outcome};
use crate::supervisor::client::{self, ClientError};
use crate::supervisor::control::Request;
use crate::supervisor::k3s_config::{ConfigFile, Places};
use crate::supervisor::paths::Paths;
use crate::supervisor::{lock, pods, preflight, shutdown};

/// k3s gets 20 s before it is killed; the rest is quick, but for the pods' network, which has its own time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `sandbar down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove the cluster's data, its configuration and sandbar's state as well.
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    paths: Paths,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    preflight::root()?;
    let paths = args.paths.absolute()?;
    let mut phases = Phases::new();
    let data = client::observe(&paths).map(|view| view.running.data);
    let data = data.unwrap_or_else(|_| Places::of(&[], &ConfigFile::load(&[])).data);
    phases.begin("Stopping");
    match stop(&paths) {
        Ok(true) => phases.done(),
        Ok(false) => {
            let killed = shutdown::kill_left_over(&paths);
            shutdown::unmount_left_over(&data);
            shutdown::remove_run_files(&paths).map_err(preflight::failure)?;
            phases.done();
            match killed {
                0 => output::text("not running")?,
                _ => output::text(&format!("not running; {killed} left-over processes killed"))?,
            }
        }
        Err(failure) => {
            phases.failed();
            return Err(failure);
        }
    }
    // What is on record of the pods' network still: of a supervisor that was killed, or that could not take it down.
    if lock::holder(&paths.lock()).is_none() {
        pods::sweep(&paths.cni())
            .map_err(|why| Failure::new(Exit::Failed, why).hint("try again: sandbar down"))?;
        pods::forget_namespaces();
    }
    if args.purge {
        purge(&shutdown::purged(&paths, &data))?;
    }
    Ok(0)
}

/// Stops the running supervisor and waits until it is gone; `false` if there is none.
pub fn stop(paths: &Paths) -> Result<bool, Failure> {
    let pid = match client::request(paths, &Request::Down) {
        Ok(_) => lock::holder(&paths.lock()),
        Err(ClientError::NotRunning) => match lock::holder(&paths.lock()) {
            None => return Ok(false),
            // It holds the lock but has no socket: it is starting, or about to end.
            Some(pid) => {
                crate::supervisor::process::signal(pid, nix::sys::signal::Signal::SIGTERM);
                Some(pid)
            }
        },
        Err(other) => return Err(other.failure()),
    };
    let patience = PATIENCE + pods::patience(&paths.cni());
    let began = Instant::now();
    while lock::holder(&paths.lock()).is_some() || pid.is_some_and(lives) {
        if began.elapsed() > patience {
            let message = format!("timed out after {} waiting for the supervisor to end", seconds(patience));
            return Err(Failure::new(Exit::TimedOut, message).hint("sandbar logs supervisor"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// Whether a process is there and not just waiting to be collected by its parent.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

fn purge(wanted: &[PathBuf]) -> Result<(), Failure> {
    for removed in shutdown::remove_all(wanted).map_err(preflight::failure)? {
        output::text(&format!("removed {}", removed.display()))?;
    }
    Ok(())
}
