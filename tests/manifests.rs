//! Everything under manifests/ and charts/ that is a SandboxConfig, or speaks of its fields, agrees with the type.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use serde_json::Value;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn yaml_files(dir: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(root(dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    assert!(!files.is_empty(), "{dir} is empty");
    files
}

#[test]
fn samples_profiles_and_fixtures_pass_every_check() {
    for dir in ["manifests/samples", "manifests/profiles", "manifests/gitops/argocd/testdata"] {
        for path in yaml_files(dir) {
            let configs = sandbar::api::load_files([&path]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(configs.len(), 1, "{}", path.display());
            configs[0].validate_cel().unwrap();
        }
    }
    sandbar::api::load_files([root("manifests/overlays/dev/sandboxconfig.yaml")]).unwrap();
}

/// The names of the properties below a schema, with their paths.
fn properties(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        properties(inner, &path, found);
        properties(&inner["items"], &path, found);
        found.push(path);
    }
}

#[test]
fn the_chart_knows_the_fields_of_the_resource() {
    let crd: Value = serde_json::to_value(sandbar::api::crd().unwrap()).unwrap();
    let text = std::fs::read_to_string(root("charts/sandbar/values.schema.json")).unwrap();
    let chart: Value = serde_json::from_str(&text).unwrap();
    let (mut resource, mut values) = (Vec::new(), Vec::new());
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    properties(schema, "spec", &mut resource);
    properties(&chart["properties"]["sandboxConfig"]["properties"]["spec"], "spec", &mut values);
    resource.sort();
    values.sort();
    assert_eq!(values, resource);
}

#[test]
fn the_chart_has_the_version_of_the_binary() {
    let text = std::fs::read_to_string(root("charts/sandbar/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_chart_installs_the_resource_that_the_binary_applies() {
    let read = |path: &str| std::fs::read_to_string(root(path)).unwrap();
    let same = read("crds/sandboxconfigs.sandbar.dev.yaml")
        == read("charts/sandbar/files/sandboxconfigs.sandbar.dev.yaml");
    assert!(same, "run hack/update-crds and commit what it writes");
}

/// Who may write SandboxConfigs is root on the node, which editors of a cluster are not: only an administrator gives that right.
#[test]
fn only_the_right_to_view_joins_the_built_in_roles() {
    for path in ["manifests/base/roles.yaml", "charts/sandbar/templates/rbac.yaml"] {
        let text = std::fs::read_to_string(root(path)).unwrap();
        let (view, edit) = text.split_once("\n---\n").unwrap();
        assert!(view.contains("aggregate-to-view") && view.ends_with("verbs: [get, list, watch]"), "{path}");
        assert!(edit.contains("-edit\n") && edit.contains("update"), "{path}");
        assert!(!text.contains("aggregate-to-edit") && !text.contains("aggregate-to-admin"), "{path}");
        assert!(!edit.contains("aggregate-to-"), "{path}");
    }
}
