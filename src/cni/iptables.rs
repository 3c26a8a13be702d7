//! iptables, by its program: gVisor has the old interface only, so `iptables-legacy` is looked for first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, io};

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
/// More rules than these are not removed in one go: something puts them back.
const MOST_ROUNDS: usize = 512;
/// In which words the two kinds of iptables say that this kernel has no such table.
const NO_TABLE: [&str; 2] = ["Table does not exist", "Failed to initialize nft"];

/// A program that manages the nat table of this kernel.
#[derive(Clone, Debug)]
pub struct Iptables {
    program: PathBuf,
}

impl Iptables {
    /// Finds one by asking each for its nat table; if there is none, says what each of them said.
    pub fn find() -> Result<Self, String> {
        let mut why = Vec::new();
        for name in PROGRAMS {
            let Some(program) = find_program(name) else {
                why.push(format!("{name} is not on PATH"));
                continue;
            };
            let found = Self::at(&program);
            match found.run(&["-S", "POSTROUTING"]) {
                Ok(ran) if ran.status.success() => return Ok(found),
                // The first line says what is wrong; what follows is advice.
                Ok(ran) => why.push(format!("{name}: {}", ran.first_line())),
                Err(error) => why.push(error.to_string()),
            }
        }
        Err(why.join("; "))
    }

    /// A program that was found before.
    pub fn at(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Its path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether it is certain that no rule of it can be in force: the program is gone, or the table is. Neither is what a
    /// program means that gets no answer in time, or no turn.
    pub fn is_gone(&self) -> bool {
        matches!(self.table(), Ok(Table::Gone(_)))
    }

    /// Those of the rules that are not in force. They are looked for in the program's own listing: gVisor gives a DNAT rule
    /// back in another form than it got it, so that the program's comparison (`-C`) never finds it.
    pub fn missing<'a>(&self, rules: &'a [Rule]) -> Result<Vec<&'a Rule>, CniError> {
        match self.table()? {
            Table::Rules(listing) => Ok(rules.iter().filter(|rule| !listing.contains(rule)).collect()),
            Table::Gone(why) => Err(CniError::Rules(why)),
        }
    }

    /// Puts rules in force, after the others of their chain; those that are already are left.
    pub fn ensure(&self, rules: &[Rule]) -> Result<(), CniError> {
        self.missing(rules)?.into_iter().try_for_each(|rule| self.change(&["-A", &rule.chain], &rule.spec))
    }

    /// The same, before the others.
    pub fn ensure_first(&self, rules: &[Rule]) -> Result<(), CniError> {
        self.missing(rules)?.into_iter().try_for_each(|rule| self.change(&["-I", &rule.chain], &rule.spec))
    }

    /// Puts the preferred rules in force, or those that serve in their place.
    pub fn ensure_either(&self, choice: &Choice) -> Result<Vec<Rule>, CniError> {
        for rules in [&choice.preferred, &choice.otherwise] {
            if self.missing(rules)?.is_empty() {
                return Ok(rules.clone());
            }
        }
        let Err(first) = self.ensure(&choice.preferred) else { return Ok(choice.preferred.clone()) };
        match self.ensure(&choice.otherwise) {
            Ok(()) => Ok(choice.otherwise.clone()),
            Err(then) => Err(CniError::Rules(format!("{first}; then: {then}"))),
        }
    }

    /// Takes rules out of force; what is not there is fine, be it the whole table.
    pub fn remove(&self, rules: &[Rule]) -> Result<(), CniError> {
        for _ in 0..MOST_ROUNDS {
            let Table::Rules(listing) = self.table()? else { return Ok(()) };
            let Some((rule, number)) = last_of(&listing, rules) else { return Ok(()) };
            // By its words, or, where the comparison fails, by its number.
            if self.change(&["-D", &rule.chain], &rule.spec).is_err() {
                self.change(&["-D", &rule.chain, &number.to_string()], &[])?;
            }
        }
        Err(CniError::Rules(format!("{} does not get rid of rules", self.program.display())))
    }

    fn table(&self) -> Result<Table, CniError> {
        // Before it is run: a script whose interpreter is gone fails with the same error.
        if let Err(error) = fs::metadata(&self.program)
            && error.kind() == io::ErrorKind::NotFound
        {
            return Ok(Table::Gone(format!("{}: {error}", self.program.display())));
        }
        let ran = self.run(&["-S"])?;
        match ran.status.success() {
            true => Ok(Table::Rules(ran.stdout.lines().filter_map(listed).collect())),
            false if denies(&ran.stderr) => Ok(Table::Gone(self.refused(&["-S"], &[], &ran).to_string())),
            false => Err(self.refused(&["-S"], &[], &ran)),
        }
    }

    fn change(&self, verb: &[&str], spec: &[String]) -> Result<(), CniError> {
        let mut arguments = verb.to_vec();
        arguments.extend(spec.iter().map(String::as_str));
        let ran = self.run(&arguments)?;
        if ran.status.success() { Ok(()) } else { Err(self.refused(verb, spec, &ran)) }
    }

    fn run(&self, arguments: &[&str]) -> Result<Ran, CniError> {
        let mut command = Command::new(&self.program);
        command.args(["-w", WAIT, "-t", "nat"]).args(arguments);
        bounded::run(&mut command, LIMIT).map_err(CniError::io(format!("run {}", self.program.display())))
    }

    fn refused(&self, verb: &[&str], spec: &[String], ran: &Ran) -> CniError {
        let (program, said) = (self.program.display(), ran.last_line());
        CniError::Rules(format!("{program} -t nat {} {}: {said}", verb.join(" "), spec.join(" ")))
    }
}

