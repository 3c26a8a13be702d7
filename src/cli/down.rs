//! `sandbar down`: stop everything that sandbar started.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::output::{self, Phases, seconds};
use crate::exit::{Exit, Failure, Outcome};
use crate::supervisor::claim::{self, Claim};
use crate::supervisor::client::{self, ClientError};
use crate::supervisor::control::{Request, Running};
use crate::supervisor::lock::{self, Holder, LockError, Role};
use crate::supervisor::paths::{self, Paths};
use crate::supervisor::record::Record;
use crate::supervisor::{pods, preflight, process, purge, shutdown};

/// k3s gets 20 s before it is killed; the rest is quick, but for the pods' network, which has its own time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `sandbar down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove the cluster's data, its kubeconfig and sandbar's state as well. What others have written there stays.
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
    // A supervisor older than records says it itself.
    let view = client::observe(&paths).ok();
    let document = view.as_ref().and_then(|view| view.document().ok()).unwrap_or_default();
    let blind = document.events.iter().any(|event| event.reason == "MountsLost");
    let said = view.map(|view| view.running);
    phases.begin("Stopping");
    let (ran, claim) = stopped(&paths).inspect_err(|_| phases.failed())?;
    let mut record = Record::load(&paths.record()).or_else(|| said.map(record_of));
    let killed = match ran {
        // It has seen nobody run.
        true if blind => shutdown::kill_left_over(&paths),
        true => 0,
        false => clear(&paths, record.as_mut())?,
    };
    phases.done();
    match (ran, killed) {
        (true, _) => {}
        (false, 0) => output::text("not running")?,
        (false, _) => output::text(&format!("not running; {killed} left-over processes killed"))?,
    }
    // What is on record of the pods' network still: of a supervisor that was killed, or that could not take it down.
    pods::sweep(&paths.cni())
        .map_err(|why| Failure::new(Exit::Failed, why).hint("try again: sandbar down"))?;
    if record.is_some() {
        pods::forget_namespaces();
    }
    if args.purge {
        purge(&paths, record.as_ref())?;
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
    let patience = PATIENCE + pods::patience(&paths.cni());
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
        if began.elapsed() > patience {
            let message = format!("timed out after {} waiting for the supervisor to end", seconds(patience));
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

fn record_of(running: Running) -> Record {
    Record { data: running.data, kubeconfig: running.kubeconfig, mounts_outside: false }
}

/// Clears away what a supervisor that was killed has left. Returns how many processes that were.
fn clear(paths: &Paths, record: Option<&mut Record>) -> Result<usize, Failure> {
    let killed = shutdown::kill_left_over(paths);
    if let Some(record) = record.filter(|record| record.mounts_outside) {
        shutdown::unmount_left_over(&record.data);
        // What is mounted there from now on is somebody else's.
        record.mounts_outside = false;
        record.save(&paths.record()).map_err(preflight::failure)?;
    }
    Ok(killed)
}

fn purge(paths: &Paths, record: Option<&Record>) -> Result<(), Failure> {
    for removed in purge::purge(paths, record).map_err(preflight::failure)? {
        output::text(&format!("removed {}", removed.display()))?;
    }
    let default = Path::new(paths::K3S_DATA_DIR);
    if record.is_none() && default.exists() {
        let (state, data) = (paths.state.display(), default.display());
        eprintln!("no cluster is on record in {state}, so {data} stays");
    }
    Ok(())
}
