//! Which pod networks are set up on this machine, on record until they are cleared: rules of the nat table, links and leases
//! outlive the supervisor.

use std::fs;
use std::path::PathBuf;

use super::Network;
use crate::supervisor::files;

/// Those that leave something, and their names on record.
const LEAVING: [(Network, &str); 2] = [(Network::Bridge, "bridge"), (Network::Flannel, "flannel")];

/// The networks on record.
#[derive(Debug)]
pub struct Wired {
    record: PathBuf,
    /// That of the pods that run, or are about to.
    current: Option<Network>,
    /// Those of which something is left.
    stale: Vec<Network>,
}

impl Wired {
    /// As an earlier supervisor has left it. A record that cannot be read is as good as none.
    pub fn load(record: PathBuf) -> Self {
        let text = fs::read_to_string(&record).unwrap_or_default();
        let stale = text.lines().filter_map(|line| LEAVING.iter().find(|(_, name)| *name == line));
        Self { record, current: None, stale: stale.map(|(network, _)| *network).collect() }
    }

    /// Takes note of the network that pods get from now on. Returns those that are to be cleared before: not the one in which
    /// pods run, of which the rest is cleared when they have ended.
    pub fn change(&mut self, next: Network) -> Vec<Network> {
        let first = self.current.is_none();
        if self.current != Some(next) {
            self.leave();
            self.current = Some(next);
        }
        self.save();
        self.stale.iter().copied().filter(|old| first || *old != next).collect()
    }

    /// All of them, now that no pod runs.
    pub fn end(&mut self) -> Vec<Network> {
        self.leave();
        self.stale.clone()
    }

    /// Nothing is left of this one.
    pub fn cleared(&mut self, network: Network) {
        self.stale.retain(|old| *old != network);
        self.save();
    }

    fn leave(&mut self) {
        let left = self.current.take().filter(|old| leaves(*old) && !self.stale.contains(old));
        self.stale.extend(left);
    }

    fn save(&self) {
        let current = self.current.iter().filter(|current| !self.stale.contains(current));
        let names = self.stale.iter().chain(current).filter_map(|network| name(*network));
        let text: String = names.map(|name| format!("{name}\n")).collect();
        let saved = match text.is_empty() {
            true => files::remove_if_there(&self.record).map_err(|error| error.to_string()),
            false => self.write(&text),
        };
        if let Err(why) = saved {
            tracing::warn!("the pod network is not on record: {why}");
        }
    }

    fn write(&self, text: &str) -> Result<(), String> {
        if let Some(directory) = self.record.parent() {
            fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        }
        files::write_atomically(&self.record, text.as_bytes()).map_err(|error| error.to_string())
    }
}

fn name(network: Network) -> Option<&'static str> {
    LEAVING.iter().find(|(known, _)| *known == network).map(|(_, name)| *name)
}

fn leaves(network: Network) -> bool {
    name(network).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_supervisor_had_is_cleared_by_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Wired::load(dir.path().join("own/wired"));
        assert_eq!(load().change(Network::Bridge), []);
        // The same network again: its pods have ended with their supervisor.
        let mut next = load();
        assert_eq!(next.change(Network::Bridge), [Network::Bridge]);
        next.cleared(Network::Bridge);
        assert_eq!(next.change(Network::Bridge), [], "it is in use by now");
        assert_eq!(load().change(Network::Flannel), [Network::Bridge]);
        // Not cleared: both are on record.
        assert_eq!(load().end(), [Network::Bridge, Network::Flannel]);
    }

    #[test]
    fn what_could_not_be_cleared_is_tried_again_when_no_pod_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut wired = Wired::load(dir.path().join("wired"));
        wired.change(Network::Bridge);
        assert_eq!(wired.change(Network::Flannel), [Network::Bridge]);
        assert_eq!(wired.change(Network::Flannel), [Network::Bridge], "at each start");
        assert_eq!(wired.change(Network::Bridge), [Network::Flannel], "not what pods get now");
        for old in wired.end() {
            wired.cleared(old);
        }
        assert!(!dir.path().join("wired").exists());
        assert_eq!(wired.change(Network::Off), []);
        assert!(!dir.path().join("wired").exists());
    }
}
