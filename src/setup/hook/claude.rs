//! Claude Code: a SessionStart hook in the project's `.claude/settings.json`.

use std::path::{Path, PathBuf};

use super::script::{self, NAME};
use super::{Error, Wanted, existing};
use crate::setup::jsonc::{self, Kind, Node};

const SETTINGS: &str = ".claude/settings.json";

/// The settings and the script, as they should be.
pub(super) fn plan(project: &Path, binary: Option<&Path>) -> Result<Vec<Wanted>, Error> {
    let path = project.join(SETTINGS);
    let content = merge(existing(&path)?.as_deref(), &path)?;
    let script = script::render(Some("[ \"${CLAUDE_CODE_REMOTE:-}\" = true ]"), binary);
    Ok(vec![
        // The script first: settings that name a missing script would be worse than a script that nobody calls.
        Wanted { path: project.join(".claude/hooks").join(NAME), content: script, mode: 0o755 },
        Wanted { path, content, mode: 0o644 },
    ])
}

/// The settings with the hook in them.
pub(super) fn merge(before: Option<&str>, path: &Path) -> Result<String, Error> {
    // An empty file is as good as none.
    let source = before.filter(|text| !text.trim().is_empty()).unwrap_or("{}\n");
    let malformed = |source| Error::Malformed { path: path.to_owned(), source };
    let root = jsonc::parse(source, false).map_err(malformed)?;
    let object = |node: &Node| matches!(node.kind, Kind::Object(_));
    let refuse = |field, expected| Error::Unexpected { path: PathBuf::from(path), field, expected };
    if !object(&root) {
        return Err(refuse("the document", "an object"));
    }
    let Some(hooks) = root.get("hooks") else {
        return Ok(root.with_last(
            source,
            &format!("\"hooks\": {{\n  \"SessionStart\": [\n{}\n  ]\n}}", indent(&entry(), 4)),
        ));
    };
    if !object(hooks) {
        return Err(refuse("hooks", "an object"));
    }
    match hooks.get("SessionStart") {
        None => Ok(hooks.with_last(source, &format!("\"SessionStart\": [\n{}\n]", indent(&entry(), 2)))),
        Some(list) if !matches!(list.kind, Kind::Array(_)) => Err(refuse("hooks.SessionStart", "an array")),
        Some(list) if list.mentions(NAME) => Ok(source.to_owned()),
        Some(list) => Ok(list.with_last(source, &entry())),
    }
}

/// One entry of `hooks.SessionStart`. Compaction and clearing keep the machine, so only a start or a resumption counts.
fn entry() -> String {
    format!(
        "{{\n  \"matcher\": \"startup|resume\",\n  \"hooks\": [\n    {{\n      \"type\": \"command\",\n      \
         \"command\": \"\\\"$CLAUDE_PROJECT_DIR\\\"/.claude/hooks/{NAME}\",\n      \"timeout\": 60\n    }}\n  ]\n}}"
    )
}

fn indent(text: &str, by: usize) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("{:by$}{line}", "")).collect();
    lines.join("\n")
}
