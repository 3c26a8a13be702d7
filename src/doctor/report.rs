//! The report: checks in categories, and from them which mode will work. This is the shape of `sandbar doctor -o json`.

use serde::Serialize;

use super::abilities::Abilities;
use super::docker::Docker;
use super::egress::Reach;
use super::environment::Environment;
use super::files::Seen;
use super::limits::Limits;
use super::tools::Found;

/// Which cluster is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// API server, controllers and scheduler, no pods.
    ControlPlane,
    /// The same and a node that runs pods.
    Node,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Success,
    /// Something lacks, and control-plane mode works all the same.
    Warning,
    /// Nothing will work.
    Error,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Stable name, for scripts.
    pub name: String,
    /// How it ended.
    pub result: Outcome,
    /// What was found.
    pub description: String,
    /// What the user can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What sandbar does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The least demanding mode that cannot work because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Mode>,
    /// What will be missing from a cluster that works otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

impl Check {
    /// A check that went well.
    pub fn good(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            result: Outcome::Success,
            description: description.into(),
            hint: None,
            remedy: None,
            blocks: None,
            limit: None,
        }
    }

    /// Something lacks.
    pub fn warning(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { result: Outcome::Warning, ..Self::good(name, description) }
    }

    /// `mode`, and every more demanding one, cannot work.
    pub fn blocking(mode: Mode, name: impl Into<String>, description: impl Into<String>) -> Self {
        let result = if mode == Mode::ControlPlane { Outcome::Error } else { Outcome::Warning };
        Self { result, blocks: Some(mode), ..Self::good(name, description) }
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what sandbar does.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds what will be missing.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<String>) -> Self {
        self.limit = Some(limit.into());
        self
    }
}

/// Checks that belong together.
#[derive(Clone, Debug, Serialize)]
pub struct Category {
    /// For people.
    pub name: &'static str,
    /// In the order in which they are shown.
    pub checks: Vec<Check>,
}

/// Whether a mode will work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Yes or no.
    pub works: bool,
    /// What stands in its way; empty if nothing does.
    pub why: Vec<String>,
    /// What will be missing although it works.
    pub limits: Vec<String>,
}

/// Both modes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Modes {
    /// Without pods.
    pub control_plane: Verdict,
    /// With pods.
    pub node: Verdict,
}

impl Modes {
    /// What follows from the checks.
    pub fn from_checks(categories: &[Category]) -> Self {
        let checks = || categories.iter().flat_map(|category| &category.checks);
        let verdict = |mode: Mode| {
            let why: Vec<String> = checks()
                .filter(|check| check.blocks.is_some_and(|blocked| blocked <= mode))
                .map(|check| check.description.clone())
                .collect();
            // Only pods are ever limited.
            let limits =
                checks().filter(|_| mode == Mode::Node).filter_map(|check| check.limit.clone()).collect();
            Verdict { works: why.is_empty(), why, limits }
        };
        Self { control_plane: verdict(Mode::ControlPlane), node: verdict(Mode::Node) }
    }
}

/// Everything that was found out.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// What was read.
    #[serde(flatten)]
    pub environment: Environment,
    /// What was tried.
    pub abilities: Abilities,
    /// Which limits of pods bind.
    pub limits: Limits,
    /// The outside; `None` if it was not asked.
    pub egress: Option<Vec<Reach>>,
    /// Programs.
    pub tools: Vec<Found>,
    /// Docker.
    pub docker: Docker,
    /// Files that Kubernetes needs.
    pub files: Vec<Seen>,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether control-plane mode will work.
    pub success: bool,
    /// Which modes will work.
    pub modes: Modes,
    /// What the verdict rests on.
    pub environment: Findings,
    /// The checks.
    pub categories: Vec<Category>,
}

impl Report {
    /// Judges what was found.
    pub fn new(environment: Findings) -> Self {
        let categories = super::checks::all(&environment);
        let modes = Modes::from_checks(&categories);
        Self { success: modes.control_plane.works, modes, environment, categories }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(checks: Vec<Check>) -> Modes {
        Modes::from_checks(&[Category { name: "test", checks }])
    }

    #[test]
    fn what_blocks_the_control_plane_blocks_the_node_too() {
        let found = modes(vec![Check::blocking(Mode::ControlPlane, "root", "not root")]);
        assert!(!found.control_plane.works && !found.node.works);
        assert_eq!(found.node.why, ["not root"]);
    }

    #[test]
    fn what_blocks_the_node_leaves_the_control_plane() {
        let found = modes(vec![
            Check::blocking(Mode::Node, "netns", "no network namespaces"),
            Check::warning("exec", "pid namespaces cannot be joined").limit("kubectl exec"),
        ]);
        assert_eq!(found.control_plane, Verdict { works: true, why: vec![], limits: vec![] });
        assert_eq!(found.node.limits, ["kubectl exec"]);
        assert!(!found.node.works);
    }
}
