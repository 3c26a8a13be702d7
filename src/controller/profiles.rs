//! Applying a built-in profile without taking back what a user changed in it.
//!
//! A profile is applied when it is missing, or when this binary's text differs from the one that was applied last (an
//! annotation keeps its hash); so a restart changes nothing. It is applied without force: fields that someone else took
//! over stay theirs. Deleted, it is back at the next start: to switch a profile off, empty its `spec`.

use kube::api::{Patch, PatchParams};
use kube::core::response::StatusCause;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::MANAGER;
use crate::api::SandboxConfig;

/// Annotation with the hash of the text that was applied.
pub const HASH: &str = "sandbar.dev/profile-hash";

/// Why a profile was not applied.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProfileError {
    #[error("cannot apply the built-in profile {name}: {source}")]
    Api { name: String, source: Box<kube::Error> },
    #[error("the built-in profile {name} does not survive JSON: {source}")]
    Json { name: String, source: serde_json::Error },
    #[error("cannot apply the built-in profile {name}: conflicts do not end")]
    Conflicts { name: String },
}

/// Applies `profile` as described above.
pub async fn apply(admin: &Client, profile: &SandboxConfig) -> Result<(), ProfileError> {
    let name = profile.name_any();
    let fail = |source| ProfileError::Api { name: name.clone(), source: Box::new(source) };
    let api: Api<SandboxConfig> = Api::all(admin.clone());
    let mut wanted =
        serde_json::to_value(profile).map_err(|source| ProfileError::Json { name: name.clone(), source })?;
    let hash = hash(&wanted);
    let live = api.get_opt(&name).await.map_err(fail)?;
    if live.is_some_and(|live| live.annotations().get(HASH) == Some(&hash)) {
        return Ok(());
    }
    wanted["metadata"]["annotations"][HASH] = hash.into();
    // Each round gives up at least one field, and there are not many.
    for _ in 0..32 {
        match api.patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(&wanted)).await {
            Ok(_) => {
                tracing::info!(profile = name, "built-in profile applied");
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let causes =
                    status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
                let given_up = give_up(&mut wanted, causes);
                tracing::info!(profile = name, fields = ?given_up, "fields that a user took over are left alone");
                if given_up.is_empty() {
                    return Err(fail(kube::Error::Api(status)));
                }
            }
            Err(error) => return Err(fail(error)),
        }
    }
    Err(ProfileError::Conflicts { name })
}

fn hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Removes the fields that someone else owns from what we apply; returns those that were found.
fn give_up(wanted: &mut Value, causes: &[StatusCause]) -> Vec<String> {
    causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict" && remove(wanted, &cause.field))
        .map(|cause| cause.field.clone())
        .collect()
}

/// Removes one field, named as the API server names it: `.spec.files[path="/proc/x"].value`.
fn remove(value: &mut Value, field: &str) -> bool {
    let Some((steps, last)) = steps(field).and_then(|mut steps| steps.pop().map(|last| (steps, last))) else {
        return false;
    };
    let mut at = value;
    for step in steps {
        match step.within(at) {
            Some(next) => at = next,
            None => return false,
        }
    }
    match (last, at) {
        (Step::Field(name), Value::Object(map)) => map.remove(&name).is_some(),
        (Step::Key(name, key), Value::Array(items)) => {
            let before = items.len();
            items.retain(|item| item[&name] != key);
            items.len() < before
        }
        _ => false,
    }
}

#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    Key(String, Value),
}

impl Step {
    fn within<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        match self {
            Self::Field(name) => value.get_mut(name),
            Self::Key(name, key) => value.as_array_mut()?.iter_mut().find(|item| item[name] == *key),
        }
    }
}

fn steps(mut field: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !field.is_empty() {
        if let Some(rest) = field.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Field(rest[..end].to_owned()));
            field = &rest[end..];
        } else {
            let (name, rest) = field.strip_prefix('[')?.split_once('=')?;
            // The key is JSON; what follows it is `]`.
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let key = values.next()?.ok()?;
            field = rest[values.byte_offset()..].strip_prefix(']')?;
            steps.push(Step::Key(name.to_owned(), key));
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cause(field: &str) -> StatusCause {
        StatusCause { reason: "FieldManagerConflict".into(), message: String::new(), field: field.into() }
    }

    #[test]
    fn only_what_someone_else_owns_is_given_up() {
        let mut wanted = json!({"spec": {
            "priority": -100,
            "files": [{"path": "/proc/a.b", "value": "1"}, {"path": "/proc/c", "value": "2"}],
            "k3s": {"snapshotter": "native"},
        }});
        let causes = [
            cause(".spec.files[path=\"/proc/a.b\"].value"),
            cause(".spec.k3s.snapshotter"),
            cause(".spec.nothing.such"),
        ];
        assert_eq!(give_up(&mut wanted, &causes).len(), 2);
        assert_eq!(
            wanted,
            json!({"spec": {
                "priority": -100,
                "files": [{"path": "/proc/a.b"}, {"path": "/proc/c", "value": "2"}],
                "k3s": {},
            }})
        );
    }

    #[test]
    fn a_whole_item_of_a_list_can_be_given_up() {
        let mut wanted = json!({"redirects": [{"from": "/a"}, {"from": "/b"}]});
        assert!(remove(&mut wanted, ".redirects[from=\"/a\"]"));
        assert_eq!(wanted, json!({"redirects": [{"from": "/b"}]}));
        assert!(!remove(&mut wanted, ".redirects[from=\"/a\"]"));
        assert!(!remove(&mut wanted, "redirects") && !remove(&mut wanted, ""));
    }
}
