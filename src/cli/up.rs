//! `sandbar up`: start (or adopt) the cluster and wait until it is ready.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar up`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar up` is not built yet"))
}
