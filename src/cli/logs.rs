//! `sandbar logs`: show a component's log.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar logs`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar logs` is not built yet"))
}
