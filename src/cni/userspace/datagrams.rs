//! A pod's datagrams to the outside: a socket of the node for each pair of ends, until both are silent.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::packet::{self, Ends};

/// Pairs of one pod at a time; beyond that the one that is silent for the longest is forgotten.
const MOST: usize = 256;
const SILENT: Duration = Duration::from_secs(60);
/// Answers that are carried in a row before others have their turn.
const IN_A_ROW: usize = 32;
const LARGEST: usize = 65_535;

#[derive(Debug)]
struct Pair {
    socket: UdpSocket,
    heard: Instant,
}

/// The pairs of one pod.
#[derive(Debug, Default)]
pub struct Datagrams {
    pairs: HashMap<Ends, Pair>,
    buffer: Vec<u8>,
}

impl Datagrams {
    /// Sends one outside. `allowed` is asked about each new pair. What cannot be sent is lost.
    pub fn send(&mut self, ends: Ends, data: &[u8], allowed: impl FnOnce() -> bool) {
        if !self.pairs.contains_key(&ends) {
            if !allowed() {
                return;
            }
            let Ok(socket) = open(ends) else { return };
            self.make_room();
            self.pairs.insert(ends, Pair { socket, heard: Instant::now() });
        }
        if let Some(pair) = self.pairs.get_mut(&ends) {
            pair.heard = Instant::now();
            let _ = pair.socket.send(data);
        }
    }

    fn make_room(&mut self) {
        if self.pairs.len() >= MOST
            && let Some(oldest) = self.pairs.iter().min_by_key(|(_, pair)| pair.heard).map(|(ends, _)| *ends)
        {
            self.pairs.remove(&oldest);
        }
    }

    /// Carries answers to the pod by `write`.
    pub fn turn(&mut self, mut write: impl FnMut(&[u8])) {
        self.buffer.resize(LARGEST, 0);
        self.pairs.retain(|_, pair| pair.heard.elapsed() < SILENT);
        for (ends, pair) in &mut self.pairs {
            for _ in 0..IN_A_ROW {
                // An error is about one that was sent before: nobody listens there.
                let Ok(length) = pair.socket.recv(&mut self.buffer) else { break };
                pair.heard = Instant::now();
                let packet = self.buffer.get(..length).and_then(|data| packet::datagram(*ends, data));
                if let Some(packet) = packet {
                    write(&packet);
                }
            }
        }
    }

    /// Whose answers are waited for.
    pub fn waits(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pairs.values().map(|pair| pair.socket.as_fd())
    }
}

fn open(ends: Ends) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    // Answers of nobody else.
    socket.connect(ends.outside)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, SocketAddrV4};

    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_the_silent_ones_go_first() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(outside) = server.local_addr().unwrap() else { unreachable!() };
        let ends = |port: usize| {
            let port = u16::try_from(port + 1).unwrap();
            Ends { pod: SocketAddrV4::new([10, 42, 0, 5].into(), port), outside }
        };
        let mut datagrams = Datagrams::default();
        datagrams.send(ends(MOST), b"x", || false);
        assert_eq!(datagrams.pairs.len(), 0);
        for port in 0..=MOST {
            datagrams.send(ends(port), b"x", || true);
        }
        assert_eq!(datagrams.pairs.len(), MOST);
        assert!(!datagrams.pairs.contains_key(&ends(0)) && datagrams.pairs.contains_key(&ends(MOST)));
    }
}
