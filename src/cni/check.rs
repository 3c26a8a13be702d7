//! CHECK, STATUS and VERSION: questions that change nothing.

use std::path::Path;

use serde_json::{Value, json};

use super::call::Call;
use super::config::{Config, NEWEST, VERSIONS};
use super::egress;
use super::error::CniError;
use super::ipam::Ipam;
use super::iptables::Iptables;
use super::netns::{self, Netns};
use super::plug::{self, Plug};
use super::result::Outcome;
use super::state::{Id, Store};
use super::userspace;

/// CHECK: is everything as ADD answered?
pub fn check(call: &Call, config: &Config, ipam: &Ipam<'_>, store: &Store) -> Result<(), CniError> {
    let id =
        Id { network: config.name.clone(), container: call.container.clone(), ifname: call.ifname.clone() };
    let Some(previous) = &config.prev_result else {
        return Err(CniError::Config("prevResult is missing".into()));
    };
    let previous = Outcome::read(previous)?;
    let different = |what: String| Err(CniError::Different(what));
    let Some(known) = store.attachment(&id)? else {
        return different("this attachment is not known here".into());
    };
    let Some(outcome) = &known.outcome else {
        return different("this attachment was never completed".into());
    };
    if let Some(lost) =
        outcome.ips.iter().find(|ip| !previous.ips.iter().any(|one| one.address == ip.address))
    {
        return different(format!("{} was leased to it, and prevResult does not say so", lost.address));
    }
    let path = call.netns.as_deref().unwrap_or(Path::new(""));
    ipam.check(&id, &path.display().to_string())?;
    let (node, pod) = (Netns::own()?, Netns::open(path)?);
    let plug = Plug { id: &id, mtu: None, node: &node, pod: &pod };
    if let Some(what) = plug::difference(&plug, &mut plug::open()?, outcome)? {
        return different(what);
    }
    if !known.userspace.is_empty() {
        userspace::serve(&config.state_dir, &id.host_link()).or_else(different)?;
    }
    let Some(program) = &known.iptables else { return Ok(()) };
    match Iptables::at(program).missing(&known.rules)?.first() {
        Some(rule) => {
            different(format!("a host port's rule is gone: {} {}", rule.chain, rule.spec.join(" ")))
        }
        None => Ok(()),
    }
}

/// STATUS: could ADD work? A pair of links is made between two namespaces that nobody else sees.
pub fn status(config: &Config, ipam: &Ipam<'_>) -> Result<(), CniError> {
    ipam.answers()?;
    let id = Id { network: "status".into(), container: "status".into(), ifname: "eth0".into() };
    let tried = netns::inside_fresh(|| {
        let node = Netns::own()?;
        let pod = netns::inside_fresh(Netns::own)?;
        let plug = Plug { id: &id, mtu: None, node: &node, pod: &pod };
        plug.make(&mut plug::open()?, &Outcome::default()).map(drop)
    });
    let wired = tried.and_then(|()| egress::can_forward());
    wired.map_err(|error| CniError::Unavailable(error.to_string()))?;
    egress::possible(config)
}

/// VERSION: what is understood.
pub fn versions(asked: Option<&str>) -> Value {
    json!({ "cniVersion": asked.unwrap_or(NEWEST), "supportedVersions": VERSIONS })
}
