//! How pods reach what lies outside the node: which ways there are, which one this kernel has, and setting it up.
//!
//! A further way is a further variant here: found by a probe, set up by [`ensure`], written down like the others.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::config::{Config, Wanted};
use super::error::CniError;
use super::iptables::Iptables;
use super::links::Link;
use super::netlink::Netlink;
use super::result::Outcome;
use super::rules::{self, Choice, Rule};
use super::state::Store;
use super::userspace;

const NO_UPLINK: &str = "the node has no interface that leads outside, or no IPv4 address on it";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// The way out of a network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "way", rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Egress {
    /// The kernel puts the node's address in the place of the pod's: one set of rules for all pods.
    Snat { iptables: PathBuf, rules: Vec<Rule> },
    /// Each pod's packets go to the supervisor, which has no nat table to leave them to, for this reason.
    Userspace { reason: String },
    /// There is none, for this reason.
    None { reason: String },
}

/// What leads outside: the interface and the node's address on it.
pub fn uplink(node: &mut Netlink, config: &Config) -> Result<Option<(Link, Ipv4Addr)>, CniError> {
    let failed = || CniError::network("read the node's routes and addresses");
    let links = node.links().map_err(failed())?;
    let link = if config.host_interface.is_empty() {
        let defaults = node.defaults().map_err(failed())?;
        defaults.first().and_then(|best| links.iter().find(|link| link.index == *best))
    } else {
        links.iter().find(|link| link.name == config.host_interface)
    };
    let Some(link) = link else { return Ok(None) };
    let addresses = node.addresses(Some(link.index)).map_err(failed())?;
    let v4 = addresses.iter().find_map(|net| match net {
        IpNet::V4(net) => Some(net.addr()),
        IpNet::V6(_) => None,
    });
    Ok(v4.map(|address| (link.clone(), address)))
}

/// Finds a way, sets it up and writes it down. Called for every pod; what is set up already stays.
pub fn ensure(
    config: &Config,
    store: &Store,
    up: Option<&(Link, Ipv4Addr)>,
    outcome: &Outcome,
) -> Result<Egress, CniError> {
    let before = store.egress(&config.name)?;
    let refused = |reason| CniError::Rules(format!("pods cannot reach outside: {reason}"));
    let standing = standing(before.as_ref());
    let by_nat =
        || probe(up, outcome, standing.as_ref()).and_then(|(iptables, choice)| set_up(&iptables, &choice));
    let egress = match config.wanted() {
        Wanted::None => {
            Egress::None { reason: "it is switched off in the network's configuration".to_owned() }
        }
        Wanted::Snat => by_nat().map_err(refused)?,
        Wanted::Userspace => {
            userspace::has_way(&config.state_dir).map_err(refused)?;
            Egress::Userspace { reason: "the network's configuration wants it so".to_owned() }
        }
        Wanted::Auto => match (by_nat(), &before) {
            (Ok(egress), _) => egress,
            // Its rules do no harm while nothing leads outside, and serve all pods as soon as something does again.
            (Err(_), Some(before)) if standing.is_some() && up.is_none() => before.clone(),
            // What failed for a moment must not take them away from everybody.
            (Err(reason), _) if standing.is_some() => {
                return Err(CniError::Later(format!("pods' way outside cannot be looked at: {reason}")));
            }
            (Err(reason), _) => match userspace::has_way(&config.state_dir) {
                Ok(()) => Egress::Userspace { reason },
                Err(neither) => Egress::None { reason: format!("{reason}; {neither}") },
            },
        },
    };
    if before.as_ref() != Some(&egress) {
        if let (Egress::None { reason }, Wanted::Auto) = (&egress, config.wanted()) {
            eprintln!("sandbar-cni: pods cannot reach outside: {reason}");
        }
        if let Some(before) = &before
            && let Err(error) = take_down(before, Some(&egress))
        {
            eprintln!("sandbar-cni: old rules stay: {error}");
        }
        store.save_egress(&config.name, &egress)?;
    }
    Ok(egress)
}

/// Takes a network's way out down, and forgets it: for when no pod is left in it.
pub fn end(config: &Config, store: &Store) -> Result<(), CniError> {
    let Some(before) = store.egress(&config.name)? else { return Ok(()) };
    take_down(&before, None)?;
    store.forget_egress(&config.name)
}

/// Whether there could be a way out as the configuration wants it; why not, if it wants one and there is none.
pub fn possible(config: &Config) -> Result<(), CniError> {
    match config.wanted() {
        Wanted::Auto | Wanted::None => Ok(()),
        Wanted::Userspace => userspace::has_way(&config.state_dir).map_err(CniError::NoWay),
        Wanted::Snat => {
            let mut node = Netlink::open().map_err(CniError::network("open a netlink socket"))?;
            uplink(&mut node, config)?.ok_or_else(|| CniError::NoWay(NO_UPLINK.to_owned()))?;
            Iptables::find().map(drop).map_err(|why| CniError::NoWay(format!("no nat table ({why})")))
        }
    }
}

/// The program that has set the rules of a way, if they may be in force still.
fn standing(before: Option<&Egress>) -> Option<Iptables> {
    let Some(Egress::Snat { iptables, .. }) = before else { return None };
    Some(Iptables::at(iptables)).filter(|iptables| !iptables.is_gone())
}

