//! From findings to checks: pure judgement, category by category.

mod docker;
mod files;
mod kernel;
mod limits;
mod machine;
mod network;
mod privileges;
#[cfg(test)]
mod tests;
mod tools;

use super::abilities::Tried;
use super::report::{Category, Check, Findings, Mode};

pub use kernel::interception;
pub use privileges::root;

/// Every category, in the order in which they are shown.
pub fn all(found: &Findings) -> Vec<Category> {
    vec![
        Category { name: "sandbox", checks: machine::sandbox(&found.environment) },
        Category { name: "privileges", checks: privileges::all(&found.environment.privileges) },
        Category { name: "interception", checks: kernel::interception(&found.abilities) },
        Category { name: "namespaces and mounts", checks: kernel::namespaces(found) },
        Category { name: "cgroups", checks: machine::cgroups(&found.environment.cgroups) },
        Category { name: "limits of pods", checks: limits::all(&found.limits) },
        Category { name: "resources", checks: machine::resources(&found.environment.resources) },
        Category { name: "devices", checks: machine::devices(&found.abilities) },
        Category { name: "network", checks: network::all(found) },
        Category { name: "files that Kubernetes needs", checks: files::all(&found.files) },
        Category { name: "tools", checks: tools::all(&found.tools) },
        Category { name: "Docker", checks: docker::all(&found.docker, &found.abilities) },
    ]
}

/// `good` if it works, else `bad` with the reason.
fn tried(name: &str, what: &str, tried: &Tried, bad: impl FnOnce(String) -> Check) -> Check {
    match tried {
        None => Check::good(name, what),
        Some(reason) => bad(format!("{what}: {reason}")),
    }
}

/// A check whose failure blocks `mode`.
fn needed(mode: Mode, name: &str, what: &str, result: &Tried) -> Check {
    tried(name, what, result, |description| Check::blocking(mode, name, description))
}
