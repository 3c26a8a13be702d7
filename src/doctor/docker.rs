//! Docker: whether there is a client, and whether a daemon answers it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use crate::bounded;
use crate::k3s::Places;

const LIMIT: Duration = Duration::from_millis(2500);
/// One line, its parts parted by what is in none of them.
const FORMAT: &str = "{{.ServerVersion}}|{{.Driver}}|{{.CgroupDriver}}, v{{.CgroupVersion}}";

/// What there is of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Docker {
    /// Where the client is.
    pub client: Option<PathBuf>,
    /// What the daemon says about itself, if it answers.
    pub daemon: Option<Daemon>,
    /// Why it does not.
    pub error: Option<String>,
}

/// A daemon that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Daemon {
    /// Its version.
    pub version: String,
    /// Its storage driver.
    pub driver: String,
    /// Its cgroup driver, and which cgroups it sees.
    pub cgroup: String,
}

/// Asks the daemon that the client would talk to, wherever DOCKER_HOST or its context say that it is.
pub fn ask() -> Docker {
    let Some(client) = Places::from_env().on_path("docker") else { return Docker::default() };
    let daemon = match bounded::run(Command::new(&client).args(["info", "--format", FORMAT]), LIMIT) {
        // Without a daemon some clients end with 0 all the same, and leave the fields empty.
        Ok(ran) => {
            parse(ran.first_line()).filter(|_| ran.status.success()).ok_or_else(|| ran.last_line().to_owned())
        }
        Err(error) => Err(error.to_string()),
    };
    let error = daemon.as_ref().err().cloned();
    Docker { client: Some(client), daemon: daemon.ok(), error }
}

fn parse(line: &str) -> Option<Daemon> {
    let mut parts = line.trim().splitn(3, '|').map(str::to_owned);
    let daemon = Daemon { version: parts.next()?, driver: parts.next()?, cgroup: parts.next()? };
    (!daemon.version.is_empty()).then_some(daemon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_and_none() {
        let daemon = parse("27.1.0|overlay2|systemd, v2\n").unwrap();
        assert_eq!((daemon.version.as_str(), daemon.driver.as_str()), ("27.1.0", "overlay2"));
        assert_eq!(daemon.cgroup, "systemd, v2");
        assert_eq!(parse("||, v"), None, "a client that talks to nobody");
        assert_eq!(parse("Cannot connect to the Docker daemon"), None);
    }
}
