//! `sandbar exec`: run a command in the running supervisor's view.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar exec`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar exec` is not built yet"))
}
