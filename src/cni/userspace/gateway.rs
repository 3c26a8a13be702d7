//! One pod's way outside: a thread that reads its packets, and sockets of the node that carry what they say.

use std::fs::File;
use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::datagrams::Datagrams;
use super::flows::Flows;
use super::packet::{self, Packet};
use super::{Way, tun};
use crate::cni::netns::Netns;

/// Packets that are read in a row before answers have their turn.
const IN_A_ROW: usize = 64;
/// How long nothing is looked at if nothing happens.
const LONGEST: Duration = Duration::from_secs(5);
const STACK: usize = 256 << 10;

/// A way that is served; it ends when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    end: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Makes the link in the pod and serves it, with sockets of this thread's namespace.
    pub fn start(pod: &Netns, way: &Way) -> Result<Self, String> {
        let device = tun::open(pod, way).map_err(|error| error.to_string())?;
        let (ended, end) = io::pipe().map_err(|error| error.to_string())?;
        let served = Served {
            way: way.clone(),
            device: device.into(),
            flows: Flows::new(),
            datagrams: Datagrams::new(),
        };
        let work = move || {
            if let Err(error) = served.run(&ended.into()) {
                tracing::warn!("a pod's way outside ended: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("pod-way".into()).stack_size(STACK).spawn(work);
        Ok(Self { end: Some(end), thread: Some(thread.map_err(|error| error.to_string())?) })
    }

    /// Whether it ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("a pod's way outside ended by a bug");
        }
    }
}

struct Served {
    way: Way,
    device: File,
    flows: Flows,
    datagrams: Datagrams,
}

impl Served {
    fn run(mut self, ended: &OwnedFd) -> io::Result<()> {
        let mut buffer = vec![0; tun::MTU];
        while !self.wait(ended)? {
            for _ in 0..IN_A_ROW {
                match (&self.device).read(&mut buffer) {
                    Ok(length) => self.take(buffer.get(..length).unwrap_or_default()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            // A packet that the link does not take is lost, as on any link.
            let mut device = &self.device;
            let mut write = |packet: &[u8]| drop(device.write(packet));
            self.datagrams.turn(&mut write);
            self.flows.turn(&mut write);
        }
        Ok(())
    }

    /// Waits until there is something to do; whether that is to end.
    fn wait(&mut self, ended: &OwnedFd) -> io::Result<bool> {
        let delay = self.flows.delay().map_or(LONGEST, |delay| delay.min(LONGEST));
        let mut all = vec![
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.device.as_fd(), PollFlags::POLLIN),
        ];
        all.extend(self.flows.waits().map(|(descriptor, flags)| PollFd::new(descriptor, flags)));
        all.extend(self.datagrams.waits().map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)));
        // Rounded up: a turn that comes too early has nothing to do.
        let timeout = PollTimeout::try_from(delay + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut all, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(all.first().is_some_and(|end| end.revents().is_some_and(|events| !events.is_empty())))
    }

    fn take(&mut self, bytes: &[u8]) {
        let way = &self.way;
        match packet::read(way.address, bytes) {
            Some(Packet::Segment { ends, opens }) => {
                self.flows.segment(ends, opens, bytes, || is_outside(way, *ends.outside.ip()));
            }
            Some(Packet::Datagram { ends, data }) => {
                self.datagrams.send(ends, data, || is_outside(way, *ends.outside.ip()));
            }
            None => {}
        }
    }
}

/// Whether that is no pod: to pods a pod goes itself, with its own address, or not at all. The node's addresses are reached from
/// here too, since gVisor answers a pod only on the link's own address; its loopback was refused before.
fn is_outside(way: &Way, to: Ipv4Addr) -> bool {
    !way.inside.iter().any(|net| net.contains(&to))
}
