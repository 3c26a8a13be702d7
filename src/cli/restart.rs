//! `sandbar restart`: restart k3s, taking up settings that wait for it.

use std::time::Duration;

use super::output::{self, Phases};
use super::wait::{self, Bound};
use crate::exit::Outcome;
use crate::supervisor::client::{self, ClientError};
use crate::supervisor::control::Request;
use crate::supervisor::paths::Paths;

/// Flags of `sandbar restart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Return at once instead of waiting until all is ready again.
    #[arg(long)]
    no_wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "180s", value_parser = output::duration)]
    timeout: Duration,
    #[command(flatten)]
    paths: Paths,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let mut phases = Phases::new();
    let bound = Bound::new(args.timeout);
    phases.begin("Restarting k3s");
    let before = client::observe(&args.paths).map_err(ClientError::failure)?;
    let document = before.document().map_err(ClientError::failure)?;
    let starts = document.k3s.restarts;
    let told = document.events.last().map_or(0, |event| event.sequence);
    client::request(&args.paths, &Request::Restart).map_err(ClientError::failure)?;
    if args.no_wait {
        phases.done();
        return Ok(0);
    }
    // Until k3s was started again it may still look ready.
    let started = wait::until(&args.paths, bound, &mut phases, |document, _| {
        if document.k3s.restarts > starts { Ok(()) } else { Err("k3s to stop".into()) }
    });
    started?;
    let view = wait::ready(&args.paths, bound, &mut phases)?;
    phases.done();
    wait::warn(&view.document().map_err(ClientError::failure)?, told, &mut phases);
    Ok(0)
}
