//! `sandbar restart`: restart k3s, taking up settings that wait for it.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar restart`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar restart` is not built yet"))
}
