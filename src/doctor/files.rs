//! Looks at each needed file of the table: is it there, does it hold what is wanted, could it be written?

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use serde::Serialize;

use super::environment::Cgroups;
use super::needs::{Breaks, Need, Op, TABLE};
use super::profile::Profile;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "detail")]
pub enum State {
    /// As it should be.
    Good,
    /// Another value, but the one who needs it can write its own.
    Settable(String),
    /// Another value, and writing is refused.
    Fixed(String),
    /// Not there, or refused; the kernel's reason.
    Missing(String),
    /// Refused for lack of rights, so nothing is known.
    Unseen(String),
}

/// A need and what was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The path, with the mount of the controller put in.
    pub path: String,
    /// What is done with it.
    pub op: Op,
    /// The value that is wanted.
    pub expected: Option<&'static str>,
    /// Who needs it.
    pub needed_by: &'static str,
    /// What breaks without it.
    pub breaks: Breaks,
    /// What was found.
    #[serde(flatten)]
    pub state: State,
    /// What sandbar does about it; only where it lacks.
    pub remedy: Option<String>,
    /// Whether the need is met, by the kernel or by sandbar.
    pub met: bool,
}

impl Seen {
    fn new(need: &Need, path: String, state: State, profile: &Profile) -> Self {
        let lacks = matches!(state, State::Fixed(_) | State::Missing(_));
        let (remedy, helps) = profile.remedy(need.remedy, &path);
        Self {
            path,
            op: need.op,
            expected: need.expected,
            needed_by: need.by,
            breaks: need.breaks,
            remedy: lacks.then_some(remedy),
            met: !lacks || helps,
            state,
        }
    }
}

/// Looks at every file of the table that is a need here.
pub fn look(cgroups: &Cgroups, profile: &Profile) -> Vec<Seen> {
    TABLE
        .iter()
        .filter_map(|need| {
            let path = resolve(need.path, cgroups)?;
            let state = examine(need, &path);
            Some(Seen::new(need, path, state, profile))
        })
        .collect()
}

/// Puts the mount of a v1 controller in; `None` where that controller is not mounted.
fn resolve(path: &str, cgroups: &Cgroups) -> Option<String> {
    let Some(rest) = path.strip_prefix('@') else { return Some(path.to_owned()) };
    let (controller, file) = rest.split_once('/')?;
    Some(format!("{}/{file}", cgroups.mount(controller)?))
}

fn examine(need: &Need, path: &str) -> State {
    let found = match need.op {
        Op::Exists => fs::metadata(path).map(|_| String::new()),
        Op::Link => fs::read_link(path).map(|_| String::new()),
        Op::Write => OpenOptions::new().write(true).open(path).map(|_| String::new()),
        Op::Read => beginning(path),
    };
    match (found, need.expected) {
        (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => {
            State::Unseen(error.to_string())
        }
        (Err(error), _) => State::Missing(error.to_string()),
        (Ok(_), None) => State::Good,
        (Ok(value), Some(expected)) if value == expected => State::Good,
        (Ok(value), Some(_)) => settable(path, value),
    }
}

/// The trimmed first bytes. Non-blocking: /dev/kmsg waits at its end.
fn beginning(path: &str) -> io::Result<String> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut buffer = [0; 8192];
    let count = match file.read(&mut buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        // Messages may be overwritten while they are read.
        Err(error) if error.raw_os_error() == Some(libc::EPIPE) => 0,
        other => other?,
    };
    Ok(String::from_utf8_lossy(&buffer[..count]).trim().to_owned())
}

/// Whether writing is taken, found out by writing back the value that stands there: gVisor opens such files for writing
/// and then refuses the write.
fn settable(path: &str, value: String) -> State {
    let write = || OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes());
    match write() {
        Ok(()) => State::Settable(value),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => State::Unseen(error.to_string()),
        Err(error) => State::Fixed(format!("{value}, writing: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::profiles::Environment;
    use crate::doctor::needs::Remedy;

    fn need(op: Op, expected: Option<&'static str>) -> Need {
        Need { path: "", op, expected, by: "test", breaks: Breaks::Node, remedy: Remedy::Rule }
    }

    #[test]
    fn states_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        let path = path.to_str().unwrap();
        assert!(matches!(examine(&need(Op::Read, Some("1")), path), State::Missing(_)));
        fs::write(path, "0\n").unwrap();
        assert_eq!(examine(&need(Op::Read, Some("0")), path), State::Good);
        assert_eq!(examine(&need(Op::Read, None), path), State::Good);
        assert_eq!(examine(&need(Op::Read, Some("1")), path), State::Settable("0".to_owned()));
        assert_eq!(fs::read_to_string(path).unwrap().trim(), "0", "looking changed the value");
        assert_eq!(examine(&need(Op::Link, None), "/proc/self/ns/mnt"), State::Good);
        // The kernel refuses this write whatever we are.
        assert!(matches!(examine(&need(Op::Read, Some("1")), "/dev/full"), State::Fixed(_)));
    }

    #[test]
    fn controllers_are_looked_up() {
        let none = Cgroups::default();
        assert_eq!(resolve("@cpuacct/cpuacct.usage_percpu", &none), None);
        assert_eq!(resolve("/proc/stat", &none).as_deref(), Some("/proc/stat"));
    }

    #[test]
    fn a_lack_is_met_by_a_rule_that_the_profile_has() {
        let met = |remedy, path: &str| {
            let need = Need { remedy, ..need(Op::Read, None) };
            let lacking = State::Missing("ENOENT".to_owned());
            Seen::new(&need, path.to_owned(), lacking, &Profile::of(Environment::Gvisor)).met
        };
        assert!(met(Remedy::Rule, "/proc/sys/kernel/panic"));
        assert!(!met(Remedy::Rule, "/proc/no/rule/for/this"));
        assert!(met(Remedy::Tolerated("little"), "/proc/no/rule/for/this"));
        assert!(!met(Remedy::Nothing("why"), "/proc/sys/kernel/panic"));
    }
}
