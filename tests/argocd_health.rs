//! Argo CD's health script over its cases, run by a real Lua. The cases have the shape of Argo CD's own tests.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/gitops/argocd")
}

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A value as a Lua expression.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        // JSON and Lua agree on strings without control characters.
        Value::String(_) => value.to_string().replace("\\/", "/"),
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields =
                map.iter().map(|(key, value)| format!("[{}] = {}", Value::from(key.as_str()), lua(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

fn health(object: &Value) -> (String, String) {
    let script = std::fs::read_to_string(dir().join("health.lua")).unwrap();
    let program = format!(
        "obj = {}\nlocal function check()\n{script}\nend\nlocal health = check()\nio.write(health.status, \"\\n\", health.message)",
        lua(object)
    );
    let output =
        Command::new("lua5.4").args(["-e", &program]).stdin(Stdio::null()).output().unwrap_or_else(|error| {
            panic!("lua5.4: {error}; hack/verify-health installs it and runs this test")
        });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (status, message) = text.split_once('\n').unwrap();
    (status.to_owned(), message.to_owned())
}

#[test]
fn every_case_has_the_health_that_it_should() {
    let cases = yaml(&dir().join("health_test.yaml"));
    let cases = cases["tests"].as_array().unwrap();
    let files = std::fs::read_dir(dir().join("testdata")).unwrap().count();
    assert_eq!(cases.len(), files, "a file in testdata has no case, or a case no file");
    for case in cases {
        let path = case["inputPath"].as_str().unwrap();
        let (status, message) = health(&yaml(&dir().join(path)));
        assert_eq!(status, case["healthStatus"]["status"], "{path}");
        assert_eq!(message, case["healthStatus"]["message"], "{path}");
    }
}
