//! `sandbar supervise`: the supervisor daemon, as `up` starts it.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar supervise` is not built yet"))
}
