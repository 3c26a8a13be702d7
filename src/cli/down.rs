//! `sandbar down`: stop everything that sandbar started.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar down`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar down` is not built yet"))
}
