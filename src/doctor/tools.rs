//! The programs that a cluster and its users call: where they are, and what version they say they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;

use crate::bounded;
use crate::k3s::Places;

const LIMIT: Duration = Duration::from_millis(2500);

/// Directories in which CNI plugins lie, by custom.
pub const CNI_DIRS: [&str; 4] =
    ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni", "/var/lib/rancher/k3s/data/current/bin"];

/// Who needs a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// People who work with the cluster.
    Workflow,
    /// A node; k3s brings its own.
    Node,
    /// Good to have.
    Extra,
}

struct Tool {
    name: &'static str,
    arguments: &'static [&'static str],
    wanted: Use,
}

const fn tool(name: &'static str, wanted: Use, arguments: &'static [&'static str]) -> Tool {
    Tool { name, arguments, wanted }
}

const TOOLS: &[Tool] = &[
    tool("kubectl", Use::Workflow, &["version", "--client"]),
    tool("helm", Use::Workflow, &["version", "--short"]),
    tool("k3s", Use::Node, &["--version"]),
    tool("containerd", Use::Node, &["--version"]),
    tool("runc", Use::Node, &["--version"]),
    tool("iptables", Use::Node, &["--version"]),
    tool("mount", Use::Node, &["--version"]),
    tool("ip", Use::Node, &["-V"]),
    tool("host-local", Use::Node, &[]),
    tool("git", Use::Extra, &["--version"]),
    tool("go", Use::Extra, &["version"]),
];

/// A tool as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Name of the program.
    pub name: &'static str,
    /// Who needs it.
    pub wanted: Use,
    /// Where it is, if anywhere.
    pub path: Option<PathBuf>,
    /// The first line that it says about its version.
    pub version: Option<String>,
    /// Why it does not run.
    pub error: Option<String>,
}

/// Looks for every tool and asks each for its version, all at once.
pub fn find_all() -> Vec<Found> {
    let places = Places::from_env();
    let (sender, receiver) = mpsc::channel();
    let mut found: Vec<Found> = TOOLS
        .iter()
        .map(|tool| Found {
            name: tool.name,
            wanted: tool.wanted,
            path: locate(&places, tool.name),
            version: None,
            error: None,
        })
        .collect();
    for (index, tool) in TOOLS.iter().enumerate() {
        if let Some(path) = found[index].path.clone().filter(|_| !tool.arguments.is_empty()) {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send((index, version(&path, tool.arguments))));
        }
    }
    drop(sender);
    for (index, answer) in receiver {
        match answer {
            Ok(version) => found[index].version = Some(version),
            Err(error) => found[index].error = Some(error),
        }
    }
    found
}

fn locate(places: &Places, name: &str) -> Option<PathBuf> {
    let usual = || CNI_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file());
    places.on_path(name).or_else(usual)
}

fn version(path: &Path, arguments: &[&str]) -> Result<String, String> {
    match bounded::run(Command::new(path).args(arguments), LIMIT) {
        Ok(ran) if ran.status.success() => Ok(ran.first_line().to_owned()),
        Ok(ran) if ran.last_line().is_empty() => Err(ran.status.to_string()),
        Ok(ran) => Err(ran.last_line().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
