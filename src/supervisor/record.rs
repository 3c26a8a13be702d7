//! What a `down` that finds no supervisor must know of the cluster that was started last: it acts on nothing else.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{self, FileError};

/// The record, kept in the state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// k3s's data directory.
    pub data: PathBuf,
    /// The kubeconfig that it writes.
    pub kubeconfig: PathBuf,
    /// Whether what it mounts for containers is in everybody's mount namespace, and was not unmounted since.
    #[serde(default)]
    pub mounts_outside: bool,
}

impl Record {
    /// The one that is there. One that cannot be read is as good as none: it would be a licence to remove things.
    pub fn load(path: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (record.data.is_absolute() && record.kubeconfig.is_absolute()).then_some(record)
    }

    /// Writes it down.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let text = serde_json::to_vec(self).map_err(|error| FileError::on("write", path)(error.into()))?;
        files::write_atomically(path, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_damaged_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.json");
        assert_eq!(Record::load(&path), None);
        let record = Record { data: "/srv/k3s".into(), kubeconfig: "/srv/kc".into(), mounts_outside: true };
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path), Some(record));
        for damaged in ["{", "{}", r#"{"data": "here", "kubeconfig": "/a"}"#] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(Record::load(&path), None, "{damaged}");
        }
    }
}