/// The nat table, as a program sees it.
#[derive(Debug)]
enum Table {
    Rules(Vec<Rule>),
    /// There is none, or no program any more, for this reason.
    Gone(String),
}

fn denies(said: &str) -> bool {
    NO_TABLE.iter().any(|words| said.contains(words))
}

/// A line of the listing: `-A CHAIN …`.
fn listed(line: &str) -> Option<Rule> {
    let mut words = line.strip_prefix("-A ")?.split_whitespace().map(str::to_owned);
    Some(Rule { chain: words.next()?, spec: words.collect() })
}

/// The last rule of the listing that is one of these, and its number in its chain.
fn last_of<'a>(listing: &'a [Rule], rules: &[Rule]) -> Option<(&'a Rule, usize)> {
    let place = listing.iter().rposition(|rule| rules.contains(rule))?;
    let (before, rule) = (listing.get(..=place)?, listing.get(place)?);
    Some((rule, before.iter().filter(|other| other.chain == rule.chain).count()))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(MORE_PLACES.iter().map(PathBuf::from));
    places.map(|dir| dir.join(name)).find(|file| access(file, AccessFlags::X_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that answers as `script` says.
    fn program(dir: &Path, script: &str) -> Iptables {
        let path = dir.join("iptables");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Iptables::at(&path)
    }

    #[test]
    fn without_program_or_table_there_is_nothing_to_remove() {
        let dir = tempfile::tempdir().unwrap();
        let rules = [listed("-A OUTPUT -p tcp -j A").unwrap()];
        let none = Iptables::at(&dir.path().join("none"));
        assert!(none.is_gone() && none.missing(&rules).is_err());
        none.remove(&rules).unwrap();
        for said in [
            "iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist (do you need to insmod?)",
            "iptables: Failed to initialize nft: Protocol not supported",
        ] {
            let refusing = program(dir.path(), &format!("echo \"{}\" >&2; exit 3", said.replace('`', "\\`")));
            assert!(refusing.is_gone(), "{said}");
            refusing.remove(&rules).unwrap();
        }
    }

    #[test]
    fn a_program_that_gets_no_turn_does_not_say_that_there_is_no_table() {
        let dir = tempfile::tempdir().unwrap();
        let rules = [listed("-A OUTPUT -p tcp -j A").unwrap()];
        let busy = program(
            dir.path(),
            "echo 'Another app is currently holding the xtables lock; waiting for it to exit...' >&2; exit 4",
        );
        assert!(!busy.is_gone());
        assert!(busy.remove(&rules).is_err());
    }

    #[test]
    fn a_rule_is_found_in_the_listing_by_its_words_and_its_number() {
        let text = "-P PREROUTING ACCEPT\n-A PREROUTING -p tcp -j A\n-A OUTPUT -p tcp -j A\n-A PREROUTING -p udp -j B\n";
        let listing: Vec<Rule> = text.lines().filter_map(listed).collect();
        assert_eq!(listing.len(), 3);
        let wanted = |line| vec![listed(line).unwrap()];
        assert_eq!(last_of(&listing, &wanted("-A PREROUTING -p udp -j B")).unwrap().1, 2);
        assert_eq!(last_of(&listing, &wanted("-A OUTPUT -p tcp -j A")).unwrap().1, 1);
        assert_eq!(last_of(&listing, &wanted("-A OUTPUT -p udp -j B")), None);
    }
}
