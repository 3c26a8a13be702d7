//! Programs on PATH.

use crate::doctor::report::Check;
use crate::doctor::tools::{Found, Use};

/// The whole category.
pub fn all(tools: &[Found]) -> Vec<Check> {
    tools.iter().map(one).collect()
}

fn one(tool: &Found) -> Check {
    let name = tool.name;
    match (&tool.path, &tool.error) {
        (Some(path), None) => {
            let version = tool.version.as_deref().filter(|text| !text.is_empty());
            let version = version.map_or_else(String::new, |text| format!(": {text}"));
            Check::good(name, format!("{}{version}", path.display()))
        }
        (Some(path), Some(error)) => match tool.wanted {
            Use::Extra => Check::good(name, format!("{} is not usable: {error}", path.display())),
            _ => Check::warning(name, format!("{} does not run: {error}", path.display())),
        },
        (None, _) => match (name, tool.wanted) {
            ("k3s", _) => Check::good(name, "k3s is not on PATH").remedy("`sandbar up` fetches it"),
            (_, Use::Workflow) => Check::warning(name, format!("{name} is missing")).hint("sandbar setup"),
            (_, Use::Node) => Check::good(name, format!("{name} is missing; k3s brings its own for a node")),
            (_, Use::Extra) => Check::good(name, format!("{name} is missing")),
        },
    }
}
