//! Reading a kubeconfig as far as talking to its API server needs, and merging one into another.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// What a client of the API server needs.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Access {
    /// PEM, as the others.
    pub authority: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Access {
    /// Without the key.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Why a kubeconfig is of no use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum KubeconfigError {
    #[error("cannot read kubeconfig: {0}")]
    Read(#[from] std::io::Error),
    #[error("kubeconfig is not YAML: {0}")]
    Yaml(String),
    #[error("kubeconfig has no {0}")]
    Lacks(&'static str),
    #[error("{path} is not YAML: {message}", path = .path.display())]
    FileYaml { path: PathBuf, message: String },
    #[error("{path} is no kubeconfig ({what}), and left as it is", path = .path.display())]
    Shape { path: PathBuf, what: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Reads k3s's kubeconfig: one cluster, one user, everything inline.
pub fn read(path: &Path) -> Result<Access, KubeconfigError> {
    parse(&std::fs::read_to_string(path)?)
}

fn parse(text: &str) -> Result<Access, KubeconfigError> {
    let file: File =
        serde_saphyr::from_str(text).map_err(|error| KubeconfigError::Yaml(error.to_string()))?;
    let cluster = file.clusters.into_iter().next().ok_or(KubeconfigError::Lacks("cluster"))?.cluster;
    let user = file.users.into_iter().next().ok_or(KubeconfigError::Lacks("user"))?.user;
    let decode = |data: Option<String>, what| {
        data.and_then(|data| STANDARD.decode(data).ok()).ok_or(KubeconfigError::Lacks(what))
    };
    Ok(Access {
        authority: decode(cluster.certificate_authority_data, "certificate-authority-data")?,
        certificate: decode(user.client_certificate_data, "client-certificate-data")?,
        key: decode(user.client_key_data, "client-key-data")?,
    })
}

/// Whether this is k3s's own file, with nothing else merged into it: it calls everything `default`.
pub fn is_k3ss(text: &str) -> bool {
    let Ok(file) = serde_saphyr::from_str::<Value>(text) else { return false };
    ["clusters", "users", "contexts"].iter().all(|list| match file[list].as_array().map(Vec::as_slice) {
        Some([only]) => only["name"] == "default",
        _ => false,
    })
}

/// Name under which the cluster is merged; k3s calls everything `default`.
pub const CONTEXT: &str = "sandbar";

/// The text of a file, and which one it is.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Text<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Text<'_> {
    fn yaml(self) -> Result<Value, KubeconfigError> {
        let fail = |error: serde_saphyr::Error| KubeconfigError::FileYaml {
            path: self.path.to_owned(),
            message: error.to_string(),
        };
        if self.text.trim().is_empty() {
            Ok(Value::Null)
        } else {
            serde_saphyr::from_str(self.text).map_err(fail)
        }
    }
}

/// Puts k3s's cluster, user and context into `existing` as [`CONTEXT`], replacing an earlier one. The current context
/// changes only when asked for, or when there was none. What is no kubeconfig is refused: it would be lost.
pub fn merge(existing: Text<'_>, k3s: Text<'_>, switch: bool) -> Result<String, KubeconfigError> {
    let mut target = existing.yaml()?;
    if target.is_null() {
        target = serde_json::json!({"apiVersion": "v1", "kind": "Config", "preferences": {}});
    }
    if let Some(what) = misshapen(&target) {
        return Err(KubeconfigError::Shape { path: existing.path.to_owned(), what });
    }
    let source = k3s.yaml()?;
    let first = |list: &'static str, field: &'static str| {
        source.pointer(&format!("/{list}/0/{field}")).cloned().ok_or(KubeconfigError::Lacks(field))
    };
    put(&mut target, "clusters", "cluster", first("clusters", "cluster")?);
    put(&mut target, "users", "user", first("users", "user")?);
    let context = serde_json::json!({"cluster": CONTEXT, "user": CONTEXT});
    put(&mut target, "contexts", "context", context);
    let none = target.get("current-context").and_then(Value::as_str).is_none_or(str::is_empty);
    if switch || none {
        target["current-context"] = CONTEXT.into();
    }
    serde_saphyr::to_string(&target).map_err(|error| KubeconfigError::Yaml(error.to_string()))
}

/// What of a kubeconfig could only be replaced, not added to.
fn misshapen(file: &Value) -> Option<String> {
    if !file.is_object() {
        return Some("not a mapping".to_owned());
    }
    let odd = |list: &&str| file.get(*list).is_some_and(|found| !found.is_array() && !found.is_null());
    let mut lists = ["clusters", "users", "contexts"].into_iter();
    lists.find(odd).map(|list| format!("`{list}` is not a list"))
}

fn put(target: &mut Value, list: &str, field: &str, value: Value) {
    let mut entry = serde_json::json!({"name": CONTEXT});
    entry[field] = value;
    match target.get_mut(list).and_then(Value::as_array_mut) {
        Some(entries) => {
            entries.retain(|known| known["name"] != CONTEXT);
            entries.push(entry);
        }
        None => target[list] = Value::Array(vec![entry]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(existing: &str, k3s: &str, switch: bool) -> Result<String, KubeconfigError> {
        let text = |path: &'static str, text| Text { path: Path::new(path), text };
        super::merge(text("/mine", existing), text("/k3s", k3s), switch)
    }

    #[test]
    fn what_could_only_be_replaced_is_refused_with_the_name_of_the_file() {
        for (existing, said) in [
            ("- a list\n", "/mine is no kubeconfig (not a mapping), and left as it is"),
            ("some text", "not a mapping"),
            ("clusters: {mine: 1}\n", "(`clusters` is not a list)"),
            ("a: [\n", "/mine is not YAML: "),
        ] {
            let error = merge(existing, K3S, false).unwrap_err().to_string();
            assert!(error.contains(said), "{existing}: {error}");
        }
        assert!(merge("", "a: [", false).unwrap_err().to_string().starts_with("/k3s is not YAML"));
        assert!(merge("# nothing yet\nclusters: null\n", K3S, false).is_ok());
        assert!(merge("# a comment\n", K3S, false).is_ok());
    }

    const K3S: &str = "apiVersion: v1
kind: Config
clusters:
- {name: default, cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: Y2E=}}
users:
- {name: default, user: {client-certificate-data: Y2VydA==, client-key-data: a2V5}}
contexts:
- {name: default, context: {cluster: default, user: default}}
current-context: default
";

    #[test]
    fn what_k3s_writes_is_understood_and_the_key_is_not_printed() {
        let access = parse(K3S).unwrap();
        assert_eq!((access.authority.as_slice(), access.key.as_slice()), (&b"ca"[..], &b"key"[..]));
        assert!(!format!("{access:?}").contains("107"), "{access:?}");
        assert!(is_k3ss(K3S) && !is_k3ss("") && !is_k3ss(&merge(K3S, K3S, false).unwrap()));
    }

    #[test]
    fn merging_twice_keeps_what_was_there_and_switches_only_when_asked() {
        let mine = "apiVersion: v1\nkind: Config\nclusters: [{name: work, cluster: {server: 'https://w'}}]\n\
                    users: []\ncontexts: []\ncurrent-context: work\nextensions: [{name: x}]\n";
        let once = merge(mine, K3S, false).unwrap();
        let twice = merge(&once, K3S, false).unwrap();
        assert_eq!(once, twice);
        let merged: Value = serde_saphyr::from_str(&twice).unwrap();
        assert_eq!(merged["current-context"], "work");
        assert_eq!(merged["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(merged["extensions"][0]["name"], "x");
        let switched: Value = serde_saphyr::from_str(&merge(mine, K3S, true).unwrap()).unwrap();
        assert_eq!(switched["current-context"], CONTEXT);
        let fresh: Value = serde_saphyr::from_str(&merge("", K3S, false).unwrap()).unwrap();
        assert_eq!((&fresh["current-context"], &fresh["kind"]), (&CONTEXT.into(), &"Config".into()));
    }
}
