//! `sandbar doctor`: what this environment is, what k3s needs that it lacks, and what sandbar does about it.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar doctor` is not built yet"))
}
