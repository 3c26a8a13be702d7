//! The committed CustomResourceDefinition is the one that this binary applies.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

fn printed() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sandbar")).arg("crd").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_committed_crd_is_what_the_binary_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/sandboxconfigs.sandbar.dev.yaml");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let printed = printed();
    if committed != printed {
        let line = committed.lines().zip(printed.lines()).position(|(old, new)| old != new);
        panic!(
            "{path} is out of date from line {:?} on; run hack/update-crds and commit it",
            line.map(|n| n + 1)
        );
    }
}

#[test]
fn the_crd_is_cluster_scoped_with_status_names_and_columns() {
    let crd: serde_json::Value = serde_saphyr::from_str(&printed()).unwrap();
    assert_eq!(crd["spec"]["scope"], "Cluster");
    assert_eq!(crd["spec"]["names"]["shortNames"], serde_json::json!(["sbx"]));
    assert_eq!(crd["spec"]["names"]["categories"], serde_json::json!(["sandbar"]));
    let version = &crd["spec"]["versions"][0];
    assert!(version["subresources"]["status"].is_object());
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].clone())
        .collect();
    assert_eq!(columns, ["Ready", "Rules", "Table", "Age", "Reason", "Flannel", "Snapshotter"]);
}

/// A null that got into the schema would let `has()` see fields that are not there.
#[test]
fn nothing_in_the_schema_is_nullable() {
    assert!(!printed().contains("nullable") && !printed().contains("- null"));
}
