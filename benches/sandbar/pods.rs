//! What interception costs a pod: start latency and a build-like workload, on a node that is run in each of the ways.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::node::Figures;
use crate::variant::Variant;

/// How nodes are run here.
pub struct Pods {
    /// The ways that work here; the first is what the others are compared with.
    pub variants: Vec<Variant>,
    /// An archive with `localhost/busybox:1`.
    pub images: PathBuf,
    /// A program that gives a command a machine of its own (`PROGRAM RESULTS COMMAND…`); none: this is one.
    pub machine: Option<PathBuf>,
}

impl Pods {
    /// Runs one node and returns its figures.
    pub fn measure(&self, variant: Variant, k3s: &Path) -> io::Result<Figures> {
        let own = std::env::current_exe()?;
        // The machine wants a directory that is kept; nothing is written to it.
        let results = tempfile::tempdir()?;
        let mut command = match &self.machine {
            Some(machine) => {
                let mut command = Command::new(machine);
                command.arg(results.path()).arg(&own);
                command
            }
            None => Command::new(&own),
        };
        command.args(["--node", variant.name(), "--images"]).arg(&self.images).env("SANDBAR_K3S", k3s);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("the node ended: {}", output.status)));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
