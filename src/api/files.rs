//! SandboxConfigs from YAML files, for `sandbar run -f` and `sandbar up -f`: as strict as the API server, with errors
//! that name file, document and field.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::v1alpha1::SandboxConfig;
use super::{convert, limits, names, schema};

/// Why files were not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LoadError {
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{place}: {message}")]
    Document { place: Place, message: String },
}

/// Where in the input something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or what it was called.
    pub origin: String,
    /// Number of the document in it, from 1.
    pub document: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}, document {}", self.origin, self.document)
    }
}

/// Reads every SandboxConfig in `paths`, in order.
pub fn load_files<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
) -> Result<Vec<SandboxConfig>, LoadError> {
    let mut configs = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        configs.append(&mut parse(&text, &path.display().to_string())?);
    }
    Ok(configs)
}

/// Reads every SandboxConfig in a text of YAML documents; `origin` is what errors call it.
pub fn parse(text: &str, origin: &str) -> Result<Vec<SandboxConfig>, LoadError> {
    let mut configs = Vec::new();
    for (index, document) in split(text).iter().enumerate() {
        configs.extend(parse_document(document, Place { origin: origin.to_owned(), document: index + 1 })?);
    }
    Ok(configs)
}

fn parse_document(text: &str, place: Place) -> Result<Option<SandboxConfig>, LoadError> {
    match checked(text) {
        Ok(config) => Ok(config),
        Err(message) => Err(LoadError::Document { place, message }),
    }
}

/// The object in one document, checked by the rules that the API server goes by and then by the allow-list itself.
fn checked(text: &str) -> Result<Option<SandboxConfig>, String> {
    // The line and column are a part of the message.
    let yaml = |error: serde_saphyr::Error| error.without_snippet().to_string();
    let value: Value = serde_saphyr::from_str_with_options(text, options()).map_err(yaml)?;
    if value.is_null() {
        return Ok(None);
    }
    check_envelope(&value)?;
    let mut config: SandboxConfig = serde_saphyr::from_str_with_options(text, options()).map_err(yaml)?;
    config.status = None;
    // The rest is what an API server has written, or is of another object of that name; it would not be taken.
    let ObjectMeta { name, labels, annotations, .. } = std::mem::take(&mut config.metadata);
    config.metadata = ObjectMeta { name, labels, annotations, ..ObjectMeta::default() };
    check_metadata(&config.metadata)?;
    check_limits(&config)?;
    config
        .validate_cel()
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    convert::rules(&config).map_err(|invalid| invalid.to_string())?;
    Ok(Some(config))
}

/// What is a number to other YAML readers is no string to us either: the API server would refuse it.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { no_schema: true }
}

/// The parts around `spec`, whose types let unknown fields pass.
fn check_envelope(value: &Value) -> Result<(), String> {
    const METADATA: &[&str] = &[
        "name",
        "labels",
        "annotations",
        // What `kubectl get -o yaml` adds.
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "ownerReferences",
        "finalizers",
        "selfLink",
    ];
    let object = value.as_object().ok_or("not a mapping; a SandboxConfig is wanted")?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("sandbar.dev/v1alpha1", "SandboxConfig") {
        let found = format!("{} {}", text("apiVersion"), text("kind"));
        return Err(format!("`{}` found; `sandbar.dev/v1alpha1 SandboxConfig` is wanted", found.trim()));
    }
    only(object, &["apiVersion", "kind", "metadata", "spec", "status"], "")?;
    if !object.contains_key("spec") {
        return Err("`spec` is missing".to_owned());
    }
    let metadata = object.get("metadata").and_then(Value::as_object).ok_or("`metadata.name` is missing")?;
    match metadata.get("name").and_then(Value::as_str) {
        None | Some("") => Err("`metadata.name` is missing".to_owned()),
        Some(_) => only(metadata, METADATA, "metadata."),
    }
}

fn check_metadata(metadata: &ObjectMeta) -> Result<(), String> {
    let of = |part: &str, refused: Option<String>| refused.map(|why| format!("`metadata.{part}`: {why}"));
    of("name", metadata.name.as_deref().and_then(names::refused_name))
        .or_else(|| of("labels", metadata.labels.as_ref().and_then(names::refused_labels)))
        .or_else(|| of("annotations", metadata.annotations.as_ref().and_then(names::refused_annotations)))
        .map_or(Ok(()), Err)
}

/// The bounds that are no CEL.
fn check_limits(config: &SandboxConfig) -> Result<(), String> {
    /// Made once: it takes the whole CustomResourceDefinition.
    static SPEC: LazyLock<Result<Value, String>> = LazyLock::new(|| {
        let mut crd = schema::crd_value().map_err(|error| error.to_string())?;
        let spec = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
        spec.map(Value::take).ok_or_else(|| "the resource has no schema".to_owned())
    });
    let schema = SPEC.as_ref().map_err(Clone::clone)?;
    let spec = serde_json::to_value(&config.spec).map_err(|error| error.to_string())?;
    limits::exceeded(&spec, schema, "spec").map_or(Ok(()), Err)
}

fn only(object: &serde_json::Map<String, Value>, known: &[&str], prefix: &str) -> Result<(), String> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown field `{prefix}{key}`")),
        None => Ok(()),
    }
}

