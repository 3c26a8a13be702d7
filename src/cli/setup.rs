//! `sandbar setup`: check and install the tools that the workflow needs.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar setup`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar setup` is not built yet"))
}
