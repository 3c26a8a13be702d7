//! The SandboxConfigs as last seen, by name. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;

use super::build;
use super::findings::Standing;
use crate::api::convert;
use crate::api::status::SandboxConfigStatus;
use crate::api::{SandboxConfig, SandboxConfigSpec};

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it asks for, or why it is refused: this program cannot read it, or it is outside the allow-list.
    pub config: Result<Box<SandboxConfig>, String>,
    /// Its status, as last seen or written.
    pub status: SandboxConfigStatus,
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that the rule table is made of.
    None,
    /// The table has to be made anew.
    Rules,
}

/// All objects; complete from the first listing on.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<String, Object>,
    listing: Option<BTreeMap<String, Object>>,
    complete: bool,
}

impl Store {
    /// Takes in what the watch says.
    pub fn apply(&mut self, event: Event<DeserializeGuard<SandboxConfig>>) -> Change {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                Change::None
            }
            Event::InitApply(config) => {
                let object = Object::new(config);
                self.listing
                    .get_or_insert_default()
                    .insert(object.metadata.name.clone().unwrap_or_default(), object);
                Change::None
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                let same = self.complete
                    && listed.len() == self.objects.len()
                    && listed
                        .iter()
                        .zip(&self.objects)
                        .all(|(new, old)| new.0 == old.0 && new.1.asks_the_same(old.1));
                self.objects = listed;
                self.complete = true;
                if same { Change::None } else { Change::Rules }
            }
            Event::Apply(config) => {
                let object = Object::new(config);
                let name = object.metadata.name.clone().unwrap_or_default();
                let same = self.objects.get(&name).is_some_and(|old| old.asks_the_same(&object));
                self.objects.insert(name, object);
                if same { Change::None } else { Change::Rules }
            }
            Event::Delete(config) => {
                self.objects.remove(&config.name_any());
                Change::Rules
            }
        }
    }

    /// Whether the objects are known at all.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// Those that are not refused, in order of name.
    pub fn configs(&self) -> impl Iterator<Item = &SandboxConfig> {
        self.objects.values().filter_map(|object| object.config.as_deref().ok())
    }

    /// All, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Object)> {
        self.objects.iter().map(|(name, object)| (name.as_str(), object))
    }

    /// One object.
    pub fn get(&self, name: &str) -> Option<&Object> {
        self.objects.get(name)
    }

    /// Remembers the status that the API server answered to a write, so that it is not written again before the watch
    /// tells of it.
    pub fn wrote(&mut self, name: &str, status: SandboxConfigStatus) {
        if let Some(object) = self.objects.get_mut(name) {
            object.status = status;
        }
    }
}

impl Object {
    fn new(DeserializeGuard(config): DeserializeGuard<SandboxConfig>) -> Self {
        match config {
            Ok(mut config) => Self {
                metadata: config.metadata.clone(),
                status: config.status.take().unwrap_or_default(),
                config: match convert::rules(&config) {
                    Ok(_) => Ok(Box::new(config)),
                    Err(invalid) => Err(invalid.to_string()),
                },
            },
            Err(invalid) => Self {
                metadata: invalid.metadata,
                config: Err(format!("this sandbar cannot read it: {}", invalid.error)),
                status: SandboxConfigStatus::default(),
            },
        }
    }

    fn asks_the_same(&self, other: &Self) -> bool {
        let spec = |object: &Self| -> Result<SandboxConfigSpec, String> {
            object.config.as_ref().map(|config| config.spec.clone()).map_err(Clone::clone)
        };
        self.metadata.uid == other.metadata.uid
            && self.metadata.generation == other.metadata.generation
            && spec(self) == spec(other)
    }

    /// How it stands to a node with these labels.
    pub fn standing(&self, labels: &BTreeMap<String, String>) -> Standing {
        match &self.config {
            Err(error) => Standing::Invalid(error.clone()),
            Ok(config) if build::selects(config, labels) => Standing::Selected,
            Ok(_) => Standing::NotSelected,
        }
    }

    /// The conditions as last seen.
    pub fn conditions(&self) -> &[Condition] {
        &self.status.conditions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn guard(name: &str, generation: i64, spec: Value) -> DeserializeGuard<SandboxConfig> {
        serde_json::from_value(json!({
            "apiVersion": "sandbar.dev/v1alpha1",
            "kind": "SandboxConfig",
            "metadata": {"name": name, "generation": generation, "uid": "u"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn listed(objects: &[DeserializeGuard<SandboxConfig>]) -> Store {
        let mut store = Store::default();
        list(&mut store, objects);
        store
    }

    fn list(store: &mut Store, objects: &[DeserializeGuard<SandboxConfig>]) -> Change {
        store.apply(Event::Init);
        for object in objects {
            store.apply(Event::InitApply(object.clone()));
        }
        store.apply(Event::InitDone)
    }

    #[test]
    fn nothing_is_known_before_the_first_listing_is_done() {
        let mut store = Store::default();
        store.apply(Event::Init);
        store.apply(Event::InitApply(guard("a", 1, json!({}))));
        assert!(!store.complete() && store.configs().next().is_none());
        assert_eq!(store.apply(Event::InitDone), Change::Rules);
        assert!(store.complete() && store.configs().count() == 1);
    }

    #[test]
    fn a_status_write_does_not_make_a_new_table() {
        let mut store = listed(&[guard("a", 1, json!({}))]);
        assert_eq!(store.apply(Event::Apply(guard("a", 1, json!({})))), Change::None);
        assert_eq!(store.apply(Event::Apply(guard("a", 2, json!({"priority": 3})))), Change::Rules);
        assert_eq!(store.apply(Event::Delete(guard("a", 2, json!({})))), Change::Rules);
    }

    #[test]
    fn what_was_deleted_during_an_outage_is_gone_after_the_next_listing() {
        let mut store = listed(&[guard("a", 1, json!({})), guard("b", 1, json!({}))]);
        assert_eq!(list(&mut store, &[guard("a", 1, json!({})), guard("b", 1, json!({}))]), Change::None);
        assert_eq!(list(&mut store, &[guard("b", 1, json!({}))]), Change::Rules);
        assert_eq!(store.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn an_object_that_cannot_be_read_is_kept_with_the_reason() {
        let store = listed(&[guard("a", 1, json!({"fromTheFuture": 1})), guard("b", 1, json!({}))]);
        assert_eq!(store.configs().count(), 1);
        let standing = store.get("a").unwrap().standing(&BTreeMap::new());
        assert!(matches!(&standing, Standing::Invalid(why) if why.contains("fromTheFuture")), "{standing:?}");
    }
}
