//! What `k3s --version` says.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::bounded;

/// A slow disk under gVisor needs seconds to page in a 70 MB binary; a hang must still end.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// `k3s version v1.34.2+k3s1 (abcdef12)`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Version {
    /// `v1.34.2+k3s1`.
    pub version: String,
    /// The commit, if it was printed.
    pub commit: Option<String>,
}

/// Parses the output of `k3s --version`.
pub fn parse(output: &str) -> Option<Version> {
    let line = output.lines().find_map(|line| line.trim().strip_prefix("k3s version "))?;
    let mut words = line.split_whitespace();
    let version = words.next().filter(|word| word.starts_with('v'))?.to_owned();
    let commit = words.next().map(|word| word.trim_matches(['(', ')']).to_owned());
    Some(Version { version, commit })
}

/// Runs `PATH --version`, within a time limit.
pub fn probe(path: &Path) -> Result<Version, Error> {
    let failed = |reason: String| Error::DoesNotRun { path: path.to_owned(), reason };
    let output = run(path).map_err(|error| failed(error.to_string()))?;
    parse(&output).ok_or_else(|| {
        let first = output.lines().next().unwrap_or_default();
        failed(format!("this is no k3s, it says {first:?}"))
    })
}

fn run(path: &Path) -> io::Result<String> {
    let ran = bounded::run(Command::new(path).arg("--version"), PROBE_LIMIT)?;
    if ran.status.success() {
        Ok(ran.stdout)
    } else {
        Err(io::Error::other(format!("it ended with {}", ran.status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_k3s_is_parsed() {
        let output = "k3s version v1.34.2+k3s1 (3b7f2a1c)\ngo version go1.24.9\n";
        let version = Version { version: "v1.34.2+k3s1".to_owned(), commit: Some("3b7f2a1c".to_owned()) };
        assert_eq!(parse(output), Some(version));
        assert_eq!(parse("k3s version v1.34.2+k3s1").unwrap().commit, None);
        assert_eq!(parse("Client Version: v1.34.2"), None);
        assert_eq!(parse(""), None);
    }
}
