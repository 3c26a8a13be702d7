//! The ways in which the same command is run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As it is.
    Plain,
    /// By `sandbar up` as it is: in a control plane k3s is not traced, and what is run in it is.
    Sandbar,
    /// By `sandbar up` with `interception: Mount`: nothing is traced.
    Mount,
    /// Traced; a single command by `sandbar run`.
    Trace,
    /// Under `sandbar run` with every system call stopped: the earlier art.
    Everything,
}

impl Variant {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Sandbar, Self::Mount, Self::Trace, Self::Everything];
    /// Of a single command: where nothing is traced, nothing of ours is between it and the kernel.
    pub const OF_A_COMMAND: [Self; 3] = [Self::Plain, Self::Trace, Self::Everything];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Sandbar => "sandbar",
            Self::Mount => "mount",
            Self::Trace => "trace",
            Self::Everything => "everything",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }

    /// `program` run this way, with the rules in `config`; as it is where it is not traced.
    pub fn command(self, config: &Path, program: &Path) -> Command {
        if matches!(self, Self::Plain | Self::Sandbar | Self::Mount) {
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
pub fn order(variants: &[Variant], round: usize) -> Vec<Variant> {
    let mut order = variants.to_vec();
    order.rotate_left(round % variants.len().max(1));
    order
}

/// The sandbar that is measured.
pub fn sandbar() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_sandbar"))
}
