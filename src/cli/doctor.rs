//! `sandbar doctor`: what this environment is, what k3s needs that it lacks, and what sandbar does about it.

use std::io::{IsTerminal, Write};

use crate::doctor;
use crate::exit::{Exit, Outcome};
use crate::supervisor::k3s_config::{ConfigFile, Places};

/// Flags of `sandbar doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 0 if control-plane mode will work here, 5 if not.")]
pub struct Args {
    /// How to show the report.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Do not try to reach the outside.
    #[arg(long)]
    no_network: bool,
}

/// Formats of the report.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One document: `{success, modes, environment, categories}`.
    Json,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let report = doctor::examine(!args.no_network, &Places::of(&[], &ConfigFile::load(&[])).data);
    let text = match args.output {
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
        Format::Text => doctor::render::text(&report, coloured()),
    };
    // `sandbar doctor | head` is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if report.success { Exit::Ok } else { Exit::Unsupported } as u8)
}

fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
