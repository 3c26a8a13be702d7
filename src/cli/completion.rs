//! `sandbar completion`: print a shell completion script.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar completion`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar completion` is not built yet"))
}