/// Which way this kernel has; else why there is none.
fn probe(
    up: Option<&(Link, Ipv4Addr)>,
    outcome: &Outcome,
    known: Option<&Iptables>,
) -> Result<(Iptables, Choice), String> {
    let (_, subnet, _) = outcome.v4().ok_or("pods have no IPv4 address")?;
    let (link, address) = up.ok_or(NO_UPLINK)?;
    let iptables = known.cloned().map_or_else(Iptables::find, Ok);
    let iptables = iptables.map_err(|why| format!("no nat table ({why})"))?;
    Ok((iptables, rules::way_out(subnet, &link.name, *address)))
}

fn set_up(iptables: &Iptables, choice: &Choice) -> Result<Egress, String> {
    let rules = iptables.ensure_either(choice).map_err(|error| error.to_string())?;
    Ok(Egress::Snat { iptables: iptables.program().to_owned(), rules })
}

/// Lets packets pass between interfaces: without it no pod reaches anything but its node.
pub fn forward() -> Result<(), CniError> {
    let done = fs::read_to_string(FORWARDING).and_then(|value| match value.trim() {
        "1" => Ok(()),
        _ => fs::write(FORWARDING, "1"),
    });
    done.map_err(CniError::io(format!("write 1 to {FORWARDING}")))
}

/// Whether they pass, or could be let: asked without a change.
pub fn can_forward() -> Result<(), CniError> {
    let possible = fs::read_to_string(FORWARDING).and_then(|value| match value.trim() {
        "1" => Ok(()),
        _ => fs::OpenOptions::new().write(true).open(FORWARDING).map(drop),
    });
    possible.map_err(CniError::io(format!("open {FORWARDING} for writing")))
}

/// Removes the rules of a way that is in force no more, but for those that still are.
fn take_down(before: &Egress, now: Option<&Egress>) -> Result<(), CniError> {
    let Egress::Snat { iptables, rules } = before else { return Ok(()) };
    let kept = match now {
        Some(Egress::Snat { iptables: same, rules }) if same == iptables => rules.as_slice(),
        _ => &[],
    };
    let old: Vec<Rule> = rules.iter().filter(|rule| !kept.contains(rule)).cloned().collect();
    Iptables::at(iptables).remove(&old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_written_down_by_name() {
        let none = Egress::None { reason: "no nat table".into() };
        assert_eq!(serde_json::to_string(&none).unwrap(), r#"{"way":"none","reason":"no nat table"}"#);
        let snat = Egress::Snat { iptables: "/sbin/iptables-legacy".into(), rules: vec![] };
        let text = serde_json::to_string(&snat).unwrap();
        assert_eq!(serde_json::from_str::<Egress>(&text).unwrap(), snat);
    }

    #[test]
    fn without_a_way_out_there_is_a_reason() {
        let reason = probe(None, &Outcome::default(), None).unwrap_err();
        assert!(reason.contains("IPv4"), "{reason}");
    }

    /// A way whose program answers as `script` says, what `ensure` makes of it with an uplink or without, and what is then
    /// written down.
    fn ensured(script: &str, up: bool) -> (Egress, Result<Egress, CniError>, Option<Egress>) {
        let dir = tempfile::tempdir().unwrap();
        let iptables = dir.path().join("iptables");
        fs::write(&iptables, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&iptables, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let outcome = r#"{"cniVersion":"1.1.0","ips":[{"address":"10.42.7.2/24","gateway":"10.42.7.1"}]}"#;
        let outcome = Outcome::read(&serde_json::from_str(outcome).unwrap()).unwrap();
        let config =
            format!(r#"{{"cniVersion":"1.1.0","name":"pods","stateDir":"{}"}}"#, dir.path().display());
        let config = Config::read(config.as_bytes()).unwrap();
        let store = Store::open(dir.path(), std::time::Duration::ZERO).unwrap();
        let rules = rules::way_out("10.42.7.0/24".parse().unwrap(), "eth0", Ipv4Addr::LOCALHOST).preferred;
        let before = Egress::Snat { iptables, rules };
        store.save_egress("pods", &before).unwrap();
        let link = Link { index: 1, name: "eth0".into(), ..Link::default() };
        let up = up.then_some((link, Ipv4Addr::LOCALHOST));
        let now = ensure(&config, &store, up.as_ref(), &outcome);
        (before, now, store.egress("pods").unwrap())
    }

    #[test]
    fn what_fails_for_a_moment_takes_nobody_the_way_outside() {
        let (before, now, written) = ensured("echo 'Another app is holding the lock' >&2; exit 4", true);
        assert_eq!(now.unwrap_err().code(), 11);
        assert_eq!(written, Some(before));
        // No route outside for a moment: the rules are not touched.
        let (before, now, written) = ensured("exit 0", false);
        assert_eq!((now.unwrap(), written), (before.clone(), Some(before)));
    }

    #[test]
    fn another_way_is_looked_for_once_the_table_is_gone() {
        let gone = "echo \"can't initialize iptables table \\`nat': Table does not exist\" >&2; exit 3";
        let (before, now, _) = ensured(gone, true);
        assert_ne!(now.ok(), Some(before));
    }
}
