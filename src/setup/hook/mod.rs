//! Session-start hooks: a new session of a coding sandbox has a cluster without a word typed.
//!
//! Each flavour is a pure function from the file that is there to the file that should be; writing happens here, atomically.

mod claude;
mod devcontainer;
mod profile;
pub mod script;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::jsonc::SyntaxError;

/// Where k3s puts the kubeconfig.
pub const KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";

/// Which kind of session is to be hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Flavour {
    /// Claude Code where its signs are seen, else the shell profile.
    Auto,
    /// `.claude/settings.json` of the project.
    Claude,
    /// `.devcontainer/devcontainer.json` of the project (Codespaces and others).
    Devcontainer,
    /// Login shells.
    Profile,
}

/// Why a hook was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file that is there cannot be understood; it was not touched.
    #[error("{} is malformed and was not touched: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SyntaxError,
    },
    /// The file holds something else where the hook belongs; it was not touched.
    #[error("{}: {field} is not {expected}; the file was not touched", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// A file as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub path: PathBuf,
    /// Its content.
    pub content: String,
    /// Permission bits for a new file.
    pub mode: u32,
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created(PathBuf),
    /// It was changed.
    Changed(PathBuf),
    /// It was already as it should be.
    Kept(PathBuf),
}

/// Writes the hook; twice is harmless.
pub fn write(
    flavour: Flavour,
    project: &Path,
    home: Option<&Path>,
    root: bool,
) -> Result<Vec<Change>, Error> {
    let binary = std::env::current_exe().ok();
    let binary = binary.as_deref();
    let wanted = match resolve(flavour, project, |name| std::env::var_os(name).is_some()) {
        Flavour::Claude => claude::plan(project, binary)?,
        Flavour::Devcontainer => devcontainer::plan(project, binary)?,
        Flavour::Profile | Flavour::Auto => profile::plan(home, root, binary)?,
    };
    // Everything was understood before anything is written.
    wanted.into_iter().map(apply).collect()
}

/// What `auto` stands for.
fn resolve(flavour: Flavour, project: &Path, is_set: impl Fn(&str) -> bool) -> Flavour {
    match flavour {
        Flavour::Auto if is_set("CLAUDE_CODE_REMOTE") || is_set("CLAUDECODE") => Flavour::Claude,
        Flavour::Auto if project.join(".claude").is_dir() => Flavour::Claude,
        Flavour::Auto => Flavour::Profile,
        named => named,
    }
}

/// The content of a file, `None` if it does not exist.
fn existing(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

fn apply(wanted: Wanted) -> Result<Change, Error> {
    let before = existing(&wanted.path)?;
    if before.as_deref() == Some(&wanted.content) {
        return Ok(Change::Kept(wanted.path));
    }
    let write = || -> io::Result<()> {
        // A linked file is changed where it lies, so that the link survives.
        let path = fs::canonicalize(&wanted.path).unwrap_or_else(|_| wanted.path.clone());
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mode = fs::metadata(&path).map_or(wanted.mode, |meta| meta.permissions().mode());
        let mut new = path.clone().into_os_string();
        new.push(".sandbar-new");
        fs::write(&new, &wanted.content)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        fs::rename(&new, &path)
    };
    write().map_err(|source| Error::Io { path: wanted.path.clone(), source })?;
    Ok(if before.is_some() { Change::Changed(wanted.path) } else { Change::Created(wanted.path) })
}
