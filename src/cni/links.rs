//! Links, addresses and routes, said in the few messages and attributes that gVisor knows as well as Linux.
//!
//! gVisor refuses what it does not know: flags other than IFF_UP, unknown attributes, a route without a device. It does not say
//! of what kind a link is, and by process id a peer silently stays: namespaces are named by descriptor.

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use nix::errno::Errno;

use super::netlink::Netlink;

/// A link as the kernel tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: String,
    pub mtu: u32,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
}

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Default {
    pub link: u32,
    pub gateway: Option<IpAddr>,
}

impl Netlink {
    /// The link of that name, if there is one.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        match self.get(Message::GetLink(named(name))) {
            Ok(found) => Ok(found.and_then(read_link)),
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let found = self.dump(Message::GetLink(LinkMessage::default()))?;
        Ok(found.into_iter().filter_map(read_link).collect())
    }

    /// Makes a bridge.
    pub fn make_bridge(&mut self, name: &str) -> io::Result<()> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.change(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes a pair of links, one here, its peer in the namespace that a descriptor of this process refers to.
    pub fn make_pair(
        &mut self,
        name: &str,
        peer: &str,
        namespace: RawFd,
        mtu: Option<u32>,
    ) -> io::Result<()> {
        let mut there = named(peer);
        there.attributes.push(LinkAttribute::NetNsFd(namespace));
        let mut here = named(name);
        if let Some(mtu) = mtu {
            there.attributes.push(LinkAttribute::Mtu(mtu));
            here.attributes.push(LinkAttribute::Mtu(mtu));
        }
        here.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(there))),
        ]));
        self.change(Message::NewLink(here), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Takes a link up.
    pub fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = at(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(Message::NewLink(message), 0)
    }

    /// Sets one attribute.
    pub fn set(&mut self, index: u32, attribute: LinkAttribute) -> io::Result<()> {
        let mut message = at(index);
        message.attributes.push(attribute);
        self.change(Message::NewLink(message), 0)
    }

    /// Removes a link; none of that name is fine.
    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        let Some(link) = self.link(name)? else { return Ok(()) };
        match self.change(Message::DelLink(at(link.index)), 0) {
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
            done => done,
        }
    }

    /// Gives a link an address; one that it has already is fine.
    pub fn add_address(&mut self, index: u32, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        if address.addr().is_ipv6() {
            // Nobody else can have it, and the pod is to answer at once.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes =
            vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
        allow_existing(self.change(Message::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Addresses: of one link, or of all.
    pub fn addresses(&mut self, index: Option<u32>) -> io::Result<Vec<IpNet>> {
        let found = self.dump(Message::GetAddress(AddressMessage::default()))?;
        Ok(found.into_iter().filter_map(|message| read_address(message, index)).collect())
    }

    /// Adds a route; one that is there already is fine.
    pub fn add_route(&mut self, index: u32, to: IpNet, gateway: Option<IpAddr>) -> io::Result<()> {
        let message = Message::NewRoute(route(index, to, gateway));
        allow_existing(self.change(message, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// The IPv4 default routes, best first where the kernel sorts them.
    pub fn defaults(&mut self) -> io::Result<Vec<Default>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let found = self.dump(Message::GetRoute(message))?;
        Ok(found.into_iter().filter_map(read_default).collect())
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn at(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn route(index: u32, to: IpNet, gateway: Option<IpAddr>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to.addr());
    message.header.destination_prefix_length = to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.header.kind = RouteType::Unicast;
    if to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(to.network().into()));
    }
    message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

fn allow_existing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => Ok(()),
        done => done,
    }
}

fn read_link(message: Message) -> Option<Link> {
    let Message::NewLink(message) = message else { return None };
    let mut link = Link { index: message.header.index, ..Link::default() };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(master) => link.master = Some(master),
            LinkAttribute::Address(mac) => {
                link.mac = mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
            }
            _ => {}
        }
    }
    Some(link)
}

fn read_address(message: Message, index: Option<u32>) -> Option<IpNet> {
    let Message::NewAddress(message) = message else { return None };
    if index.is_some_and(|index| index != message.header.index) {
        return None;
    }
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

fn read_default(message: Message) -> Option<Default> {
    let Message::NewRoute(message) = message else { return None };
    let header = &message.header;
    let wanted = header.destination_prefix_length == 0
        && header.address_family == AddressFamily::Inet
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast;
    if !wanted {
        return None;
    }
    let (mut link, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(IpAddr::V4(*ip)),
            _ => {}
        }
    }
    Some(Default { link: link?, gateway })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_names_its_device_and_no_destination() {
        let message = route(7, "0.0.0.0/0".parse().unwrap(), Some("10.42.0.1".parse().unwrap()));
        assert!(message.attributes.contains(&RouteAttribute::Oif(7)));
        assert!(!message.attributes.iter().any(|one| matches!(one, RouteAttribute::Destination(_))));
        let read = read_default(Message::NewRoute(message)).unwrap();
        assert_eq!(read, Default { link: 7, gateway: Some("10.42.0.1".parse().unwrap()) });
    }

    #[test]
    fn a_route_to_a_network_is_no_default() {
        let message = route(7, "10.9.0.0/16".parse().unwrap(), None);
        assert!(read_default(Message::NewRoute(message)).is_none());
    }
}
