//! Traffic from inside namespaces: a server that tells a client who it is and can call it back, and clients.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

const LIMIT: Duration = Duration::from_secs(5);

/// Does something in a namespace (`None`: where we are), on a thread that ends with it.
pub fn within<T: Send>(netns: Option<&str>, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(netns);
            work()
        });
        thread.join().unwrap()
    })
}

fn enter(netns: Option<&str>) {
    if let Some(name) = netns {
        setns(File::open(format!("/run/netns/{name}")).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    }
}

/// Starts a server for as long as this process lives, for TCP and for UDP. It answers a line with the address that the client
/// has for it, or, asked `back PORT` by TCP, with what the client's address answers at that port, or, asked `bytes COUNT`, with so many.
pub fn serve(netns: Option<&str>, address: SocketAddr) -> SocketAddr {
    let listener = within(netns, || TcpListener::bind(address).unwrap());
    let bound = listener.local_addr().unwrap();
    let datagrams = within(netns, || UdpSocket::bind(bound).unwrap());
    thread::spawn(move || {
        while let Ok((_, peer)) = datagrams.recv_from(&mut [0; 64]) {
            let _ = datagrams.send_to(peer.ip().to_string().as_bytes(), peer);
        }
    });
    let netns = netns.map(str::to_owned);
    thread::spawn(move || {
        enter(netns.as_deref());
        for client in listener.incoming().flatten() {
            thread::spawn(move || answer(client));
        }
    });
    bound
}

fn answer(mut client: TcpStream) -> io::Result<()> {
    let peer = client.peer_addr()?.ip();
    let mut line = String::new();
    BufReader::new(client.try_clone()?).read_line(&mut line)?;
    if let Some(count) = line.trim().strip_prefix("bytes ").and_then(|count| count.parse().ok()) {
        return client.write_all(&vec![b'x'; count]);
    }
    let said = match line.trim().strip_prefix("back ").and_then(|port| port.parse().ok()) {
        Some(port) => ask(SocketAddr::new(peer, port), "who").unwrap_or_else(|error| error.to_string()),
        None => peer.to_string(),
    };
    client.write_all(said.as_bytes())
}

/// What the server at `address` answers.
pub fn ask(address: SocketAddr, question: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// The same from inside a namespace.
pub fn ask_from(
    netns: Option<&str>,
    address: impl Into<IpAddr>,
    port: u16,
    question: &str,
) -> io::Result<String> {
    let address = SocketAddr::new(address.into(), port);
    within(netns, move || ask(address, question))
}

/// What it answers a datagram from inside a namespace.
pub fn ask_by_datagram(netns: Option<&str>, address: impl Into<IpAddr>, port: u16) -> io::Result<String> {
    let address = SocketAddr::new(address.into(), port);
    within(netns, move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.connect(address)?;
        socket.send(b"who")?;
        let mut said = [0; 64];
        let length = socket.recv(&mut said)?;
        Ok(String::from_utf8_lossy(&said[..length]).into_owned())
    })
}

/// Sends datagrams from one namespace to another; how many arrive.
pub fn datagrams(from: &str, to: &str, address: Ipv4Addr, count: usize) -> usize {
    let receiver = within(Some(to), || UdpSocket::bind((address, 0)).unwrap());
    let target = receiver.local_addr().unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    within(Some(from), || {
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..count {
            sender.send_to(b"x", target).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
    });
    std::iter::from_fn(|| receiver.recv_from(&mut [0; 8]).ok()).count()
}
