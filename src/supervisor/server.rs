//! The control socket's server: one short-lived thread per connection, a bounded number of them, nothing trusted.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::control::{self, ControlError, REQUEST_TIME, Reply, Request, Running};
use super::exec;
use super::files::{self, FileError};
use crate::intercept::Interceptor;

/// Connections served at a time; every `sandbar exec` is one.
const MAX_CONNECTIONS: usize = 256;
const THREAD_STACK: usize = 256 << 10;

/// What a client asked of the supervisor's own loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Order {
    Restart,
    Down,
}

/// What the connections need.
pub struct Service {
    /// Starts commands.
    pub interceptor: Interceptor,
    /// Whether they are traced.
    pub commands_traced: Arc<AtomicBool>,
    /// The observed table, read-only.
    pub observed: OwnedFd,
    /// How we were started.
    pub running: Running,
    /// Hands an order to the supervisor's loop; false if that has ended.
    pub order: Box<dyn Fn(Order) -> bool + Send + Sync>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Service").field("running", &self.running).finish_non_exhaustive()
    }
}

/// Makes the socket, replacing one that a killed supervisor left behind. The caller holds the lock.
pub fn bind(path: &Path) -> Result<UnixListener, FileError> {
    files::remove_if_there(path)?;
    let listener = UnixListener::bind(path).map_err(FileError::on("listen on", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(FileError::on("protect", path))?;
    Ok(listener)
}

/// Serves connections until the process ends.
pub fn start(listener: UnixListener, service: Service) -> io::Result<()> {
    let service = Arc::new(service);
    let count = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => admit(stream, &service, &count),
                // Out of descriptors, most likely: give some time to close.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    };
    std::thread::Builder::new().name("control".into()).stack_size(THREAD_STACK).spawn(accept).map(drop)
}

/// Counts a connection for as long as it is served, however that ends.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn admit(stream: UnixStream, service: &Arc<Service>, count: &Arc<AtomicUsize>) {
    let taken = count.fetch_add(1, Ordering::SeqCst);
    let place = Place(count.clone());
    if taken >= MAX_CONNECTIONS {
        tracing::warn!("{taken} connections on the control socket: another is turned away");
        return;
    }
    let service = service.clone();
    let serve = move || {
        let _place = place;
        let served = std::panic::catch_unwind(AssertUnwindSafe(|| serve(&stream, &service)));
        match served {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("{error}"),
            Err(_) => tracing::error!("serving a connection on the control socket panicked"),
        }
    };
    // Without a thread the connection is closed, which the client sees.
    let _ = std::thread::Builder::new().name("connection".into()).stack_size(THREAD_STACK).spawn(serve);
}

fn serve(stream: &UnixStream, service: &Service) -> Result<(), ControlError> {
    stream.set_read_timeout(Some(REQUEST_TIME))?;
    stream.set_write_timeout(Some(REQUEST_TIME))?;
    let peer = getsockopt(stream, PeerCredentials).map_err(io::Error::from)?;
    let fail = |message: String| control::send(stream, &Reply::Failed { message }, &[]);
    if peer.uid() != 0 {
        return fail("only root may control the supervisor".into());
    }
    let (request, descriptors) = match control::receive::<Request>(stream) {
        Ok(received) => received,
        Err(error @ (ControlError::Format(_) | ControlError::TooLarge { .. })) => {
            return fail(error.to_string());
        }
        Err(error) => return Err(error),
    };
    match request {
        Request::Observe => {
            let running = Reply::Running(Box::new(service.running.clone()));
            control::send(stream, &running, &[service.observed.as_fd()])
        }
        Request::Exec(request) => {
            let traced = service.commands_traced.load(Ordering::SeqCst);
            exec::serve(&service.interceptor, traced, stream, request, descriptors)
        }
        Request::Restart => order(stream, service, Order::Restart),
        Request::Down => order(stream, service, Order::Down),
    }
}

fn order(stream: &UnixStream, service: &Service, order: Order) -> Result<(), ControlError> {
    let reply = if (service.order)(order) {
        Reply::Done
    } else {
        Reply::Failed { message: "the supervisor is about to end".into() }
    };
    control::send(stream, &reply, &[])
}
