//! The wiring: a pair of links per pod, routed by the node. It is made inside the pod's namespace with the peer placed in the
//! node's, since gVisor moves no link afterwards.
//!
//! There is no bridge: gVisor's hands every frame between two pods to the node's own stack as well, which forwards it, so that it
//! arrives twice and TCP between pods breaks as soon as the node forwards at all. Instead the gateway's address is on the node's end of
//! each pair, the pod's address is a single one, and a route on the node leads to it. All that pods send passes the node.

use std::net::IpAddr;

use ipnet::IpNet;

use super::antispoof;
use super::error::CniError;
use super::links::Link;
use super::netlink::Netlink;
use super::netns::Netns;
use super::result::{Interface, Outcome};
use super::state::Id;

/// The kernel's own choice for new links.
const USUAL_MTU: u32 = 1500;

/// What is to be wired.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Plug<'a> {
    pub id: &'a Id,
    pub mtu: Option<u32>,
    pub node: &'a Netns,
    pub pod: &'a Netns,
}

/// The MTU to ask for: the configured one, or that of the way out where it is less than usual; else the kernel's.
pub fn mtu(configured: Option<u32>, uplink: Option<u32>) -> Option<u32> {
    configured.filter(|mtu| *mtu != 0).or(uplink.filter(|mtu| (1..USUAL_MTU).contains(mtu)))
}

/// Opens a socket in this thread's namespace.
pub fn open() -> Result<Netlink, CniError> {
    Netlink::open().map_err(CniError::network("open a netlink socket"))
}

impl Plug<'_> {
    /// Whether the pod has a link of that name already.
    pub fn taken(&self) -> Result<bool, CniError> {
        let name = &self.id.ifname;
        self.pod.inside(|| {
            let found = open()?.link(name);
            Ok(found.map_err(CniError::network(format!("look for {name} in the pod")))?.is_some())
        })
    }

    /// Makes the pair and sets both ends up. Returns the node's and the pod's.
    pub fn make(&self, node: &mut Netlink, outcome: &Outcome) -> Result<(Interface, Interface), CniError> {
        let peer = self.id.host_link();
        let pod_end = self.pod.inside(|| self.make_inside(&peer, outcome))?;
        let failed =
            |what: &str| CniError::network(format!("{what} {peer}, the node's end of the pod's link"));
        let link = must(node, &peer)?;
        for gateway in outcome.ips.iter().filter_map(|ip| ip.gateway) {
            node.add_address(link.index, gateway.into()).map_err(failed("give an address to"))?;
        }
        // Before it carries anything.
        antispoof::guard(&peer);
        node.up(link.index).map_err(failed("take up"))?;
        for ip in &outcome.ips {
            node.add_route(link.index, ip.address, None)
                .map_err(CniError::network(format!("add the node's route to {}", ip.address)))?;
        }
        Ok((Interface { name: peer.clone(), mac: link.mac, sandbox: None }, pod_end))
    }

    fn make_inside(&self, peer: &str, outcome: &Outcome) -> Result<Interface, CniError> {
        let name = &self.id.ifname;
        let failed = |what: &str| CniError::network(format!("{what} {name} in the pod"));
        let mut pod = open()?;
        if let Some(lo) = pod.link("lo").map_err(failed("look beside"))? {
            pod.up(lo.index).map_err(CniError::network("take up lo in the pod"))?;
        }
        pod.make_pair(name, peer, self.node.number(), self.mtu).map_err(failed("make"))?;
        let link = must(&mut pod, name)?;
        for ip in &outcome.ips {
            pod.add_address(link.index, ip.address).map_err(failed("give an address to"))?;
        }
        pod.up(link.index).map_err(failed("take up"))?;
        // The gateways first: Linux takes no route by one that it cannot reach.
        let gateways = outcome.ips.iter().filter_map(|ip| Some((IpNet::from(ip.gateway?), None)));
        let others = outcome.all_routes().into_iter().map(|route| (route.dst, outcome.gateway_of(&route)));
        for (to, gateway) in gateways.chain(others) {
            pod.add_route(link.index, to, gateway)
                .map_err(CniError::network(format!("add the route to {to} in the pod")))?;
        }
        Ok(Interface { name: name.clone(), mac: link.mac, sandbox: None })
    }
}

/// Removes the node's end, and the pod's with it; then the pod's end by its name, if its namespace still exists.
pub fn unplug(node: &mut Netlink, pod: Option<&Netns>, id: &Id) -> Result<(), CniError> {
    let peer = id.host_link();
    node.remove(&peer).map_err(CniError::network(format!("remove {peer}")))?;
    let Some(pod) = pod else { return Ok(()) };
    let failed = || CniError::network(format!("remove {} in the pod", id.ifname));
    pod.inside(|| open()?.remove(&id.ifname).map_err(failed()))
}

/// In what the wiring differs from what ADD answered, if it does.
pub fn difference(
    plug: &Plug<'_>,
    node: &mut Netlink,
    outcome: &Outcome,
) -> Result<Option<String>, CniError> {
    let failed = || CniError::network("read the node's links");
    let peer = plug.id.host_link();
    let Some(link) = node.link(&peer).map_err(failed())? else {
        return Ok(Some(format!("{peer}, the node's end of the pod's link, is gone")));
    };
    let held = node.addresses(Some(link.index)).map_err(failed())?;
    let mut gateways = outcome.ips.iter().filter_map(|ip| ip.gateway);
    if let Some(lost) = gateways.find(|gateway| !holds(&held, *gateway)) {
        return Ok(Some(format!("{peer} has lost the gateway's address {lost}")));
    }
    for ip in &outcome.ips {
        if !node.has_route(link.index, ip.address).map_err(failed())? {
            return Ok(Some(format!("the node has lost its route to {}", ip.address)));
        }
    }
    plug.pod.inside(|| difference_inside(&plug.id.ifname, outcome))
}

fn difference_inside(name: &str, outcome: &Outcome) -> Result<Option<String>, CniError> {
    let failed = || CniError::network("read the pod's links");
    let mut pod = open()?;
    let Some(Link { index, .. }) = pod.link(name).map_err(failed())? else {
        return Ok(Some(format!("{name} is gone from the pod")));
    };
    let held = pod.addresses(Some(index)).map_err(failed())?;
    if let Some(lost) = outcome.ips.iter().find(|ip| !held.contains(&ip.address)) {
        return Ok(Some(format!("{name} has lost the address {}", lost.address)));
    }
    for route in outcome.all_routes() {
        if !pod.has_route(index, route.dst).map_err(failed())? {
            return Ok(Some(format!("the pod has lost its route to {}", route.dst)));
        }
    }
    Ok(None)
}

fn holds(held: &[IpNet], address: IpAddr) -> bool {
    held.iter().any(|net| net.addr() == address)
}

fn must(socket: &mut Netlink, name: &str) -> Result<Link, CniError> {
    let found = socket.link(name).map_err(CniError::network(format!("look for {name}")))?;
    found.ok_or_else(|| CniError::Attachment(format!("{name} was made and is not there")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mtu_is_the_configured_one_or_a_small_way_outs() {
        assert_eq!(mtu(Some(1400), Some(1300)), Some(1400));
        assert_eq!(mtu(None, Some(1300)), Some(1300));
        assert_eq!(mtu(Some(0), Some(9000)), None);
        assert_eq!(mtu(None, None), None);
    }
}
