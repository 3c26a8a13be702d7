//! `sandbar status`: health of k3s, controller and interceptor.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar status` is not built yet"))
}
