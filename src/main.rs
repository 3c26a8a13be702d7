//! Entry point: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use sandbar::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().verb.run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("sandbar: {failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}
