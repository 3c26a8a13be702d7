//! Probes of the environment, shared by `sandbar doctor` and `sandbar up`.
//!
//! Read ([`environment`], [`files`]), try ([`abilities`], [`egress`], [`tools`]), judge ([`checks`], [`report`]), show
//! ([`render`]). Only the first two touch the machine.

pub mod abilities;
pub mod capabilities;
pub mod checks;
pub mod docker;
pub mod egress;
pub mod environment;
pub mod files;
#[cfg(test)]
mod fixtures;
pub mod kind;
mod layers;
pub mod limits;
pub mod needs;
pub mod node;
pub mod parse;
pub mod profile;
pub mod raw;
pub mod render;
pub mod report;
pub mod resources;
pub mod tools;
pub mod variables;

pub use environment::Environment;
pub use kind::{Generation, SandboxKind};
pub use node::NodeAbilities;
pub use report::{Findings, Mode, Report};

use std::path::Path;

use crate::exit::{Exit, Failure};

/// What this environment is, read cheaply: for choosing profiles and flags.
pub fn environment() -> Environment {
    Environment::read()
}

/// The whole examination; `data` is k3s's data directory. Call it before starting threads: it forks.
pub fn examine(network: bool, data: &Path) -> Report {
    let environment = Environment::read();
    let abilities = abilities::try_all(data);
    let limits = limits::try_all(&environment.cgroups);
    let files = files::look(&environment.cgroups, &profile::Profile::here());
    let (egress, tools, docker) = std::thread::scope(|scope| {
        let docker = scope.spawn(docker::ask);
        let egress = network.then(|| scope.spawn(egress::try_all));
        let tools = tools::find_all();
        // A panic there would be a bug of ours; the report is worth more without that part than not at all.
        let egress = egress.map(|thread| thread.join().unwrap_or_default());
        (egress, tools, docker.join().unwrap_or_default())
    });
    Report::new(Findings { environment, abilities, limits, egress, tools, docker, files })
}

/// Whether `mode` can work here; for `up`, which asks before it starts anything. `data` is k3s's data directory. Call it
/// before starting threads.
pub fn preflight(mode: Mode, data: &Path) -> Result<(), Failure> {
    let checks = match mode {
        Mode::ControlPlane => {
            let tried = abilities::Abilities {
                intercept: abilities::intercept(),
                memfd: abilities::memfd(),
                ..Default::default()
            };
            let mut checks = vec![checks::root(&Environment::read().privileges)];
            checks.extend(checks::interception(&tried));
            checks
        }
        Mode::Node => {
            let environment = Environment::read();
            let files = files::look(&environment.cgroups, &profile::Profile::here());
            let abilities = abilities::try_all(data);
            // They block nothing; the supervisor tries them itself.
            let limits = limits::Limits::default();
            let (tools, docker) = (Vec::new(), docker::Docker::default());
            let found = Findings { environment, abilities, limits, egress: None, tools, docker, files };
            checks::all(&found).into_iter().flat_map(|category| category.checks).collect()
        }
    };
    let mut blocking = checks.into_iter().filter(|check| check.blocks.is_some_and(|blocked| blocked <= mode));
    let Some(first) = blocking.next() else { return Ok(()) };
    let others = blocking.count();
    let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
    let name = if mode == Mode::Node { "node" } else { "control-plane" };
    let message = format!("{name} mode cannot work here: {}{more}", first.description);
    let hint = match first.hint {
        Some(hint) if first.name == "root" => hint.replace("doctor", "up"),
        Some(hint) => format!("{hint}; see `sandbar doctor`"),
        None => "sandbar doctor".to_owned(),
    };
    Err(Failure::new(Exit::Unsupported, message).hint(hint))
}
