//! DEL and GC: everything of an attachment removed, whatever of it exists.

use std::fs;
use std::path::Path;

use super::call::Call;
use super::config::Config;
use super::egress;
use super::error::CniError;
use super::ipam::Ipam;
use super::netlink::Netlink;
use super::netns::Netns;
use super::plug;
use super::ports;
use super::state::{self, Attachment, Id, Store};
use super::userspace::{self, Wants};

/// DEL. What is unknown, or gone already, is fine.
pub fn del(call: &Call, config: &Config, ipam: &Ipam<'_>, store: &Store) -> Result<(), CniError> {
    let id =
        Id { network: config.name.clone(), container: call.container.clone(), ifname: call.ifname.clone() };
    let mut node = plug::open()?;
    match store.attachment(&id)? {
        Some(known) => {
            let path = call.netns.as_deref().unwrap_or(&known.netns);
            let pod = pod(path);
            attachment(&known, pod.as_ref(), &mut node, ipam, store)
        }
        // Not by its name in the pod, where it may be somebody else's.
        None => {
            userspace::release(store.dir());
            let unplugged = plug::unplug(&mut node, None, &id);
            unplugged.and(ipam.del(&id))?;
            store.forget(&id)
        }
    }
}

/// The pod's namespace, if it exists and is not the node's.
fn pod(path: &Path) -> Option<Netns> {
    Netns::open(path).ok().filter(|pod| Netns::own().is_ok_and(|own| !own.is(pod)))
}

/// Removes one that is known, and forgets it when nothing of it is left. All steps are tried; the first failure is told.
pub fn attachment(
    known: &Attachment,
    pod: Option<&Netns>,
    node: &mut Netlink,
    ipam: &Ipam<'_>,
    store: &Store,
) -> Result<(), CniError> {
    let closed = ports::close(known);
    if !known.userspace.is_empty() {
        store.save(&Attachment { userspace: Wants::default(), ..known.clone() })?;
        userspace::release(store.dir());
    }
    let unplugged = plug::unplug(node, pod, &known.id).or_else(|error| unless_gone(error, pod));
    let released = ipam.del(&known.id);
    closed.and(unplugged).and(released)?;
    store.forget(&known.id)
}

/// A path may lead to a file that is a namespace no more: what was in it is gone with it.
fn unless_gone(error: CniError, pod: Option<&Netns>) -> Result<(), CniError> {
    match pod.map(|pod| pod.inside(|| Ok(()))) {
        Some(Err(_)) => Ok(()),
        _ => Err(error),
    }
}

/// GC: removes what belongs to no attachment that the runtime still has.
pub fn gc(config: &Config, ipam: &Ipam<'_>, store: &Store) -> Result<(), CniError> {
    let Some(valid) = &config.valid else {
        return Err(CniError::Config("cni.dev/valid-attachments is missing".into()));
    };
    let wanted = |id: &Id| valid.iter().any(|one| one.container == id.container && one.ifname == id.ifname);
    let mut node = plug::open()?;
    let mut first = Ok(());
    for known in store.attachments()? {
        if known.id.network == config.name && !wanted(&known.id) {
            let pod = pod(&known.netns);
            first = first.and(attachment(&known, pod.as_ref(), &mut node, ipam, store));
        }
    }
    userspace::release(store.dir());
    for id in leases(config) {
        if !wanted(&id) {
            first = first.and(ipam.del(&id));
        }
    }
    let kept: Vec<String> = valid
        .iter()
        .map(|one| Id {
            network: config.name.clone(),
            container: one.container.clone(),
            ifname: one.ifname.clone(),
        })
        .chain(store.attachments()?.into_iter().map(|known| known.id))
        .filter(|id| id.network == config.name)
        .map(|id| id.host_link())
        .collect();
    first.and(stray_links(&mut node, &state::prefix(&config.name), &kept))?;
    // The rules of the way out are for all pods; the next one sets them again.
    if kept.is_empty() { egress::end(config, store) } else { Ok(()) }
}

/// Whose leases the real host-local holds: it has no GC of its own. A file per address names the container and the interface.
fn leases(config: &Config) -> Vec<Id> {
    let entries = fs::read_dir(config.leases()).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_address));
    files.filter_map(|file| lease(&config.name, &fs::read_to_string(file.path()).ok()?)).collect()
}

fn is_address(name: &str) -> bool {
    name.replace('_', ":").parse::<std::net::IpAddr>().is_ok()
}

fn lease(network: &str, text: &str) -> Option<Id> {
    let mut lines = text.lines().map(str::trim);
    let container = lines.next().filter(|line| !line.is_empty())?.to_owned();
    Some(Id { network: network.to_owned(), container, ifname: lines.next()?.to_owned() })
}

/// Removes this network's links that nobody remembers.
fn stray_links(node: &mut Netlink, prefix: &str, kept: &[String]) -> Result<(), CniError> {
    let failed = || CniError::network("remove links that belong to nobody");
    let links = node.links().map_err(failed())?;
    for link in links.iter().filter(|link| link.name.starts_with(prefix) && !kept.contains(&link.name)) {
        node.remove(&link.name).map_err(failed())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_read_as_host_local_writes_them() {
        let id = lease("pods", "abc\r\neth0").unwrap();
        assert_eq!((id.container.as_str(), id.ifname.as_str()), ("abc", "eth0"));
        assert_eq!(lease("pods", ""), None);
        assert!(is_address("10.42.0.5") && !is_address("last_reserved_ip.0") && !is_address("lock"));
    }
}
