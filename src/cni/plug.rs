//! The wiring: a bridge on the node, and a pair of links between it and a pod. It is made inside the pod's namespace with the
//! peer placed in the node's, since gVisor moves no link afterwards.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::link::LinkAttribute;
use nix::errno::Errno;

use super::error::CniError;
use super::links::Link;
use super::netlink::Netlink;
use super::netns::Netns;
use super::result::{Interface, Outcome};
use super::state::Id;

/// The kernel's own choice for new links.
const USUAL_MTU: u32 = 1500;

/// What is to be wired.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Plug<'a> {
    pub id: &'a Id,
    pub bridge: &'a str,
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

/// Makes the bridge if it is not there, gives it the gateways' addresses and takes it up.
pub fn ensure_bridge(
    node: &mut Netlink,
    name: &str,
    gateways: &[IpNet],
    mtu: Option<u32>,
) -> Result<Link, CniError> {
    let failed = |what: &str| CniError::network(format!("{what} bridge {name}"));
    if node.link(name).map_err(failed("look for"))?.is_none() {
        match node.make_bridge(name) {
            Err(error) if error.raw_os_error() != Some(Errno::EEXIST as i32) => {
                return Err(failed("make")(error));
            }
            _ => {}
        }
        settle(node, name, gateways, mtu);
    }
    let bridge = must(node, name)?;
    for gateway in gateways {
        node.add_address(bridge.index, *gateway).map_err(failed("give an address to"))?;
    }
    node.up(bridge.index).map_err(failed("take up"))?;
    Ok(bridge)
}

/// A bridge's hardware address follows its ports' unless it is set, and pods would send to the old one for a while. Where it
/// cannot be set (gVisor does not say) it does not follow either.
fn settle(node: &mut Netlink, name: &str, gateways: &[IpNet], mtu: Option<u32>) {
    let Ok(Some(bridge)) = node.link(name) else { return };
    let v4 = gateways.iter().find_map(|net| match net.addr() {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    });
    if let Some([a, b, c, d]) = v4 {
        let _ = node.set(bridge.index, LinkAttribute::Address(vec![0x0a, 0x58, a, b, c, d]));
    }
    if let Some(mtu) = mtu {
        let _ = node.set(bridge.index, LinkAttribute::Mtu(mtu));
    }
}

/// The addresses that the bridge needs for these leases.
pub fn gateways(outcome: &Outcome) -> Vec<IpNet> {
    let of = |ip: &super::result::Address| IpNet::new(ip.gateway?, ip.address.prefix_len()).ok();
    outcome.ips.iter().filter_map(of).collect()
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

    /// Makes the pair, sets the pod's end up and puts the node's end on the bridge. Returns both ends.
    pub fn make(
        &self,
        node: &mut Netlink,
        bridge: &Link,
        outcome: &Outcome,
    ) -> Result<(Interface, Interface), CniError> {
        let peer = self.id.host_link();
        let pod_end = self.pod.inside(|| self.make_inside(&peer, outcome))?;
        let failed =
            |what: &str| CniError::network(format!("{what} {peer}, the node's end of the pod's link"));
        let link = must(node, &peer)?;
        node.set(link.index, LinkAttribute::Controller(bridge.index)).map_err(failed("put on the bridge"))?;
        node.up(link.index).map_err(failed("take up"))?;
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
        for route in outcome.all_routes() {
            pod.add_route(link.index, route.dst, outcome.gateway_of(&route))
                .map_err(CniError::network(format!("add the route to {} in the pod", route.dst)))?;
        }
        Ok(Interface { name: name.clone(), mac: link.mac, sandbox: None })
    }
}

/// Removes the node's end, and the pod's with it; then the pod's end by its name, if its namespace still exists.
pub fn unplug(node: &mut Netlink, pod: Option<&Netns>, id: &Id) -> Result<(), CniError> {
    let peer = id.host_link();
    node.remove(&peer).map_err(CniError::network(format!("remove {peer}")))?;
    let Some(pod) = pod else { return Ok(()) };
    pod.inside(|| {
        open()?.remove(&id.ifname).map_err(CniError::network(format!("remove {} in the pod", id.ifname)))
    })
}

/// In what the wiring differs from what ADD answered, if it does.
pub fn difference(
    plug: &Plug<'_>,
    node: &mut Netlink,
    outcome: &Outcome,
) -> Result<Option<String>, CniError> {
    let failed = || CniError::network("read the node's links");
    let peer = plug.id.host_link();
    let Some(bridge) = node.link(plug.bridge).map_err(failed())? else {
        return Ok(Some(format!("the bridge {} is gone", plug.bridge)));
    };
    let held = node.addresses(Some(bridge.index)).map_err(failed())?;
    if let Some(lost) = gateways(outcome).into_iter().find(|gateway| !held.contains(gateway)) {
        return Ok(Some(format!("the bridge {} has lost the address {lost}", plug.bridge)));
    }
    match node.link(&peer).map_err(failed())? {
        None => return Ok(Some(format!("{peer}, the node's end of the pod's link, is gone"))),
        // Old gVisor does not say what a port belongs to.
        Some(link) if link.master.is_some_and(|master| master != bridge.index) => {
            return Ok(Some(format!("{peer} is a port of another bridge")));
        }
        Some(_) => {}
    }
    plug.pod.inside(|| difference_inside(&plug.id.ifname, outcome))
}

fn difference_inside(name: &str, outcome: &Outcome) -> Result<Option<String>, CniError> {
    let failed = || CniError::network("read the pod's links");
    let mut pod = open()?;
    let Some(link) = pod.link(name).map_err(failed())? else {
        return Ok(Some(format!("{name} is gone from the pod")));
    };
    let held = pod.addresses(Some(link.index)).map_err(failed())?;
    if let Some(lost) = outcome.ips.iter().find(|ip| !held.contains(&ip.address)) {
        return Ok(Some(format!("{name} has lost the address {}", lost.address)));
    }
    let Some((_, _, gateway)) = outcome.v4() else { return Ok(None) };
    let own_default = outcome.routes.iter().any(|route| route.dst.prefix_len() == 0);
    let defaults = pod.defaults().map_err(failed())?;
    let there = defaults.iter().any(|one| one.link == link.index && one.gateway == Some(gateway.into()));
    Ok((!there && !own_default).then(|| format!("the pod has lost its default route by {gateway}")))
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

    #[test]
    fn the_bridge_gets_the_gateways_with_the_subnets_length() {
        let outcome: Outcome = serde_json::from_str(
            r#"{"ips":[{"address":"10.42.0.5/24","gateway":"10.42.0.1"},{"address":"10.43.0.5/24"}]}"#,
        )
        .unwrap();
        assert_eq!(gateways(&outcome), ["10.42.0.1/24".parse::<IpNet>().unwrap()]);
    }
}
