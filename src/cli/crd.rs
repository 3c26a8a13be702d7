//! `sandbar crd`: print the CustomResourceDefinition.

use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar crd`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::new(Exit::Failed, "`sandbar crd` is not built yet"))
}
