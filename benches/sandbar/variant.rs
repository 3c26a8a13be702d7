//! The three ways in which the same command is run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As it is.
    Plain,
    /// Under `sandbar run`.
    Sandbar,
    /// Under `sandbar run` with every system call stopped: the earlier art.
    Everything,
}

impl Variant {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Sandbar, Self::Everything];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Sandbar => "sandbar",
            Self::Everything => "ptrace-syscall",
        }
    }

    /// `program` run this way, with the rules in `config`.
    pub fn command(self, config: &Path, program: &Path) -> Command {
        if self == Self::Plain {
            return Command::new(program);
        }
        let mut command = Command::new(sandbar());
        command.arg("run").arg("-f").arg(config);
        if self == Self::Everything {
            command.args(["--backend", "ptrace-syscall"]);
        }
        command.arg("--").arg(program);
        command
    }
}

/// Round `round`'s order: rotated, so that no variant always runs first or after the same other.
pub fn order(round: usize) -> [Variant; 3] {
    let mut order = Variant::ALL;
    order.rotate_left(round % 3);
    order
}

/// The sandbar that is measured.
pub fn sandbar() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_sandbar"))
}
