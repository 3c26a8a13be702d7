//! Dev containers (Codespaces and others): `postStartCommand` in `.devcontainer/devcontainer.json`.

use std::path::Path;

use super::script::{self, NAME};
use super::{Error, KUBECONFIG, Wanted, existing};
use crate::setup::jsonc::{self, Kind, Node};

/// Where the specification looks, in its order.
const FILES: [&str; 2] = [".devcontainer/devcontainer.json", ".devcontainer.json"];

/// The configuration and the script, as they should be.
pub(super) fn plan(project: &Path, binary: Option<&Path>) -> Result<Vec<Wanted>, Error> {
    let mut path = project.join(FILES[0]);
    if !path.exists() && project.join(FILES[1]).exists() {
        path = project.join(FILES[1]);
    }
    let content = merge(existing(&path)?.as_deref(), &path)?;
    let script = script::render(None, binary);
    Ok(vec![
        Wanted { path: project.join(".devcontainer").join(NAME), content: script, mode: 0o755 },
        Wanted { path, content, mode: 0o644 },
    ])
}

/// The configuration with the command and the kubeconfig in it.
pub(super) fn merge(before: Option<&str>, path: &Path) -> Result<String, Error> {
    let source = before.filter(|text| !text.trim().is_empty()).unwrap_or("{}\n");
    let parse = |text: &str| {
        jsonc::parse(text, true).map_err(|source| Error::Malformed { path: path.to_owned(), source })
    };
    let refuse = |field, expected| Error::Unexpected { path: path.to_owned(), field, expected };
    let root = parse(source)?;
    if !matches!(root.kind, Kind::Object(_)) {
        return Err(refuse("the document", "an object"));
    }
    let source = with_command(&root, source).ok_or_else(|| refuse("postStartCommand", "a command"))?;
    let root = parse(&source)?;
    let variable = format!("\"KUBECONFIG\": \"{KUBECONFIG}\"");
    match root.get("remoteEnv") {
        None => Ok(root.with_last(&source, &format!("\"remoteEnv\": {{\n  {variable}\n}}"))),
        Some(environment) if !matches!(environment.kind, Kind::Object(_)) => {
            Err(refuse("remoteEnv", "an object"))
        }
        Some(environment) if environment.get("KUBECONFIG").is_some() => Ok(source),
        Some(environment) => Ok(environment.with_last(&source, &variable)),
    }
}

/// A command that is there becomes one of several: the object form runs all of them.
fn with_command(root: &Node, source: &str) -> Option<String> {
    let ours = format!("\"sandbar\": \"sh .devcontainer/{NAME}\"");
    let Some(command) = root.get("postStartCommand") else {
        return Some(root.with_last(source, &format!("\"postStartCommand\": {{\n  {ours}\n}}")));
    };
    match command.kind {
        _ if command.mentions(NAME) => Some(source.to_owned()),
        Kind::Object(_) => Some(command.with_last(source, &ours)),
        Kind::Text(_) | Kind::Array(_) => {
            let theirs = &source[command.start..command.end];
            // Their own lines are already indented for where they stand.
            let flat = theirs.replace('\n', " ");
            Some(command.replaced(source, &format!("{{\n  \"project\": {flat},\n  {ours}\n}}")))
        }
        Kind::Other => None,
    }
}
