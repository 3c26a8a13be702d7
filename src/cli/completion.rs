//! `sandbar completion`: print a shell completion script.

use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Outcome;

/// Flags of `sandbar completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "sandbar", &mut script);
    // A reader that has closed the pipe has seen enough.
    let _ = io::Write::write_all(&mut io::stdout(), &script);
    Ok(0)
}
