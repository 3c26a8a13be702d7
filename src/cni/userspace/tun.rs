//! The link by which a pod's packets come to the server: a TUN device in the pod's namespace, beside the pair that leads to the
//! node. If the server ends, the link goes, its routes with it, and what leads to the node and to other pods stays.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use ipnet::{IpNet, Ipv4Net};

use super::Way;
use crate::cni::error::CniError;
use crate::cni::netns::{self, Netns};
use crate::cni::plug;
use crate::sys;

/// The link's name in the pod.
const NAME: &str = "sandbar-out";

/// What fits into one packet: most datagrams whole, and fewer packets for a connection than on a wire.
pub const MTU: usize = 16 << 10;

/// Whether this kernel has TUN devices that can be made in a pod's namespace and carry routes; why not, if it has none.
/// Tried once.
pub fn usable() -> Result<(), String> {
    static TRIED: OnceLock<Result<(), String>> = OnceLock::new();
    let tried = || netns::inside_fresh(|| make(Ipv4Addr::new(192, 0, 2, 1)).map(drop));
    TRIED.get_or_init(|| tried().map_err(|error| error.to_string())).clone()
}

/// Makes the link in the pod and leads all by it that is for nobody inside.
pub fn open(pod: &Netns, way: &Way) -> Result<OwnedFd, CniError> {
    pod.inside(|| {
        let mut socket = plug::open()?;
        let failed = |what: String| CniError::network(format!("{what} in the pod"));
        let link = socket.link(&way.link).map_err(failed(format!("look for {}", way.link)))?;
        let link = link.ok_or_else(|| CniError::Attachment(format!("{} is gone from the pod", way.link)))?;
        for net in &way.inside {
            let route = socket.add_route(link.index, IpNet::V4(*net), Some(way.gateway.into()));
            route.map_err(failed(format!("add the route to {net}")))?;
        }
        make(way.address)
    })
}

fn make(address: Ipv4Addr) -> Result<OwnedFd, CniError> {
    let failed = |what: &str| CniError::network(format!("{what} the link {NAME} in the pod"));
    let device = sys::tun::open(NAME).map_err(failed("make"))?;
    let mut socket = plug::open()?;
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let link = socket.link(NAME).and_then(|found| found.ok_or_else(missing)).map_err(failed("find"))?;
    socket.add_address(link.index, IpAddr::V4(address).into()).map_err(failed("give an address to"))?;
    socket.set_mtu(link.index, MTU as u32).map_err(failed("give an MTU to"))?;
    socket.up(link.index).map_err(failed("take up"))?;
    for half in halves() {
        socket.add_route(link.index, IpNet::V4(half), None).map_err(failed("lead packets to"))?;
    }
    Ok(device)
}

/// The two halves of all addresses: together they go before the default route, which stays for when the link is gone.
fn halves() -> [Ipv4Net; 2] {
    [Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(128, 0, 0, 0)].map(|first| Ipv4Net::new_assert(first, 1))
}
