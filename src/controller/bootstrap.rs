//! What the administrator does before the controller works under its own identity: the CustomResourceDefinition, the
//! identity, the built-in profiles. Each step can be repeated.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};

use super::profiles::{self, ProfileError};
use super::{MANAGER, explain};
use crate::api::SandboxConfig;
use crate::api::schema::{self, CRD_NAME, SchemaError};

const RBAC: &str = include_str!("../../manifests/controller/rbac.yaml");
/// How long the API server may take to serve a new resource.
const ESTABLISH: Duration = Duration::from_secs(30);

/// Which step failed, and why.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BootstrapError {
    #[error("{0}")]
    Schema(#[from] SchemaError),
    #[error("cannot apply {what}: {}", explain(source))]
    Apply { what: String, source: Box<kube::Error> },
    #[error("the API server does not serve {CRD_NAME} within {seconds} s: {why}")]
    NotEstablished { seconds: u64, why: String },
    #[error("the built-in manifest of the controller's identity is broken: {0}")]
    Manifest(String),
    #[error("{0}")]
    Profile(#[from] ProfileError),
}

/// Does all of it.
pub async fn run<'a>(
    admin: &Client,
    objects: impl Iterator<Item = &'a SandboxConfig>,
) -> Result<(), BootstrapError> {
    apply_crd(admin).await?;
    apply_identity(admin).await?;
    for object in objects {
        match profiles::apply(admin, object).await {
            // Refused for what it says, and it will say the same next time: the others are not to wait for it.
            Err(error) if error.is_final() => tracing::warn!("left out: {error}"),
            outcome => outcome?,
        }
    }
    Ok(())
}

async fn apply_crd(admin: &Client) -> Result<(), BootstrapError> {
    let crds: Api<CustomResourceDefinition> = Api::all(admin.clone());
    let patch = Patch::Apply(schema::crd_value()?);
    crds.patch(CRD_NAME, &PatchParams::apply(MANAGER).force(), &patch)
        .await
        .map_err(|source| BootstrapError::Apply { what: CRD_NAME.to_owned(), source: Box::new(source) })?;
    let established = await_condition(crds, CRD_NAME, conditions::is_crd_established());
    let late = |why: String| BootstrapError::NotEstablished { seconds: ESTABLISH.as_secs(), why };
    match tokio::time::timeout(ESTABLISH, established).await {
        Err(_) => Err(late("still not established".to_owned())),
        Ok(Err(error)) => Err(late(error.to_string())),
        Ok(Ok(_)) => Ok(()),
    }
}

async fn apply_identity(admin: &Client) -> Result<(), BootstrapError> {
    let objects: Vec<DynamicObject> =
        serde_saphyr::from_multiple(RBAC).map_err(|error| BootstrapError::Manifest(error.to_string()))?;
    for object in objects {
        let types = object.types.clone().unwrap_or_default();
        let what = format!("{} {}", types.kind, object.name_any());
        let gvk = GroupVersionKind::try_from(&types)
            .map_err(|error| BootstrapError::Manifest(error.to_string()))?;
        let resource = ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(admin.clone(), &namespace, &resource),
            None => Api::all_with(admin.clone(), &resource),
        };
        api.patch(&object.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object))
            .await
            .map_err(|source| BootstrapError::Apply { what, source: Box::new(source) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_can_write_status_and_events_and_nothing_else() {
        let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(RBAC).unwrap();
        let role = objects.iter().find(|o| o.types.as_ref().unwrap().kind == "ClusterRole").unwrap();
        let mut writes = Vec::new();
        for rule in role.data["rules"].as_array().unwrap() {
            for verb in rule["verbs"].as_array().unwrap() {
                if !["get", "list", "watch"].contains(&verb.as_str().unwrap()) {
                    writes.push(format!(
                        "{} {}",
                        verb.as_str().unwrap(),
                        rule["resources"][0].as_str().unwrap()
                    ));
                }
            }
        }
        assert_eq!(writes, ["patch sandboxconfigs/status", "create events"]);
    }
}
