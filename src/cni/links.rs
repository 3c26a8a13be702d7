//! Links, addresses and routes, said in the few messages and attributes that gVisor knows as well as Linux.
//!
//! gVisor refuses what it does not know: flags other than IFF_UP, unknown attributes, a route without a device. It does not say
//! of what kind a link is, and by process id a peer silently stays: namespaces are named by descriptor.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
}

/// A route to somewhere: over which link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Way {
    pub to: IpNet,
    pub link: u32,
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

    /// Makes a link of one kind.
    pub fn make_kind(&mut self, name: &str, kind: InfoKind, data: Option<InfoData>) -> io::Result<()> {
        let mut message = named(name);
        let info = std::iter::once(LinkInfo::Kind(kind)).chain(data.map(LinkInfo::Data)).collect();
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.change(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Of what kind the link of that name is, if the kernel says so.
    pub fn kind(&mut self, name: &str) -> io::Result<Option<InfoKind>> {
        let Some(Message::NewLink(message)) = self.get(Message::GetLink(named(name)))? else {
            return Ok(None);
        };
        let told = message.attributes.into_iter().filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(info) => Some(info),
            _ => None,
        });
        Ok(told.flatten().find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind),
            _ => None,
        }))
    }

    /// Takes a link up.
    pub fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = at(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(Message::NewLink(message), 0)
    }

    /// How long a packet may be on a link.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        let mut message = at(index);
        message.attributes.push(LinkAttribute::Mtu(mtu));
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

    /// The links of the IPv4 default routes, best first where the kernel sorts them.
    pub fn defaults(&mut self) -> io::Result<Vec<u32>> {
        let ways = self.ways(AddressFamily::Inet)?;
        Ok(ways.into_iter().filter(|way| way.to.prefix_len() == 0).map(|way| way.link).collect())
    }

    /// Whether there is a route to exactly this over that link.
    pub fn has_route(&mut self, index: u32, to: IpNet) -> io::Result<bool> {
        Ok(self.ways(family(to.addr()))?.contains(&Way { to: to.trunc(), link: index }))
    }

    fn ways(&mut self, family: AddressFamily) -> io::Result<Vec<Way>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        Ok(self.dump(Message::GetRoute(message))?.into_iter().filter_map(read_way).collect())
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

fn read_way(message: Message) -> Option<Way> {
    let Message::NewRoute(message) = message else { return None };
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let (mut link, mut to) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => to = Some(IpAddr::V4(*ip)),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => to = Some(IpAddr::V6(*ip)),
            _ => {}
        }
    }
    let to = to.or_else(|| match header.address_family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    })?;
    Some(Way { to: IpNet::new(to, header.destination_prefix_length).ok()?, link: link? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(to: &str, gateway: Option<&str>) -> (RouteMessage, Option<Way>) {
        let message = route(7, to.parse().unwrap(), gateway.map(|text| text.parse().unwrap()));
        (message.clone(), read_way(Message::NewRoute(message)))
    }

    #[test]
    fn a_default_route_names_its_device_and_no_destination() {
        let (message, way) = read("0.0.0.0/0", Some("10.42.0.1"));
        assert!(message.attributes.contains(&RouteAttribute::Oif(7)));
        assert!(!message.attributes.iter().any(|one| matches!(one, RouteAttribute::Destination(_))));
        assert_eq!(way, Some(Way { to: "0.0.0.0/0".parse().unwrap(), link: 7 }));
    }

    #[test]
    fn a_route_to_one_address_is_read_as_it_was_written() {
        for to in ["10.42.0.5/32", "2001:db8::5/128"] {
            assert_eq!(read(to, None).1, Some(Way { to: to.parse().unwrap(), link: 7 }));
        }
    }
}
