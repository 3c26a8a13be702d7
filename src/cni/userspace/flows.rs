//! A pod's TCP connections to the outside: the pod talks with a TCP of our own, that with an ordinary socket of the node.
//!
//! A connection is opened outside first. Only then is the pod's opening segment handed to our TCP, with a socket that takes it, or
//! with none, so that the pod is refused what was refused to us.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::packet::Ends;
use super::places::{Place, Places};
use super::tun::MTU;

/// Connections of all pods at a time, of which one pod has its share at most.
static ALL: Places = Places::new(512);
/// Of a connection's data on its way, in each direction.
const BUFFER: usize = 64 << 10;
/// Packets to the pod that wait to be written.
const QUEUE: usize = 64;
const CONNECT: Duration = Duration::from_secs(30);
/// How often a silent pod is asked whether it is still there, and when it is not.
const ALIVE: time::Duration = time::Duration::from_secs(60);
const GONE: time::Duration = time::Duration::from_secs(180);
/// An address for our end that nobody has (RFC 7600): with it the interface takes packets for every other.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

#[derive(Debug)]
enum Stage {
    /// With the segment that asked for it.
    Connecting { opening: Vec<u8>, since: Instant },
    /// Whether outside, or the pod, has said its last.
    Open { socket: SocketHandle, heard_all: bool, told_all: bool },
}

#[derive(Debug)]
struct Flow {
    stream: TcpStream,
    stage: Stage,
    _place: Place,
}

/// Packets between the pod and our TCP.
#[derive(Debug, Default)]
struct Queues {
    arrived: VecDeque<Vec<u8>>,
    leaving: VecDeque<Vec<u8>>,
}

/// The connections of one pod.
pub struct Flows {
    queues: Queues,
    interface: Interface,
    sockets: SocketSet<'static>,
    flows: HashMap<Ends, Flow>,
    began: Instant,
}

