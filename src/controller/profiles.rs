//! Applying a built-in profile, or an object given to `sandbar up -f`, without taking back what a user changed in it.
//!
//! A profile is applied when it is missing, or when this binary's text differs from the one that was applied last (an
//! annotation keeps its hash); so a restart changes nothing. It is applied without force: fields that someone else took
//! over stay theirs. Deleted, it is back at the next start: to switch a profile off, empty its `spec`.

use kube::api::{Patch, PatchParams};
use kube::core::response::StatusCause;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{MANAGER, explain};
use crate::api::{SandboxConfig, names};

/// Annotation with the hash of the text that was applied.
pub const HASH: &str = "sandbar.dev/profile-hash";
/// Field manager of the profiles' own fields.
const PROFILES: &str = "sandbar-profiles";

/// Why an object was not applied.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProfileError {
    #[error("cannot apply the SandboxConfig {name}: {}", explain(source))]
    Api { name: String, source: Box<kube::Error> },
    #[error("the SandboxConfig {name} does not survive JSON: {source}")]
    Json { name: String, source: serde_json::Error },
}

impl ProfileError {
    /// Whether the API server will not have the object, now and later, or cannot even be asked to.
    pub fn is_final(&self) -> bool {
        let Self::Api { name, source } = self else { return true };
        match &**source {
            kube::Error::Api(status) => match status.code {
                // The resource may not be served yet; but a name that makes another path of the URL never will be.
                404 => names::refused_name(name).is_some(),
                // Roles that are not known yet, somebody else's change, a server that is busy.
                401 | 403 | 408 | 409 | 429 => false,
                // What its store says of an object that is too large: that of k3s, that of etcd.
                500 => {
                    ["larger than max", "request is too large"].iter().any(|say| status.message.contains(say))
                }
                code => (400..500).contains(&code),
            },
            kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => true,
            _ => false,
        }
    }
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
    // Each round gives up at least one field.
    loop {
        match api.patch(&name, &PatchParams::apply(PROFILES), &Patch::Apply(&wanted)).await {
            Ok(_) => break,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let causes =
                    status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
                let given_up = give_up(&mut wanted, causes);
                tracing::info!(name, fields = ?given_up, "fields that a user took over are left alone");
                if given_up.is_empty() {
                    tracing::warn!(name, why = status.message, "the SandboxConfig stays as it is");
                    return Ok(());
                }
            }
            Err(error) => return Err(fail(error)),
        }
    }
    // The mark is nobody's but ours, so it is set by force, and last: an apply that broke off is done again.
    let mark = json!({
        "apiVersion": profile_types().0,
        "kind": profile_types().1,
        "metadata": {"name": name, "annotations": {HASH: hash}},
    });
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&mark)).await.map_err(fail)?;
    tracing::info!(name, "SandboxConfig applied");
    Ok(())
}

fn profile_types() -> (String, String) {
    (SandboxConfig::api_version(&()).into_owned(), SandboxConfig::kind(&()).into_owned())
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
    match value {
        Value::Object(map) => {
            // Keys may hold dots themselves: the key decides where a step ends.
            let step = map.keys().find_map(|key| {
                let rest = field.strip_prefix('.')?.strip_prefix(key.as_str())?;
                (rest.is_empty() || rest.starts_with(['.', '['])).then(|| (key.clone(), rest.to_owned()))
            });
            match step {
                Some((key, rest)) if rest.is_empty() => map.remove(&key).is_some(),
                Some((key, rest)) => map.get_mut(&key).is_some_and(|inner| remove(inner, &rest)),
                None => false,
            }
        }
        Value::Array(items) => {
            let Some((name, key, rest)) = item(field) else { return false };
            let Some(at) = items.iter().position(|item| item[name] == key) else { return false };
            if rest.is_empty() {
                items.remove(at);
                return true;
            }
            remove(&mut items[at], rest)
        }
        _ => false,
    }
}

/// `[name=key]rest`, where the key is JSON.
fn item(field: &str) -> Option<(&str, Value, &str)> {
    let (name, rest) = field.strip_prefix('[')?.split_once('=')?;
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    let key = values.next()?.ok()?;
    let rest = rest[values.byte_offset()..].strip_prefix(']')?;
    Some((name, key, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use serde_json::json;

    #[test]
    fn an_object_that_will_never_be_taken_holds_up_no_other() {
        let is_final = |name: &str, source| ProfileError::Api { name: name.into(), source }.is_final();
        let answer = |code: u16| Box::new(kube::Error::Api(Box::new(Status { code, ..Default::default() })));
        for code in [400, 413, 422] {
            assert!(is_final("mine", answer(code)), "{code}");
        }
        for code in [401, 403, 404, 409, 429, 500, 503] {
            assert!(!is_final("mine", answer(code)), "{code}");
        }
        assert!(is_final("a/b", answer(404)));
        let message = "rpc error: trying to send message larger than max (2624129 vs. 2097152)".to_owned();
        let too_large = Status { code: 500, message, ..Default::default() };
        assert!(is_final("mine", Box::new(kube::Error::Api(Box::new(too_large)))));
        let error = http_error("fake file");
        assert!(is_final("fake file", Box::new(error)));
    }

    /// What kube says of a name of which it can make no URL.
    fn http_error(name: &str) -> kube::Error {
        let request = kube::core::Request::new("/apis").get(name, &Default::default());
        kube::Error::BuildRequest(request.unwrap_err())
    }

    fn cause(field: &str) -> StatusCause {
        StatusCause { reason: "FieldManagerConflict".into(), message: String::new(), field: field.into() }
    }

    #[test]
    fn only_what_someone_else_owns_is_given_up() {
        let mut wanted = json!({"spec": {
            "priority": -100,
            "files": [{"path": "/proc/a.b", "value": "1"}, {"path": "/proc/c", "value": "2"}],
            "k3s": {"snapshotter": "native"},
        }, "metadata": {"labels": {"a.b/c": "d"}}});
        let causes = [
            cause(".spec.files[path=\"/proc/a.b\"].value"),
            cause(".spec.k3s.snapshotter"),
            cause(".spec.nothing.such"),
            cause(".metadata.labels.a.b/c"),
        ];
        assert_eq!(give_up(&mut wanted, &causes).len(), 3);
        assert_eq!(
            wanted,
            json!({"spec": {
                "priority": -100,
                "files": [{"path": "/proc/a.b"}, {"path": "/proc/c", "value": "2"}],
                "k3s": {},
            }, "metadata": {"labels": {}}})
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
