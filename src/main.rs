//! Entry point: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use sandbar::cli::{Cli, host_local};
use sandbar::cni;

fn main() -> ExitCode {
    if let Some(code) = host_local::answer_to_name().or_else(cni::answer_to_name) {
        return ExitCode::from(code);
    }
    match Cli::parse().verb.run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("sandbar: {failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}
