//! `sandbar setup`: the tools that the workflow needs, checked and installed; session-start hooks.

pub mod catalog;
pub mod error;
pub mod hook;
pub mod install;
pub mod jsonc;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use catalog::Tool;
pub use error::Error;
pub use install::Installer;

use crate::bounded;
use crate::doctor::tools::CNI_DIRS;
use crate::fetch::Progress;
use crate::k3s::places::check_executable;

/// A tool that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its first program.
    pub path: PathBuf,
    /// What it says about its version.
    pub version: String,
}

/// How one tool stands at the end.
#[derive(Debug)]
pub enum Outcome {
    /// It was there.
    Found(Present),
    /// It was installed; how, and as what.
    Installed(String, Present),
    /// It lacks; every way that was tried, and why it failed. Empty if none was to be tried.
    Lacking(Vec<Error>),
}

/// Looks for a tool, and unless `check_only` installs it.
pub fn provide(installer: &Installer, tool: &Tool, check_only: bool, progress: &mut dyn Progress) -> Outcome {
    if let Some(present) = look(installer, tool) {
        return Outcome::Found(present);
    }
    let mut failures = Vec::new();
    let mut ways = tool.ways.iter().filter(|_| !check_only).peekable();
    while let Some(way) = ways.next() {
        match installer.take(tool, *way, progress) {
            Ok(how) => match look(installer, tool) {
                Some(present) => return Outcome::Installed(how, present),
                None => failures.push(Error::NotInside { origin: how, program: tool.programs.join(", ") }),
            },
            Err(error) => {
                if ways.peek().is_some() && !matches!(error, Error::NotHere(_)) {
                    progress.note(&format!("{}: {error}; trying another way", tool.name));
                }
                failures.push(error);
            }
        }
    }
    Outcome::Lacking(failures)
}

/// A tool whose every program is there and whose first one runs.
pub fn look(installer: &Installer, tool: &Tool) -> Option<Present> {
    let mut paths = tool.programs.iter().map(|name| locate(installer, tool, name));
    let first = paths.next()??;
    if paths.any(|path| path.is_none()) {
        return None;
    }
    let version = if tool.version_arguments.is_empty() {
        String::new()
    } else {
        let mut command = Command::new(&first);
        let ran = bounded::run(command.args(tool.version_arguments), Duration::from_secs(20)).ok()?;
        if !ran.status.success() {
            return None;
        }
        ran.first_line().to_owned()
    };
    Some(Present { path: first, version })
}

fn locate(installer: &Installer, tool: &Tool, name: &str) -> Option<PathBuf> {
    let executable = |path: PathBuf| check_executable(&path).is_ok().then_some(path);
    let here = executable(installer.directory(tool).join(name));
    if tool.directory.is_none() {
        return installer.places.on_path(name).or(here);
    }
    // Never from PATH: iproute2 has a `bridge` too.
    here.or_else(|| CNI_DIRS.iter().find_map(|dir| executable(Path::new(dir).join(name))))
}
