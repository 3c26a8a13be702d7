//! `sandbar controller`: the controller daemon, as the supervisor starts it.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar controller`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar controller` is not built yet"))
}
