//! Packets as pods send them, which may be anything, and those that are sent to pods.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpPacket, UdpPacket, UdpRepr};

/// Of an IPv4 header without options.
const HEADER: usize = 20;

/// Between whom a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Ends {
    pub pod: SocketAddrV4,
    pub outside: SocketAddrV4,
}

/// What can be carried outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A segment of a connection; whether it opens one.
    Segment { ends: Ends, opens: bool },
    /// A datagram and what it says.
    Datagram { ends: Ends, data: &'a [u8] },
}

/// Reads what the pod at `own` sent. `None`: damaged, a fragment, another's address, another protocol, or for where a pod has no
/// business. The addresses that are the node's own cannot be known here.
pub fn read(own: Ipv4Addr, bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    let whole = packet.frag_offset() == 0 && !packet.more_frags();
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    if packet.version() != 4 || !whole || from != own || !leads_outside(to) {
        return None;
    }
    let ends = |pod: u16, outside: u16| {
        let ends = Ends { pod: SocketAddrV4::new(from, pod), outside: SocketAddrV4::new(to, outside) };
        (pod != 0 && outside != 0).then_some(ends)
    };
    match packet.next_header() {
        IpProtocol::Tcp => {
            let segment = TcpPacket::new_checked(packet.payload()).ok()?;
            let opens = segment.syn() && !segment.ack() && !segment.rst();
            Some(Packet::Segment { ends: ends(segment.src_port(), segment.dst_port())?, opens })
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
            if !datagram.verify_checksum(&IpAddress::Ipv4(from), &IpAddress::Ipv4(to)) {
                return None;
            }
            Some(Packet::Datagram {
                ends: ends(datagram.src_port(), datagram.dst_port())?,
                data: datagram.payload(),
            })
        }
        _ => None,
    }
}

/// Not this host, nobody, several, or reserved.
fn leads_outside(to: Ipv4Addr) -> bool {
    let [first, ..] = to.octets();
    first != 0 && !to.is_loopback() && first < 224
}

/// A datagram from outside for the pod; `None` if it does not fit into a packet.
pub fn datagram(ends: Ends, data: &[u8]) -> Option<Vec<u8>> {
    let (from, to) = (*ends.outside.ip(), *ends.pod.ip());
    let repr = UdpRepr { src_port: ends.outside.port(), dst_port: ends.pod.port() };
    let payload_len = repr.header_len() + data.len();
    let total = HEADER + payload_len;
    u16::try_from(total).ok()?;
    let ip =
        Ipv4Repr { src_addr: from, dst_addr: to, next_header: IpProtocol::Udp, payload_len, hop_limit: 64 };
    let checksums = ChecksumCapabilities::default();
    let mut bytes = vec![0; total];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    ip.emit(&mut packet, &checksums);
    let mut inner = UdpPacket::new_unchecked(packet.payload_mut());
    let (from, to) = (IpAddress::Ipv4(from), IpAddress::Ipv4(to));
    repr.emit(&mut inner, &from, &to, data.len(), |payload| payload.copy_from_slice(data), &checksums);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 5);

    fn ends(outside: [u8; 4]) -> Ends {
        Ends { pod: SocketAddrV4::new(POD, 4000), outside: SocketAddrV4::new(outside.into(), 53) }
    }

    /// The same as the pod would have sent it.
    fn sent(ends: Ends, data: &[u8]) -> Vec<u8> {
        datagram(Ends { pod: ends.outside, outside: ends.pod }, data).unwrap()
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written() {
        let ends = ends([192, 0, 2, 1]);
        assert_eq!(read(POD, &sent(ends, b"who")), Some(Packet::Datagram { ends, data: b"who" }));
        assert_eq!(datagram(ends, &[0; 65_530]), None);
    }

    #[test]
    fn what_is_not_for_outside_or_not_from_the_pod_is_dropped() {
        for to in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 251], [255, 255, 255, 255], [240, 0, 0, 1]] {
            assert_eq!(read(POD, &sent(ends(to), b"x")), None, "{to:?}");
        }
        assert_eq!(read(Ipv4Addr::new(10, 42, 0, 6), &sent(ends([192, 0, 2, 1]), b"x")), None);
    }

    #[test]
    fn fragments_and_damage_are_dropped() {
        let good = sent(ends([192, 0, 2, 1]), b"who");
        for (at, value) in [(6, 0x20), (7, 1), (0, 0x65), (9, 1), (25, 99), (29, b'W')] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert_eq!(read(POD, &bytes), None, "byte {at}");
        }
        for length in 0..good.len() {
            assert_eq!(read(POD, &good[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_pod_sends_is_more_than_dropped(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120), protocol in prop_oneof![Just(6u8), Just(17), any::<u8>()],
        ) {
            let _ = read(POD, &bytes);
            if let Some(header) = bytes.first_chunk_mut::<20>() {
                // So that it gets past the addresses.
                header[0] = 0x45;
                (header[6], header[7], header[9]) = (0, 0, protocol);
                header[12..16].copy_from_slice(&POD.octets());
                header[16..20].copy_from_slice(&[192, 0, 2, 1]);
            }
            let _ = read(POD, &bytes);
        }
    }
}
