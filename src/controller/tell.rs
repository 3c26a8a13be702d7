//! From findings to patches of status: which parts changed, and who owns them. Pure.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::MANAGER;
use super::findings::{self, Standing, View};
use super::node_status;
use super::store::Object;
use crate::api::conditions;
use crate::api::status::NodeStatus;

/// One server-side apply to `/status`.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusPatch {
    /// The object.
    pub name: String,
    /// Field manager: what it leaves out that it had before is removed.
    pub manager: String,
    /// The whole of what the manager says.
    pub body: Value,
}

/// The patches that bring the status of `object` up to date; none if it is. `entry` is this node's part, absent if the
/// object does not take part here.
pub fn patches(
    name: &str,
    object: &Object,
    standing: &Standing,
    view: &View<'_>,
    entry: Option<NodeStatus>,
    refresh: bool,
    now: Timestamp,
) -> Vec<StatusPatch> {
    let generation = object.metadata.generation;
    let found = findings::findings(name, standing, view);
    let new = conditions::merge(object.conditions(), &found, generation, now);
    let old = &object.status;
    let mut patches = Vec::new();
    if old.conditions != new || old.observed_generation != generation {
        let status = json!({"observedGeneration": generation, "conditions": new});
        patches.push(StatusPatch {
            name: name.to_owned(),
            manager: MANAGER.to_owned(),
            body: body(name, status),
        });
    }
    let known = old.nodes.iter().find(|node| node.name == view.node);
    match entry {
        Some(entry) if node_status::due(known, &entry, refresh) => {
            let status = json!({"nodes": [entry]});
            patches.push(StatusPatch {
                name: name.to_owned(),
                manager: node_manager(view.node),
                body: body(name, status),
            });
        }
        None if known.is_some() => patches.push(forget(name, view.node)),
        _ => {}
    }
    patches
}

/// Removes the entry of a node: its manager says nothing any more.
pub fn forget(name: &str, node: &str) -> StatusPatch {
    StatusPatch { name: name.to_owned(), manager: node_manager(node), body: body(name, json!({})) }
}

fn node_manager(node: &str) -> String {
    // The API takes 128 bytes; a node's name may be longer, and no two nodes of a sandbox differ only at the end.
    conditions::shorten(&format!("{MANAGER}-{node}"), 128)
}

fn body(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "sandbar.dev/v1alpha1",
        "kind": "SandboxConfig",
        "metadata": {"name": name},
        "status": status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SandboxConfig;
    use crate::api::status::SandboxConfigStatus;
    use crate::rules::model::DesiredDocument;
    use crate::rules::observed::ObservedDocument;

    fn object(status: SandboxConfigStatus) -> Object {
        let mut config = SandboxConfig::new("a", Default::default());
        config.metadata.generation = Some(3);
        Object { metadata: config.metadata.clone(), config: Ok(Box::new(config)), status }
    }

    fn entry() -> NodeStatus {
        NodeStatus { name: "n".into(), applied_generation: 1, ..Default::default() }
    }

    fn patch(object: &Object, entry: Option<NodeStatus>) -> Vec<StatusPatch> {
        let (document, observed) = (DesiredDocument::default(), ObservedDocument::default());
        let view = View::of(&document, &observed);
        patches("a", object, &Standing::Selected, &view, entry, false, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn conditions_and_the_node_entry_have_their_own_managers() {
        let patches = patch(&object(SandboxConfigStatus::default()), Some(entry()));
        let managers: Vec<_> = patches.iter().map(|patch| patch.manager.as_str()).collect();
        assert_eq!(managers, ["sandbar", "sandbar-n"]);
        assert!(
            patches[0].body["status"].get("nodes").is_none()
                && patches[1].body["status"].get("conditions").is_none()
        );
    }

    #[test]
    fn a_status_that_says_it_all_is_not_written_again() {
        let first = patch(&object(SandboxConfigStatus::default()), Some(entry()));
        let mut status: SandboxConfigStatus =
            serde_json::from_value(first[0].body["status"].clone()).unwrap();
        status.nodes = vec![entry()];
        assert_eq!(patch(&object(status), Some(entry())), []);
    }

    #[test]
    fn an_object_that_no_longer_selects_the_node_loses_its_entry() {
        let first = patch(&object(SandboxConfigStatus::default()), Some(entry()));
        let mut status: SandboxConfigStatus =
            serde_json::from_value(first[0].body["status"].clone()).unwrap();
        status.nodes = vec![entry()];
        let patches = patch(&object(status), None);
        assert_eq!(patches, [forget("a", "n")]);
        assert_eq!(patches[0].body["status"], json!({}));
    }
}
