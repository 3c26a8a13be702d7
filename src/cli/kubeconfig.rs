//! `sandbar kubeconfig`: print the kubeconfig, or merge it.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar kubeconfig`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar kubeconfig` is not built yet"))
}
