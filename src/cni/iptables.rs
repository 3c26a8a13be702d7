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
/// More rules than these are not removed in one go: something puts them back.
const MOST_ROUNDS: usize = 512;

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

    /// Those of the rules that are not in force. They are looked for in the program's own listing: gVisor gives a DNAT rule
    /// back in another form than it got it, so that the program's comparison (`-C`) never finds it.
    pub fn missing<'a>(&self, rules: &'a [Rule]) -> Result<Vec<&'a Rule>, CniError> {
        let listing = self.listing()?;
        Ok(rules.iter().filter(|rule| !listing.contains(rule)).collect())
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

    /// Takes rules out of force; what is not there is fine.
    pub fn remove(&self, rules: &[Rule]) -> Result<(), CniError> {
        for _ in 0..MOST_ROUNDS {
            let listing = self.listing()?;
            let Some((rule, number)) = last_of(&listing, rules) else { return Ok(()) };
            // By its words, or, where the comparison fails, by its number.
            if self.change(&["-D", &rule.chain], &rule.spec).is_err() {
                self.change(&["-D", &rule.chain, &number.to_string()], &[])?;
            }
        }
        Err(CniError::Rules(format!("{} does not get rid of rules", self.program.display())))
    }

    fn listing(&self) -> Result<Vec<Rule>, CniError> {
        let ran = self.run(&["-S"])?;
        match ran.status.success() {
            true => Ok(ran.stdout.lines().filter_map(listed).collect()),
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
    use super::*;

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
