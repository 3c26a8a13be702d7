//! `sandbar up` and `sandbar down`, for the parts that need a whole cluster.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::variant::{self, Variant};

const PORT: u16 = 26443;

/// A cluster of `sandbar up`; taken down, with its data, when it is dropped.
pub struct Up {
    k3s: PathBuf,
    /// Below which everything lies; none: in the usual places.
    dir: Option<PathBuf>,
}

impl Up {
    /// None yet: every place below `dir`.
    pub fn below(k3s: &Path, dir: &Path) -> Self {
        Self { k3s: k3s.to_owned(), dir: Some(dir.to_owned()) }
    }

    /// None yet: the usual places.
    pub fn usual(k3s: &Path) -> Self {
        Self { k3s: k3s.to_owned(), dir: None }
    }

    /// Begins to start it, with further `options` of `up` and `flags` of k3s.
    pub fn begin(&self, options: &[&str], flags: &[&str]) -> io::Result<Child> {
        let mut command = self.sandbar(&["up"]);
        command.args(options).arg("--").args(flags);
        if let Some(dir) = &self.dir {
            command.arg(format!("--data-dir={}", dir.join("data").display()));
            command.arg(format!("--write-kubeconfig={}", self.kubeconfig().display()));
            command.arg(format!("--https-listen-port={PORT}"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    }

    /// Where k3s writes it.
    pub fn kubeconfig(&self) -> PathBuf {
        match &self.dir {
            Some(dir) => dir.join("k3s.yaml"),
            None => PathBuf::from(sandbar::supervisor::paths::K3S_KUBECONFIG),
        }
    }

    /// Fails unless k3s is served by the means that `variant` stands for.
    pub fn check_means(&self, variant: Variant) -> io::Result<()> {
        let output = self.sandbar(&["status", "-o", "json"]).output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let traced = &status["interceptor"]["traced"];
        let expected = match variant {
            Variant::Sandbar => "Commands",
            Variant::Mount => "Nothing",
            _ => "Everything",
        };
        if traced == expected {
            return Ok(());
        }
        Err(io::Error::other(format!("{} was to run, and what is traced is {traced}", variant.name())))
    }

    /// A command of sandbar's for this cluster.
    pub fn sandbar(&self, args: &[&str]) -> Command {
        let mut command = Command::new(variant::sandbar());
        command.args(args).env("SANDBAR_K3S", &self.k3s).stdin(Stdio::null());
        if let Some(dir) = &self.dir {
            command.env("SANDBAR_STATE_DIR", dir.join("state")).env("SANDBAR_RUN_DIR", dir.join("run"));
        }
        command
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let mut down = self.sandbar(&["down", "--purge"]);
        // Figures are printed on our own stdout.
        let ended = down.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().and_then(succeed);
        if let Err(error) = ended {
            eprintln!("sandbar down: {error}");
        }
    }
}

/// Waits for `child`; an error is what it said.
pub fn succeed(child: Child) -> io::Result<()> {
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))))
}
