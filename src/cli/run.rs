//! `sandbar run`: run a command under a private interceptor, no cluster.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar run` is not built yet"))
}
