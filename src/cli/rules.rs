//! `sandbar rules`: the rules in force, with hit counters.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar rules`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar rules` is not built yet"))
}
