//! SHA-256 of files, and the lists in which projects publish them.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Error;

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher).map_err(unreadable)?;
    Ok(hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// Finds `name` in a list as sha256sum writes it (`HASH  NAME`, `HASH *NAME`), or the only hash of a file that holds
/// nothing else, as Kubernetes publishes it.
pub fn find_sha256(list: &str, name: &str) -> Option<String> {
    let mut bare = None;
    for line in list.lines() {
        let mut words = line.split_whitespace();
        let Some(hash) = words.next().filter(|word| is_sha256(word)) else { continue };
        match words.next() {
            None => bare = bare.or(Some(hash)),
            // Some lists name files with the directory they were built in.
            Some(file) if file.trim_start_matches('*').rsplit('/').next() == Some(name) => {
                return Some(hash.to_ascii_lowercase());
            }
            Some(_) => {}
        }
    }
    bare.filter(|_| list.split_whitespace().count() == 1).map(str::to_ascii_lowercase)
}

fn is_sha256(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_searched_by_exact_name() {
        let (one, two) = ("a".repeat(64), "B".repeat(64));
        let list = format!("{one}  k3s-airgap-images-amd64.tar\n{two} *k3s\nnonsense\n");
        assert_eq!(find_sha256(&list, "k3s"), Some("b".repeat(64)));
        assert_eq!(find_sha256(&list, "k3s-airgap"), None);
        assert_eq!(find_sha256(&format!("{one}  ./bin/helm"), "helm"), Some(one.clone()));
    }

    #[test]
    fn a_bare_hash_stands_for_its_file_only_when_alone() {
        let hash = "c".repeat(64);
        assert_eq!(find_sha256(&format!("{hash}\n"), "kubectl"), Some(hash.clone()));
        assert_eq!(find_sha256(&format!("{hash}\n{hash}\n"), "kubectl"), None);
        assert_eq!(find_sha256("<html>not found</html>", "kubectl"), None);
    }
}
