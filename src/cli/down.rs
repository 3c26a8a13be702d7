//! `sandbar down`: stop everything that sandbar started.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::output::{self, Phases, seconds};
use crate::exit::{Exit, Failure, Outcome};
use crate::supervisor::claim::{self, Claim};
use crate::supervisor::client::{self, ClientError};
use crate::supervisor::control::Request;
use crate::supervisor::k3s_config::{ConfigFile, Places};
use crate::supervisor::lock::{self, Holder, LockError, Role};
use crate::supervisor::paths::Paths;
use crate::supervisor::{preflight, process, shutdown};

/// k3s gets 20 s before it is killed, the rest is quick.
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
    let (ran, claim) = stopped(&paths).inspect_err(|_| phases.failed())?;
    let mut killed = 0;
    if !ran {
        killed = shutdown::kill_left_over(&paths);
        shutdown::unmount_left_over(&data);
    }
    phases.done();
    match (ran, killed) {
        (true, _) => {}
        (false, 0) => output::text("not running")?,
        (false, _) => output::text(&format!("not running; {killed} left-over processes killed"))?,
    }
    if args.purge {
        purge(&shutdown::purged(&paths, &data))?;
    }
    claim.release().map_err(preflight::failure)?;
    Ok(0)
}

/// Stops the supervisor, and whoever starts one meanwhile. Returns whether there was one, and the claim to what is left.
fn stopped(paths: &Paths) -> Result<(bool, Claim), Failure> {
    let mut ran = false;
    loop {
        ran |= stop(paths)?;
        match Claim::take(paths, Role::Down) {
            Ok(claim) => return Ok((ran, claim)),
            Err(LockError::Held(_)) => {}
            Err(error) => return Err(claim::failure(error)),
        }
    }
}

/// Stops the running supervisor, or what is about to start one, and waits until it is gone; `false` if there is none.
pub fn stop(paths: &Paths) -> Result<bool, Failure> {
    let began = Instant::now();
    let (mut ran, mut told) = (false, Vec::new());
    loop {
        let there = match lock::holder(&paths.lock()) {
            // Another `down` clears away what is left.
            Some(Holder { role: Role::Down, .. }) => true,
            Some(Holder { pid, .. }) if told.contains(&pid) => true,
            Some(Holder { pid, .. }) => {
                // Without a socket it is starting, or about to end.
                if !asked(paths)? {
                    process::signal(pid, Signal::SIGTERM);
                }
                told.push(pid);
                ran = true;
                true
            }
            // It gives up the lock before it has quite ended.
            None if told.iter().any(|pid| process::lives(*pid)) => true,
            None => asked(paths)?,
        };
        if !there {
            return Ok(ran);
        }
        if began.elapsed() > PATIENCE {
            let message = format!("timed out after {} waiting for the supervisor to end", seconds(PATIENCE));
            return Err(Failure::new(Exit::TimedOut, message).hint("sandbar logs supervisor"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks the supervisor to end; whether there was one to ask.
fn asked(paths: &Paths) -> Result<bool, Failure> {
    match client::request(paths, &Request::Down) {
        Ok(_) => Ok(true),
        Err(ClientError::NotRunning) => Ok(false),
        Err(other) => Err(other.failure()),
    }
}

fn purge(wanted: &[PathBuf]) -> Result<(), Failure> {
    for removed in shutdown::remove_all(wanted).map_err(preflight::failure)? {
        output::text(&format!("removed {}", removed.display()))?;
    }
    Ok(())
}
