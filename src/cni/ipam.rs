//! Addresses: handed out by the real plugin (host-local), which gets our configuration and our environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use serde::Deserialize;
use serde_json::Value;

use super::call::{Call, is_id};
use super::config::Config;
use super::error::CniError;
use super::result::Outcome;
use super::state::Id;
use crate::bounded;

/// host-local waits for its own lock, and is started under interception.
const LIMIT: Duration = Duration::from_secs(20);

/// The address plugin of a configuration.
#[derive(Debug)]
pub struct Ipam<'a> {
    name: String,
    program: Option<PathBuf>,
    config: &'a [u8],
}

#[derive(Deserialize)]
struct Refusal {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

impl<'a> Ipam<'a> {
    /// Looks for it in CNI_PATH. `text` is the configuration as it came.
    pub fn of(call: &Call, config: &Config, text: &'a [u8]) -> Result<Self, CniError> {
        let name = config.ipam_type().ok_or_else(|| CniError::Config("ipam.type is missing".into()))?;
        if !is_id(name) {
            return Err(CniError::Config(format!("ipam.type {name:?} is no name of a plugin")));
        }
        let mut places = call.path.iter().map(|dir| dir.join(name));
        let program = places.find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok());
        Ok(Self { name: name.to_owned(), program, config: text })
    }

    /// The program, which what is to be set up takes; what is to be removed goes as far as it can without.
    pub fn program(&self) -> Result<&Path, CniError> {
        let missing = || format!("the plugin {} is in no directory of CNI_PATH", self.name);
        self.program.as_deref().ok_or_else(|| CniError::Unavailable(missing()))
    }

    /// Leases addresses.
    pub fn add(&self, id: &Id, netns: &str) -> Result<Outcome, CniError> {
        let answer = self.run("ADD", id, netns)?;
        let value: Value =
            serde_json::from_str(&answer).map_err(|error| CniError::Ipam(error.to_string()))?;
        let outcome = Outcome::read(&value)?;
        if outcome.ips.is_empty() {
            return Err(CniError::Ipam("it leased no address".into()));
        }
        Ok(outcome)
    }

    /// Gives them back; without a lease nothing happens.
    pub fn del(&self, id: &Id) -> Result<(), CniError> {
        self.run("DEL", id, "").map(drop)
    }

    /// Asks whether there is a lease.
    pub fn check(&self, id: &Id, netns: &str) -> Result<(), CniError> {
        self.run("CHECK", id, netns).map(drop)
    }

    /// Asks whether it can be run at all.
    pub fn answers(&self) -> Result<(), CniError> {
        self.run("VERSION", &Id::default(), "").map(drop)
    }

    fn run(&self, verb: &str, id: &Id, netns: &str) -> Result<String, CniError> {
        let program = self.program()?;
        let mut command = Command::new(program);
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", &id.container);
        command.env("CNI_IFNAME", &id.ifname).env("CNI_NETNS", netns);
        let ran = bounded::run_with(&mut command, self.config, LIMIT)
            .map_err(CniError::io(format!("run {} {verb}", program.display())))?;
        if ran.status.success() {
            return Ok(ran.stdout);
        }
        Err(match serde_json::from_str::<Refusal>(&ran.stdout) {
            Ok(refusal) => {
                CniError::Delegate { code: refusal.code, msg: refusal.msg, details: refusal.details }
            }
            Err(_) => CniError::Ipam(format!("{}: {}", ran.status, ran.last_line())),
        })
    }
}
