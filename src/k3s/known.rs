//! Versions that executables have named before: asking a large one costs a start of its own, half of what `up` takes before k3s.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::version::{self, Version};
use super::{Error, Places};
use crate::supervisor::files;

/// In the cache directory.
const FILE: &str = "k3s-versions.json";
/// More executables than anybody has; beyond that it begins anew.
const MOST: usize = 32;
/// A longer file is none of ours.
const LONGEST: u64 = 64 << 10;
const ELF: &[u8; 4] = b"\x7fELF";

/// A file's identity: another content has another one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds; nobody can set it.
    changed: (i64, i64),
}

impl Identity {
    /// `None` for a script: what it runs may change while it does not.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let mut magic = [0; ELF.len()];
        if file.read_exact(&mut magic).is_err() || magic != *ELF {
            return Ok(None);
        }
        let meta = file.metadata()?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        Ok(Some(Self { device: meta.dev(), inode: meta.ino(), size: meta.size(), changed }))
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    identity: Identity,
    version: Version,
}

/// What an executable names, asked only if it did not say so before.
pub fn version(path: &Path, places: &Places) -> Result<Version, Error> {
    let Ok(Some(identity)) = Identity::of(path) else { return version::probe(path) };
    let memory = places.cache.join(FILE);
    let mut entries = read(&memory);
    if let Some(entry) = entries.get(path).filter(|entry| entry.identity == identity) {
        return Ok(entry.version.clone());
    }
    let version = version::probe(path)?;
    if entries.len() >= MOST {
        entries.clear();
    }
    entries.insert(path.to_owned(), Entry { identity, version: version.clone() });
    // It is asked again then.
    let _ = write(&memory, &entries);
    Ok(version)
}

fn read(memory: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut text = Vec::new();
    let read = File::open(memory).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn write(memory: &Path, entries: &BTreeMap<PathBuf, Entry>) -> io::Result<()> {
    memory.parent().map_or(Ok(()), fs::create_dir_all)?;
    files::write_atomically(memory, &serde_json::to_vec(entries)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_executable_is_asked_once_until_it_changes_and_a_script_always() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::for_tests(dir.path(), "");
        let path = dir.path().join("k3s");
        // A real executable that is no k3s: that is no answer to keep.
        fs::copy("/bin/true", &path).unwrap();
        version(&path, &places).unwrap_err();
        let known = Version { version: "v1.34.2+k3s1".to_owned(), commit: None };
        let entry = Entry { identity: Identity::of(&path).unwrap().unwrap(), version: known.clone() };
        write(&places.cache.join(FILE), &BTreeMap::from([(path.clone(), entry)])).unwrap();
        assert_eq!(version(&path, &places).unwrap(), known);
        File::options().append(true).open(&path).unwrap().write_all(b"\n").unwrap();
        version(&path, &places).unwrap_err();

        for said in ["v1.1.1", "v1.1.2"] {
            fs::write(&path, format!("#!/bin/sh\necho k3s version {said}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(version(&path, &places).unwrap().version, said);
        }
        fs::write(places.cache.join(FILE), "no JSON").unwrap();
        assert!(read(&places.cache.join(FILE)).is_empty());
    }
}
