//! Host ports in user space: what arrives at a port of the node is carried to the pod's. The pod sees the node as its client.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::Forward;
use crate::cni::config::Protocol;

/// Connections, or senders of datagrams, that one port serves at a time.
const MOST: usize = 256;
/// And all ports together.
static ALL: Semaphore = Semaphore::const_new(2048);
/// Of a connection's data on its way, in each direction.
const BUFFER: usize = 16 << 10;
/// A pod that does not take a connection in that time does not listen.
const CONNECT: Duration = Duration::from_secs(10);
/// A sender of datagrams that is silent for so long is forgotten.
const SILENT: Duration = Duration::from_secs(60);
/// Datagrams of one sender that wait for the pod; more are lost, as datagrams are.
const QUEUE: usize = 32;
const LARGEST: usize = 65_535;

/// The ports of an attachment: closed, with their connections, when this is dropped.
#[derive(Debug, Default)]
pub struct Listeners(Vec<JoinHandle<()>>);

impl Listeners {
    /// Closes them, and returns when they are closed: dropped, they are a moment later.
    pub async fn close(mut self) {
        for task in std::mem::take(&mut self.0) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Opens all of them, or none.
pub fn listen(forwards: &[Forward]) -> Result<Listeners, String> {
    let mut listeners = Listeners::default();
    for forward in forwards {
        let Forward { protocol, from, to } = *forward;
        let opened = match protocol {
            Protocol::Tcp => stream(from).map(|listener| tokio::spawn(connections(listener, to))),
            Protocol::Udp => datagram(from).map(|socket| tokio::spawn(datagrams(Arc::new(socket), to))),
            Protocol::Sctp => Err(io::ErrorKind::Unsupported.into()),
        };
        let opened = opened.map_err(|error| format!("cannot listen on host port {from}: {error}"))?;
        listeners.0.push(opened);
    }
    Ok(listeners)
}

fn stream(address: SocketAddrV4) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn datagram(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn connections(listener: TcpListener, to: SocketAddrV4) {
    let places = Arc::new(Semaphore::new(MOST));
    // Ends them with the port.
    let mut running = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => drop(running.spawn(connection(client, to, place))),
            // Out of descriptors, say: no reason to spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        while running.try_join_next().is_some() {}
    }
}

async fn connection(mut client: TcpStream, to: SocketAddrV4, _place: OwnedSemaphorePermit) {
    let Ok(_one) = ALL.try_acquire() else { return };
    let Ok(Ok(mut pod)) = timeout(CONNECT, TcpStream::connect(to)).await else {
        // Nobody listens: the client is told as the kernel would tell it.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = client.set_nodelay(true).and_then(|()| pod.set_nodelay(true));
    // Either side may go at any time.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut pod, BUFFER, BUFFER).await;
}

async fn datagrams(socket: Arc<UdpSocket>, to: SocketAddrV4) {
    let mut senders: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut running = JoinSet::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        // An error is about a datagram sent before, and no concern of the next one.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        while running.try_join_next().is_some() {}
        senders.retain(|_, queue| !queue.is_closed());
        if !senders.contains_key(&from) {
            if senders.len() >= MOST {
                continue;
            }
            let (queue, queued) = mpsc::channel(QUEUE);
            running.spawn(sender(socket.clone(), from, to, queued));
            senders.insert(from, queue);
        }
        if let (Some(queue), Some(data)) = (senders.get(&from), buffer.get(..length)) {
            let _ = queue.try_send(data.to_vec());
        }
    }
}

/// One sender's datagrams to the pod, and the pod's answers back, until both are silent.
async fn sender(
    socket: Arc<UdpSocket>,
    from: SocketAddr,
    to: SocketAddrV4,
    mut queued: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let Ok(_one) = ALL.try_acquire() else { return Ok(()) };
    let pod = UdpSocket::bind("0.0.0.0:0").await?;
    pod.connect(to).await?;
    loop {
        tokio::select! {
            data = queued.recv() => match data {
                // The pod may not listen yet.
                Some(data) => drop(pod.send(&data).await),
                None => return Ok(()),
            },
            _ = pod.readable() => {
                // Only now: silent ones take no memory for it.
                let mut buffer = vec![0; LARGEST];
                if let Some(data) = pod.try_recv(&mut buffer).ok().and_then(|length| buffer.get(..length)) {
                    let _ = socket.send_to(data, from).await;
                }
            }
            () = tokio::time::sleep(SILENT) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn local(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        local(address.port())
    }

    fn forward(protocol: Protocol, from: SocketAddrV4, to: SocketAddrV4) -> Forward {
        Forward { protocol, from, to }
    }

    #[tokio::test]
    async fn a_connection_is_carried_both_ways_to_its_end_and_the_port_is_freed() {
        let pod = TcpListener::bind(local(0)).await.unwrap();
        let free = std::net::TcpListener::bind(local(0)).unwrap().local_addr().unwrap();
        let one = forward(Protocol::Tcp, v4(free), v4(pod.local_addr().unwrap()));
        let listeners = listen(std::slice::from_ref(&one)).unwrap();
        assert!(listen(std::slice::from_ref(&one)).unwrap_err().contains("host port"), "it is taken");
        let mut client = TcpStream::connect(free).await.unwrap();
        let (mut server, _) = pod.accept().await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        drop(server);
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "questionanswer");
        listeners.close().await;
        TcpStream::connect(free).await.unwrap_err();
    }

    #[tokio::test]
    async fn each_sender_gets_the_answers_to_its_own_datagrams() {
        let pod = UdpSocket::bind(local(0)).await.unwrap();
        let free = std::net::UdpSocket::bind(local(0)).unwrap().local_addr().unwrap();
        let to = v4(pod.local_addr().unwrap());
        let _listeners = listen(&[forward(Protocol::Udp, v4(free), to)]).unwrap();
        let clients = [UdpSocket::bind(local(0)).await.unwrap(), UdpSocket::bind(local(0)).await.unwrap()];
        let mut buffer = [0; 16];
        for (number, client) in clients.iter().enumerate() {
            client.connect(free).await.unwrap();
            client.send(&[u8::try_from(number).unwrap()]).await.unwrap();
            let (_, from) = pod.recv_from(&mut buffer).await.unwrap();
            pod.send_to(&buffer[..1], from).await.unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(client.recv(&mut buffer).await.unwrap(), 1);
            assert_eq!(usize::from(buffer[0]), number);
        }
    }
}