impl Flows {
    /// None yet.
    pub fn new() -> Self {
        let mut queues = Queues::default();
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut queues, time::Instant::ZERO);
        interface.set_any_ip(true);
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(OWN), 32));
        });
        let _ = interface.routes_mut().add_default_ipv4_route(OWN);
        Self {
            queues,
            interface,
            sockets: SocketSet::new(Vec::new()),
            flows: HashMap::new(),
            began: Instant::now(),
        }
    }

    /// Takes a segment of the pod. `allowed` is asked about each new connection.
    pub fn segment(&mut self, ends: Ends, opens: bool, bytes: &[u8], allowed: impl FnOnce() -> bool) {
        match self.flows.get(&ends).map(|flow| &flow.stage) {
            // Asked again: still on it.
            Some(Stage::Connecting { .. }) => return,
            None if opens && self.flows.len() < ALL.share() && allowed() => {
                let opened = ALL.take().and_then(|place| Some((begin(ends.outside).ok()?, place)));
                if let Some((stream, place)) = opened {
                    let stage = Stage::Connecting { opening: bytes.to_vec(), since: Instant::now() };
                    self.flows.insert(ends, Flow { stream, stage, _place: place });
                    return;
                }
            }
            _ => {}
        }
        self.queues.arrived.push_back(bytes.to_vec());
    }

    /// Carries what can be carried; packets for the pod go to `write`.
    pub fn turn(&mut self, mut write: impl FnMut(&[u8])) {
        self.poll(&mut write);
        let connecting: Vec<Ends> =
            self.flows.iter().filter(|(_, flow)| flow.has_result()).map(|(ends, _)| *ends).collect();
        for ends in connecting {
            self.settle(ends, &mut write);
        }
        for flow in self.flows.values_mut() {
            if let Stage::Open { socket, heard_all, told_all } = &mut flow.stage {
                let socket = self.sockets.get_mut::<Socket<'_>>(*socket);
                if pump(&mut flow.stream, socket, heard_all, told_all).is_err() {
                    socket.abort();
                }
            }
        }
        self.poll(&mut write);
        let over: Vec<_> = self.flows.extract_if(|_, flow| flow.is_over(&self.sockets)).collect();
        for (_, flow) in over {
            if let Stage::Open { socket, .. } = flow.stage {
                self.sockets.remove(socket);
            }
        }
    }

    /// A connection outside was made or refused.
    fn settle(&mut self, ends: Ends, write: &mut impl FnMut(&[u8])) {
        let Some(mut flow) = self.flows.remove(&ends) else { return };
        let Stage::Connecting { opening, .. } = &mut flow.stage else { return };
        let opening = std::mem::take(opening);
        let made = flow.stream.peer_addr().is_ok();
        if made {
            let _ = flow.stream.set_nodelay(true);
            let mut socket =
                Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
            socket.set_nagle_enabled(false);
            socket.set_ack_delay(None);
            socket.set_keep_alive(Some(ALIVE));
            socket.set_timeout(Some(GONE));
            // Of a new socket and a port that is not 0.
            let _ = socket.listen((IpAddress::Ipv4(*ends.outside.ip()), ends.outside.port()));
            let socket = self.sockets.add(socket);
            flow.stage = Stage::Open { socket, heard_all: false, told_all: false };
            self.flows.insert(ends, flow);
        }
        // At once and alone: a socket that listens takes any port of the pod.
        self.queues.arrived.push_back(opening);
        self.poll(write);
    }

    fn poll(&mut self, write: &mut impl FnMut(&[u8])) {
        loop {
            let waiting = self.queues.arrived.len();
            self.interface.poll(self.now(), &mut self.queues, &mut self.sockets);
            let full = self.queues.leaving.len() >= QUEUE;
            self.queues.leaving.drain(..).for_each(|packet| write(&packet));
            if !full && (self.queues.arrived.is_empty() || self.queues.arrived.len() == waiting) {
                return;
            }
        }
    }

    /// When to take the next turn if nothing happens.
    pub fn delay(&mut self) -> Option<Duration> {
        let now = self.now();
        self.interface.poll_delay(now, &self.sockets).map(Duration::from)
    }

    /// What is waited for outside.
    pub fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.flows.values().filter_map(|flow| {
            let mut flags = PollFlags::empty();
            match flow.stage {
                Stage::Connecting { .. } => flags |= PollFlags::POLLOUT,
                Stage::Open { socket, heard_all, .. } => {
                    let socket = self.sockets.get::<Socket<'_>>(socket);
                    flags.set(PollFlags::POLLIN, !heard_all && socket.can_send());
                    flags.set(PollFlags::POLLOUT, socket.can_recv());
                }
            }
            // Asked about nothing, the kernel would still tell of an end that we know of, again and again.
            (!flags.is_empty()).then(|| (flow.stream.as_fd(), flags))
        })
    }

    fn now(&self) -> time::Instant {
        time::Instant::from_micros(i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

impl Flow {
    /// Whether a connection that was being made is made, refused or given up.
    fn has_result(&self) -> bool {
        let Stage::Connecting { since, .. } = &self.stage else { return false };
        let failed = !matches!(self.stream.take_error(), Ok(None));
        failed || self.stream.peer_addr().is_ok() || since.elapsed() > CONNECT
    }

    /// Whether nothing remains to be carried. What stays at the pod for its own reasons is not waited for.
    fn is_over(&self, sockets: &SocketSet<'_>) -> bool {
        let Stage::Open { socket, told_all, .. } = self.stage else { return false };
        let socket = sockets.get::<Socket<'_>>(socket);
        match socket.state() {
            State::Listen => true,
            State::Closed => !socket.can_recv(),
            State::TimeWait => told_all,
            _ => false,
        }
    }
}

/// Begins to connect, without waiting.
fn begin(to: SocketAddrV4) -> io::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = TcpStream::from(socket(AddressFamily::Inet, SockType::Stream, flags, None)?);
    match connect(std::os::fd::AsRawFd::as_raw_fd(&stream), &SockaddrIn::from(to)) {
        // Refused at once is told like refused later.
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(stream),
        Err(errno) => Err(errno.into()),
    }
}

/// Moves what either side has for the other. An error ends the connection.
fn pump(
    stream: &mut TcpStream,
    socket: &mut Socket<'_>,
    heard_all: &mut bool,
    told_all: &mut bool,
) -> io::Result<()> {
    while socket.can_recv() {
        let wrote = socket.recv(|data| match stream.write(data) {
            Ok(count) => (count, Ok(count)),
            Err(error) => (0, Err(error)),
        });
        match wrote.map_err(|_| ErrorKind::NotConnected)? {
            Ok(_) => {}
            Err(error) if blocks(&error) => break,
            Err(error) => return Err(error),
        }
    }
    let said_last = matches!(
        socket.state(),
        State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
    );
    if said_last && !socket.can_recv() && !*told_all {
        *told_all = true;
        stream.shutdown(Shutdown::Write)?;
    }
    while socket.can_send() && !*heard_all {
        let read = socket.send(|room| match stream.read(room) {
            Ok(count) => (count, Ok(count)),
            Err(error) => (0, Err(error)),
        });
        match read.map_err(|_| ErrorKind::NotConnected)? {
            Ok(0) => {
                *heard_all = true;
                socket.close();
            }
            Ok(_) => {}
            Err(error) if blocks(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn blocks(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[derive(Debug)]
struct Arrived(Vec<u8>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

#[derive(Debug)]
struct Leaving<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let written = write(&mut packet);
        self.0.push_back(packet);
        written
    }
}

impl Device for Queues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Arrived, Leaving<'_>)> {
        if self.leaving.len() >= QUEUE {
            return None;
        }
        Some((Arrived(self.arrived.pop_front()?), Leaving(&mut self.leaving)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Leaving<'_>> {
        (self.leaving.len() < QUEUE).then_some(Leaving(&mut self.leaving))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    #[test]
    fn a_pod_has_its_share_of_the_connections_and_another_one_gets_some_then() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(outside) = server.local_addr().unwrap() else { unreachable!() };
        let ends = |port: usize| {
            let port = u16::try_from(port + 1).unwrap();
            Ends { pod: SocketAddrV4::new([10, 42, 0, 5].into(), port), outside }
        };
        let (mut greedy, mut others) = (Flows::new(), [Flows::new(), Flows::new()]);
        for port in 0..300 {
            greedy.segment(ends(port), true, b"", || true);
        }
        assert_eq!((greedy.flows.len(), ALL.share()), (128, 128));
        for other in &mut others {
            (0..150).for_each(|port| other.segment(ends(port), true, b"", || true));
            assert_eq!(other.flows.len(), 128);
        }
    }
}
