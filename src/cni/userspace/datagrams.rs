//! A pod's datagrams to the outside: a socket of the node for each pair of ends, until both are silent.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::packet::{self, Ends};
use super::places::{Place, Places};

/// Pairs of all pods at a time. A pod that has its share of them, or finds none, forgets the one that is silent for the longest.
static ALL: Places = Places::new(1024);
const SILENT: Duration = Duration::from_secs(60);
/// Answers that are carried in a row before others have their turn.
const IN_A_ROW: usize = 32;
const LARGEST: usize = 65_535;

#[derive(Debug)]
struct Pair {
    socket: UdpSocket,
    heard: Instant,
    _place: Place,
}

/// The pairs of one pod.
#[derive(Debug)]
pub struct Datagrams {
    places: &'static Places,
    pairs: HashMap<Ends, Pair>,
    buffer: Vec<u8>,
}

impl Datagrams {
    /// None yet.
    pub fn new() -> Self {
        Self::with(&ALL)
    }

    fn with(places: &'static Places) -> Self {
        Self { places, pairs: HashMap::new(), buffer: Vec::new() }
    }

    /// Sends one outside. `allowed` is asked about each new pair. What cannot be sent is lost.
    pub fn send(&mut self, ends: Ends, data: &[u8], allowed: impl FnOnce() -> bool) {
        if !self.pairs.contains_key(&ends) {
            if !allowed() {
                return;
            }
            let Ok(socket) = open(ends) else { return };
            let Some(place) = self.place() else { return };
            self.pairs.insert(ends, Pair { socket, heard: Instant::now(), _place: place });
        }
        if let Some(pair) = self.pairs.get_mut(&ends) {
            pair.heard = Instant::now();
            let _ = pair.socket.send(data);
        }
    }

    /// A place for one more, if need be that of another pair of this pod.
    fn place(&mut self) -> Option<Place> {
        if self.pairs.len() >= self.places.share() {
            self.forget_one();
        }
        self.places.take().or_else(|| {
            self.forget_one();
            self.places.take()
        })
    }

    fn forget_one(&mut self) {
        let oldest = self.pairs.iter().min_by_key(|(_, pair)| pair.heard).map(|(ends, _)| *ends);
        if let Some(oldest) = oldest {
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

    fn ends(outside: &UdpSocket, port: usize) -> Ends {
        let SocketAddr::V4(outside) = outside.local_addr().unwrap() else { unreachable!() };
        let port = u16::try_from(port + 1).unwrap();
        Ends { pod: SocketAddrV4::new([10, 42, 0, 5].into(), port), outside }
    }

    #[test]
    fn there_is_room_for_so_many_and_the_silent_ones_go_first() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let most = ALL.share();
        let mut datagrams = Datagrams::new();
        datagrams.send(ends(&server, most), b"x", || false);
        assert_eq!(datagrams.pairs.len(), 0);
        for port in 0..=most {
            datagrams.send(ends(&server, port), b"x", || true);
        }
        assert_eq!(datagrams.pairs.len(), most);
        let has = |port| datagrams.pairs.contains_key(&ends(&server, port));
        assert!(!has(0) && has(most));
    }

    #[test]
    fn all_pods_together_have_so_many() {
        static PLACES: Places = Places::new(8);
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut pods: Vec<_> = (0..5).map(|_| Datagrams::with(&PLACES)).collect();
        let counts = |pods: &[Datagrams]| pods.iter().map(|pod| pod.pairs.len()).collect::<Vec<_>>();
        for pod in &mut pods {
            (0..3).for_each(|port| pod.send(ends(&server, port), b"x", || true));
        }
        assert_eq!(counts(&pods), [2, 2, 2, 2, 0]);
        // One that is below its share where there is none left gives up one of its own.
        pods[0].pairs.remove(&ends(&server, 2));
        (0..2).for_each(|port| pods[4].send(ends(&server, port), b"x", || true));
        assert_eq!(counts(&pods), [1, 2, 2, 2, 1]);
        assert!(pods[4].pairs.contains_key(&ends(&server, 1)));
        pods.remove(1);
        pods[3].send(ends(&server, 2), b"x", || true);
        assert_eq!(counts(&pods), [1, 2, 2, 2]);
    }
}
