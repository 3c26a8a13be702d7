//! What is known to work, and what is known not to, saved for the next start: rules and k3s settings that were proven.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, FileError};
use super::plan::{NodeSettings, Plan};
use super::rules_trial::Distrusted;
use crate::rules::bounds::{self, Refusal};
use crate::rules::model::{DesiredDocument, Interception, K3sSettings};
use crate::rules::observed::Traced;

const VERSION: u32 = 1;

/// The saved state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    version: u32,
    /// Rules that k3s was started with and stayed ready, and the settings that it was last proven with.
    pub document: DesiredDocument,
    /// Rules with which it ended again and again.
    #[serde(default)]
    pub taken_back: Option<Distrusted>,
    /// Settings not to be tried again until they change.
    pub rolled_back: Option<SavedRefusal>,
}

/// Settings that were taken back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SavedRefusal {
    pub generation: u64,
    pub args: Vec<String>,
    #[serde(default)]
    pub settings: K3sSettings,
    #[serde(default)]
    pub traced: Traced,
    #[serde(default)]
    pub node: Option<NodeSettings>,
    pub error: String,
}

/// What to come back with: the table in force, with the settings of the plan that was proven and the `interception` that
/// traces as it did.
pub fn of(in_force: &DesiredDocument, proven: &Plan, interception: Interception) -> DesiredDocument {
    let mut document = DesiredDocument { k3s: proven.settings.clone(), interception, ..in_force.clone() };
    if let Some(node) = &proven.node {
        document.network = node.network.clone();
        let others = in_force.remedies_off.iter().copied().filter(|remedy| !remedy.is_of_k3s());
        document.remedies_off = proven.remedies_off().into_iter().chain(others).collect();
        document.remedies_source.clone_from(&node.remedies_source);
    }
    document
}

/// Why a saved state was not used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LoadError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("written by a newer sandbar (format {found})")]
    Newer { found: u32 },
    #[error("no longer allowed: {0}")]
    Refused(#[from] Refusal),
}

impl Saved {
    /// What to save.
    pub fn new(
        document: DesiredDocument,
        rolled_back: Option<SavedRefusal>,
        taken_back: Option<Distrusted>,
    ) -> Self {
        Self { version: VERSION, document, rolled_back, taken_back }
    }

    /// Reads what an earlier supervisor saved; `None` if it saved nothing.
    pub fn load(path: &Path) -> Result<Option<Self>, LoadError> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(FileError::on("read", path))?,
        };
        let saved: Self = serde_json::from_slice(&bytes)?;
        if saved.version > VERSION {
            return Err(LoadError::Newer { found: saved.version });
        }
        bounds::check(&saved.document)?;
        Ok(Some(saved))
    }

    /// Replaces the saved state.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        files::write_atomically(path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{Access, Action, NetworkSettings, Remedy, Rule, Sourced};
    use crate::supervisor::flags::Mode;

    fn document(path: &str) -> DesiredDocument {
        let action = Action::File { path: path.into(), value: "1".into(), access: Access::ReadOnly };
        DesiredDocument { rules: vec![Rule { source: "test".into(), action }], ..Default::default() }
    }

    #[test]
    fn what_is_come_back_with_is_the_node_of_the_proven_plan() {
        let cni =
            |name: &str| NetworkSettings { cni: Some(Sourced { value: name.into(), source: "mine".into() }) };
        let document = |name: &str, off: &[Remedy]| DesiredDocument {
            network: cni(name),
            remedies_off: off.to_vec(),
            ..document("/proc/x")
        };
        let good = document("bridge", &[Remedy::PauseImage]);
        let in_force = document("none", &[Remedy::PrivateMounts, Remedy::PodNetwork]);
        let plan = |mode| Plan::new(1, &good, mode, Vec::new(), Traced::Everything);
        let back = of(&in_force, &plan(Mode::Node), Interception::Auto);
        assert_eq!(back.network, cni("bridge"));
        assert_eq!(back.remedies_off, [Remedy::PauseImage, Remedy::PrivateMounts]);
        let back = of(&in_force, &plan(Mode::ControlPlane), Interception::Auto);
        assert_eq!((back.network, back.remedies_off), (in_force.network, in_force.remedies_off));
    }

    #[test]
    fn what_is_saved_is_loaded_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("last-good.json");
        assert_eq!(Saved::load(&path).unwrap(), None);
        let saved = Saved::new(document("/proc/x"), Some(SavedRefusal::default()), None);
        saved.save(&path).unwrap();
        assert_eq!(Saved::load(&path).unwrap(), Some(saved));
        for (content, expected) in [
            (b"{\"version\":1".to_vec(), "damaged"),
            (b"{\"version\":1}".to_vec(), "damaged"),
            (serde_json::to_vec(&Saved { version: 9, ..Saved::default() }).unwrap(), "newer"),
            (
                serde_json::to_vec(&Saved::new(document("/etc/shadow"), None, None)).unwrap(),
                "no longer allowed",
            ),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = Saved::load(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
