//! The command line's side of the control socket.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::control::{self, ControlError, REQUEST_TIME, Reply, Request, Running};
use super::paths::Paths;
use crate::exit::{Exit, Failure};
use crate::rules::observed::{Observed, ObservedDocument};
use crate::rules::table::TableError;

/// Why the supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ClientError {
    #[error("no supervisor is running")]
    NotRunning,
    #[error("the supervisor's directory is closed to this user")]
    NotRoot,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Table(#[from] TableError),
}

impl ClientError {
    /// As the user sees it.
    pub fn failure(self) -> Failure {
        let message = self.to_string();
        match self {
            Self::NotRunning => Failure::new(Exit::NotRunning, message).hint("start it: sandbar up"),
            Self::NotRoot => Failure::new(Exit::Unsupported, message).hint("run this as root"),
            _ => Failure::new(Exit::Failed, message).hint("look at its log: sandbar logs supervisor"),
        }
    }
}

/// A view of the running supervisor: how it was started, and its observed table.
#[derive(Debug)]
pub struct View {
    /// How it was started.
    pub running: Running,
    /// The observed table, read-only.
    pub observed: Observed,
}

impl View {
    /// The state last published.
    pub fn document(&self) -> Result<ObservedDocument, ClientError> {
        Ok(self.observed.read()?)
    }
}

/// Connects to the supervisor.
pub fn connect(paths: &Paths) -> Result<UnixStream, ClientError> {
    match UnixStream::connect(paths.socket()) {
        Ok(stream) => Ok(stream),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning,
            io::ErrorKind::PermissionDenied => ClientError::NotRoot,
            _ => ControlError::Io(error).into(),
        }),
    }
}

/// Sends a request and takes the first answer. The connection is returned for those that go on.
pub fn ask(
    paths: &Paths,
    request: &Request,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(UnixStream, Reply, Vec<OwnedFd>), ClientError> {
    let stream = connect(paths)?;
    // Generous: the supervisor answers at once unless the machine is very busy.
    let patience: Duration = REQUEST_TIME * 6;
    stream.set_read_timeout(Some(patience)).map_err(ControlError::Io)?;
    stream.set_write_timeout(Some(patience)).map_err(ControlError::Io)?;
    control::send(&stream, request, descriptors)?;
    match control::receive(&stream)? {
        (Reply::Failed { message }, _) => Err(ClientError::Refused(message)),
        (reply, descriptors) => Ok((stream, reply, descriptors)),
    }
}

/// Looks at the running supervisor.
pub fn observe(paths: &Paths) -> Result<View, ClientError> {
    match ask(paths, &Request::Observe, &[])? {
        (_, Reply::Running(running), mut descriptors) if descriptors.len() == 1 => {
            let observed = Observed::open(&descriptors.remove(0), false)?;
            Ok(View { running: *running, observed })
        }
        _ => Err(ClientError::Refused("the supervisor's answer was not understood".into())),
    }
}

/// Asks for something that is answered by a bare "done".
pub fn request(paths: &Paths, request: &Request) -> Result<UnixStream, ClientError> {
    ask(paths, request, &[]).map(|(stream, ..)| stream)
}