/// The documents of a stream, each behind as many empty lines as stand before it, so that line numbers stay true.
/// YAML lets a line begin with `---` nowhere but between documents.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (number, line) in text.lines().enumerate() {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if rest.is_some() {
            documents.push("\n".repeat(number));
        }
        if let Some(current) = documents.last_mut() {
            current.push_str(rest.unwrap_or(line));
            current.push('\n');
        }
    }
    // Before the first `---` there may be comments alone: that is no document.
    let blank = |document: &String| {
        document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    };
    documents.retain(|document| !blank(document));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: sandbar.dev/v1alpha1\nkind: SandboxConfig\n";

    /// What is said of an object with this spec.
    fn refused(spec: &str) -> String {
        refused_whole(&format!("metadata: {{name: x}}\nspec: {spec}\n"))
    }

    fn refused_whole(body: &str) -> String {
        match parse(&format!("{HEAD}{body}"), "x.yaml") {
            Err(error) => error.to_string(),
            Ok(configs) => panic!("taken: {configs:?}"),
        }
    }

    #[test]
    fn several_documents_are_read_in_order() {
        let text = format!(
            "# a comment\n---\n{HEAD}metadata: {{name: a}}\nspec: {{}}\n---\n# nothing\n---\n{HEAD}metadata: {{name: b}}\n\
             spec:\n  files:\n  - path: /proc/x\n    value: |\n      one\n      two\n"
        );
        let configs = parse(&text, "x.yaml").unwrap();
        let names: Vec<_> = configs.iter().map(|config| config.metadata.name.clone().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(configs[1].spec.files[0].value, "one\ntwo\n");
    }

    #[test]
    fn errors_name_file_document_line_and_field() {
        let text = format!(
            "{HEAD}metadata: {{name: a}}\nspec: {{}}\n---\n{HEAD}metadata: {{name: b}}\nspec:\n  files:\n  - {{path: /proc/x, valu: a}}\n"
        );
        let error = parse(&text, "x.yaml").unwrap_err().to_string();
        assert!(error.starts_with("x.yaml, document 2: "), "{error}");
        assert!(error.contains("valu") && error.contains("line 11"), "{error}");
    }

    #[test]
    fn unknown_fields_are_refused_at_every_level() {
        for body in ["specs: {}\nmetadata: {name: x}\nspec: {}", "metadata: {name: x, label: {}}\nspec: {}"] {
            assert!(refused_whole(body).contains("unknown field"), "{body}: {}", refused_whole(body));
        }
        for spec in
            ["{file: []}", "{k3s: {snapshoter: native}}", "{redirects: [{from: /proc/x, too: /dev/null}]}"]
        {
            assert!(refused(spec).contains("unknown field"), "{spec}: {}", refused(spec));
        }
    }

    #[test]
    fn values_that_the_api_server_would_refuse_are_refused() {
        for (spec, said) in [
            ("{files: [{path: /etc/passwd, value: x}]}", "spec.files[0].path: outside the allow-list"),
            ("{files: [{path: /proc/a/../b, value: x}]}", "canonical"),
            ("{files: [{path: /proc/a, value: 10}]}", "value"),
            ("{files: [{path: '/proc/*', value: x}]}", "wildcards"),
            ("{redirects: [{from: /proc/a}]}", "exactly one"),
            ("{redirects: [{from: /proc/a, to: /etc/shadow}]}", "allow-list"),
            ("{redirects: [{from: /proc/a, sibling: ../b}]}", "not a file name"),
            ("{filesystems: [{path: /proc, reportAs: ext4}]}", "never faked"),
            ("{filesystems: [{path: /, reportAs: procfs}]}", "procfs"),
            ("{k3s: {extraArgs: [--data-dir=/x]}}", "data"),
            ("{k3s: {flannelBackend: ipsec}}", "ipsec"),
            ("{priority: 99999999}", "spec.priority: 99999999, more than 1000000"),
            ("{k3s: {extraArgs: ['']}}", "spec.k3s.extraArgs[0]: 0 characters, less than 1"),
            ("{k3s: {containerdConfig: ''}}", "spec.k3s.containerdConfig: 0 characters"),
            ("{files: [{path: /proc/a, value: x}, {path: /proc/a, value: z}]}", "twice"),
        ] {
            let error = refused(spec);
            assert!(error.contains(said), "{spec}: {error}");
        }
        assert!(refused_whole("metadata: {name: x}\n").contains("`spec` is missing"));
        assert!(refused_whole("spec: {}\n").contains("`metadata.name` is missing"));
        assert!(
            parse("kind: Pod\napiVersion: v1\n", "x").unwrap_err().to_string().contains("`v1 Pod` found")
        );
        assert!(parse("a: [\n", "x").unwrap_err().to_string().contains("document 1: "));
    }

    #[test]
    fn metadata_that_the_api_server_would_refuse_is_refused() {
        for (metadata, said) in [
            ("{name: a/b}", "x.yaml, document 1: `metadata.name`: \"a/b\" is no name"),
            ("{name: fake file}", "\"fake file\" is no name"),
            ("{name: x, labels: {a b: c}}", "`metadata.labels`: `a b: c` is no label"),
            ("{name: x, annotations: {a b: c}}", "`metadata.annotations`: \"a b\""),
        ] {
            let error = refused_whole(&format!("metadata: {metadata}\nspec: {{}}\n"));
            assert!(error.contains(said), "{metadata}: {error}");
        }
        let got = "metadata: {name: x, uid: u, resourceVersion: '7', generation: 2, labels: {a: b}, finalizers: [c]}";
        let configs = parse(&format!("{HEAD}{got}\nspec: {{}}\n"), "x.yaml").unwrap();
        let labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert_eq!(configs[0].metadata, ObjectMeta { name: Some("x".into()), labels, ..Default::default() });
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.yaml");
        std::fs::write(&path, format!("{HEAD}metadata: {{name: a}}\nspec: {{}}\n")).unwrap();
        assert_eq!(load_files([&path, &path]).unwrap().len(), 2);
        let error = load_files([dir.path().join("none.yaml")]).unwrap_err().to_string();
        assert!(error.contains("none.yaml"), "{error}");
    }
}
