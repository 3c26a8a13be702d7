//! What is merged over the configuration that k3s makes for containerd: files in the directory that k3s has it import.

use std::fs;
use std::path::Path;

use super::State;
use crate::rules::model::Sourced;
use crate::supervisor::files;

/// Below k3s's data directory; imported by the configuration that k3s makes, for containerd 2.
const DROP_INS: &str = "agent/etc/containerd/config-v3.toml.d";
const OURS: &str = "90-sandbar.toml";

/// Writes `spec.k3s.containerdConfig`, or takes an earlier one away.
pub fn supply(data: &Path, config: Option<&Sourced<String>>) -> Result<State, String> {
    drop_in(data, OURS, config.map(|config| config.value.as_str()))?;
    Ok(match config {
        Some(config) => State::Applied(format!("{DROP_INS}/{OURS} from {}", config.source)),
        None => State::NotNeeded("no SandboxConfig says anything about containerd".to_owned()),
    })
}

/// Takes an earlier one away.
pub fn withdraw(data: &Path) -> Result<(), String> {
    drop_in(data, OURS, None)
}

/// Writes one file of the directory, or takes it away.
pub fn drop_in(data: &Path, name: &str, text: Option<&str>) -> Result<(), String> {
    let directory = data.join(DROP_INS);
    let path = directory.join(name);
    let Some(text) = text else { return files::remove_if_there(&path).map_err(|error| error.to_string()) };
    fs::create_dir_all(&directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    // Without its version a file is taken for one of containerd 1.
    let text = format!("# Written by sandbar; changes here are lost.\nversion = 3\n{text}");
    files::write_atomically(&path, text.as_bytes()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_and_goes_and_others_stay() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join(DROP_INS);
        let config = Sourced { value: "[debug]\n".into(), source: "profile".into() };
        assert!(matches!(supply(data.path(), Some(&config)), Ok(State::Applied(_))));
        assert!(fs::read_to_string(directory.join(OURS)).unwrap().ends_with("version = 3\n[debug]\n"));
        fs::write(directory.join("mine.toml"), "").unwrap();
        assert!(matches!(supply(data.path(), None), Ok(State::NotNeeded(_))));
        let left: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine.toml"]);
    }
}
