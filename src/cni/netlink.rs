//! rtnetlink, one request at a time: a socket of the thread's network namespace, a message out, its answer in.
//!
//! Blocking and with a time limit, so that it works on a thread that has entered a pod's namespace without a runtime there.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// The kernel answers at once, or not at all.
const LIMIT: i64 = 5;
/// Linux and gVisor send at most 32 KiB at once.
const BUFFER: usize = 64 << 10;
const LENGTH: usize = size_of::<u32>();

/// A socket.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens one in the network namespace of this thread, where it stays.
    pub fn open() -> io::Result<Self> {
        let kind =
            (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
        let socket = socket(kind.0, kind.1, kind.2, kind.3)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(LIMIT, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes a change.
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(drop)
    }

    /// Asks for one object.
    pub fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        self.ask(message, NLM_F_REQUEST).map(|mut found| found.pop())
    }

    /// Asks for all objects.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.ask(message, NLM_F_REQUEST | NLM_F_DUMP)
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let request = encode(message, flags, self.sequence);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let one = flags & (NLM_F_DUMP | NLM_F_ACK) == 0;
        let mut answers = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            if decode(&buffer[..length], self.sequence, &mut answers)? || (one && !answers.is_empty()) {
                return Ok(answers);
            }
        }
    }
}

fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// Takes the messages of one datagram; true when the answer is complete.
fn decode(mut bytes: &[u8], sequence: u32, answers: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
    while let Some(length) = bytes.first_chunk::<LENGTH>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let Some((message, _)) = bytes.split_at_checked(length).filter(|_| length >= LENGTH) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut off"));
        };
        bytes = bytes.get(length.next_multiple_of(LENGTH)..).unwrap_or_default();
        // An object with something in it that the crate cannot read is none that we made.
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else { continue };
        if message.header.sequence_number != sequence {
            continue;
        }
        match message.payload {
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    #[test]
    fn what_is_encoded_can_be_read_and_belongs_to_its_request() {
        let mut bytes = encode(RouteNetlinkMessage::NewLink(LinkMessage::default()), NLM_F_REQUEST, 7);
        bytes.extend(encode(RouteNetlinkMessage::NewLink(LinkMessage::default()), NLM_F_REQUEST, 8));
        let mut answers = Vec::new();
        assert!(!decode(&bytes, 7, &mut answers).unwrap());
        assert_eq!(answers.len(), 1);
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let bytes = encode(RouteNetlinkMessage::NewLink(LinkMessage::default()), NLM_F_REQUEST, 7);
        for length in 0..bytes.len() {
            let _ = decode(&bytes[..length], 7, &mut Vec::new());
        }
        decode(&[0; 64], 7, &mut Vec::new()).unwrap_err();
    }

    #[test]
    fn the_loopback_is_there() {
        let found =
            Netlink::open().unwrap().dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).unwrap();
        assert!(!found.is_empty());
    }
}
