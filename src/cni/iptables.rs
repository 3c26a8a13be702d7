//! iptables, by its program: gVisor has the old interface only, so `iptables-legacy` is looked for first.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::error::CniError;
use super::rules::{Choice, Rule};
use crate::bounded::{self, Ran};

const PROGRAMS: [&str; 2] = ["iptables-legacy", "iptables"];
/// Where the administrator's programs are, in case PATH leaves them out.
const MORE_PLACES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
const LIMIT: Duration = Duration::from_secs(10);
/// How long iptables itself waits for others of its kind.
const WAIT: &str = "5";
/// The same rule may be there more than once.
const MOST_COPIES: usize = 16;

/// A program that manages the nat table of this kernel.
#[derive(Clone, Debug)]
pub struct Iptables {
    program: PathBuf,
}

impl Iptables {
    /// Finds one by asking each for its nat table; if there is none, says what the last one said.
    pub fn find() -> Result<Self, String> {
        let mut why = format!("{} is not on PATH", PROGRAMS[0]);
        for program in PROGRAMS.iter().filter_map(|name| find_program(name)) {
            let found = Self::at(&program);
            match found.run(&["-S", "POSTROUTING"]) {
                Ok(ran) if ran.status.success() => return Ok(found),
                Ok(ran) => why = format!("{}: {}", program.display(), ran.last_line()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    /// A program that was found before.
    pub fn at(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Its path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether the rule is in force.
    pub fn has(&self, rule: &Rule) -> Result<bool, CniError> {
        Ok(self.rule("-C", rule)?.status.success())
    }

    /// Puts the preferred rule in force, or those that serve in its place; what is there already is left.
    pub fn ensure(&self, choice: &Choice) -> Result<Vec<Rule>, CniError> {
        if self.has(&choice.preferred)? {
            return Ok(vec![choice.preferred.clone()]);
        }
        let refused = match self.add(&choice.preferred) {
            Ok(()) => return Ok(vec![choice.preferred.clone()]),
            Err(refused) if choice.otherwise.is_empty() => return Err(refused),
            Err(refused) => refused,
        };
        for rule in &choice.otherwise {
            if !self.has(rule)? {
                self.add(rule).map_err(|error| CniError::Rules(format!("{refused}; then: {error}")))?;
            }
        }
        Ok(choice.otherwise.clone())
    }

    /// Takes a rule out of force; one that is not there is fine.
    pub fn remove(&self, rule: &Rule) -> Result<(), CniError> {
        for _ in 0..MOST_COPIES {
            if !self.has(rule)? {
                return Ok(());
            }
            let ran = self.rule("-D", rule)?;
            if !ran.status.success() {
                return Err(self.refused("-D", rule, &ran));
            }
        }
        Ok(())
    }

    fn add(&self, rule: &Rule) -> Result<(), CniError> {
        let ran = self.rule("-A", rule)?;
        if ran.status.success() { Ok(()) } else { Err(self.refused("-A", rule, &ran)) }
    }

    fn rule(&self, verb: &str, rule: &Rule) -> Result<Ran, CniError> {
        let mut arguments = vec![verb, rule.chain.as_str()];
        arguments.extend(rule.spec.iter().map(String::as_str));
        self.run(&arguments)
    }

    fn run(&self, arguments: &[&str]) -> Result<Ran, CniError> {
        let mut command = Command::new(&self.program);
        command.args(["-w", WAIT, "-t", "nat"]).args(arguments);
        bounded::run(&mut command, LIMIT).map_err(CniError::io(format!("run {}", self.program.display())))
    }

    fn refused(&self, verb: &str, rule: &Rule, ran: &Ran) -> CniError {
        let program = self.program.display();
        let said = ran.last_line();
        CniError::Rules(format!("{program} -t nat {verb} {} {}: {said}", rule.chain, rule.spec.join(" ")))
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(MORE_PLACES.iter().map(PathBuf::from));
    places.map(|dir| dir.join(name)).find(|file| access(file, AccessFlags::X_OK).is_ok())
}
