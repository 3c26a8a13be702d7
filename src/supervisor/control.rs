//! The control protocol between the command line and the supervisor, over a Unix stream socket.
//!
//! The socket is 0600 in a directory that is 0700, and every peer must be root (`SO_PEERCRED`). A message is a *frame*: its
//! length (four bytes, big-endian, at most [`MAX_FRAME`]), then that many bytes of JSON. Descriptors travel with the
//! first byte of their frame. A connection carries one request; one that
//! pauses for [`REQUEST_TIME`] while sending it is dropped:
//!
//! | request | answer |
//! |---|---|
//! | `Observe` | [`Reply::Running`] with the observed table's descriptor, read-only |
//! | `Restart` | [`Reply::Done`] when the restart has begun |
//! | `Down` | [`Reply::Done`] when stopping has begun; it is over when the lock is free |
//! | `Exec` with stdin, stdout and stderr attached | [`Reply::Started`], then [`Reply::Exited`]; meanwhile the client may send [`ExecInput`] frames. If the client goes away, the command gets SIGHUP, then SIGKILL |
//!
//! A command that cannot be started is answered by [`Reply::NotStarted`], anything else that fails by [`Reply::Failed`]. Strings that may hold any byte (arguments, environment, paths)
//! travel with one character per byte, U+0000 to U+00FF.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::flags::Mode;
use crate::sys::socket;

/// Longest frame: an argument list and an environment as large as the kernel would take for one program.
pub const MAX_FRAME: usize = 4 << 20;
/// How long a client may take to send its request, and the supervisor to get an answer out.
pub const REQUEST_TIME: Duration = Duration::from_secs(10);

/// What a client asks.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Request {
    Observe,
    Restart,
    Down,
    Exec(ExecRequest),
}

/// A command to run in the supervisor's view.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ExecRequest {
    pub argv: Vec<Bytes>,
    pub env: Vec<(Bytes, Bytes)>,
    pub cwd: Bytes,
    /// Whether stdin is a terminal that becomes the command's controlling one.
    pub terminal: bool,
}

/// What a client may send while its command runs.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum ExecInput {
    /// Pass this signal on.
    Signal(i32),
}

/// What the supervisor answers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Reply {
    Running(Box<Running>),
    Done,
    Started {
        pid: u32,
    },
    Exited {
        code: u8,
    },
    /// The command could not be started; `code` is what a shell would exit with (126, 127).
    NotStarted {
        message: String,
        code: u8,
    },
    Failed {
        message: String,
    },
}

/// How the running supervisor was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Of the sandbar that is running, which may be older than the client.
    pub version: String,
    /// Pid of the supervisor.
    pub pid: u32,
    /// Options that it was started with.
    pub options: Options,
    /// k3s's kubeconfig.
    pub kubeconfig: PathBuf,
    /// k3s's data directory.
    pub data: PathBuf,
}

/// What a supervisor can be told at its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Which parts of k3s run.
    pub mode: Mode,
    /// SandboxConfig files, absolute.
    pub files: Vec<PathBuf>,
    /// Neither saved nor cluster settings.
    pub safe: bool,
    /// The k3s executable.
    pub k3s: PathBuf,
    /// The version that it named when it was found; empty: not asked yet.
    #[serde(default)]
    pub k3s_version: String,
    /// The user's own k3s flags.
    pub k3s_flags: Vec<String>,
}

/// A byte string that survives JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes(String);

impl Bytes {
    /// From any string of the operating system.
    pub fn new(text: impl AsRef<OsStr>) -> Self {
        Self(text.as_ref().as_bytes().iter().copied().map(char::from).collect())
    }

    /// Back again; characters that [`Bytes::new`] never makes are dropped.
    pub fn into_os(self) -> OsString {
        OsString::from_vec(self.0.chars().filter_map(|one| u8::try_from(one).ok()).collect())
    }
}

/// Why a message did not get through.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ControlError {
    #[error("control socket: {0}")]
    Io(#[from] io::Error),
    #[error("control socket: the other side has closed")]
    Closed,
    #[error("control socket: message of {len} bytes, more than {MAX_FRAME}")]
    TooLarge { len: usize },
    #[error("control socket: message not understood: {0}")]
    Format(#[from] serde_json::Error),
}

/// Sends one frame with descriptors.
pub fn send(
    stream: &UnixStream,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ControlError> {
    let body = serde_json::to_vec(message)?;
    let len = u32::try_from(body.len()).ok().filter(|len| *len as usize <= MAX_FRAME);
    let len = len.ok_or(ControlError::TooLarge { len: body.len() })?;
    let mut frame = len.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    let mut sent = retry(|| socket::send(stream, &frame, descriptors))?;
    while sent < frame.len() {
        sent += retry(|| socket::send(stream, &frame[sent..], &[]))?;
    }
    Ok(())
}

/// Receives one frame and what descriptors came with it.
pub fn receive<T: DeserializeOwned>(stream: &UnixStream) -> Result<(T, Vec<OwnedFd>), ControlError> {
    let mut head = [0; 4];
    let (mut have, descriptors) = retry(|| socket::receive(stream, &mut head))?;
    if have == 0 {
        return Err(ControlError::Closed);
    }
    let mut reader = stream;
    while have < head.len() {
        match retry(|| reader.read(&mut head[have..]))? {
            0 => return Err(ControlError::Closed),
            more => have += more,
        }
    }
    let len = u32::from_be_bytes(head) as usize;
    if len > MAX_FRAME {
        return Err(ControlError::TooLarge { len });
    }
    let mut body = Vec::new();
    // `take` grows with what really arrives, so a length alone costs us nothing.
    reader.take(len as u64).read_to_end(&mut body)?;
    if body.len() < len {
        return Err(ControlError::Closed);
    }
    Ok((serde_json::from_slice(&body)?, descriptors))
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_request_arrives_whole_with_its_descriptors() {
        let (client, server) = UnixStream::pair().unwrap();
        let odd = OsString::from_vec(vec![b'a', 0xff, 0x80, b'\n']);
        let request = Request::Exec(ExecRequest {
            argv: vec![Bytes::new("cat"), Bytes::new(&odd)],
            env: vec![(Bytes::new("BIG"), Bytes::new("x".repeat(1 << 20)))],
            cwd: Bytes::new("/tmp"),
            terminal: false,
        });
        let null = std::fs::File::open("/dev/null").unwrap();
        let (received, descriptors) = std::thread::scope(|scope| {
            scope.spawn(|| send(&client, &request, &[null.as_fd(), null.as_fd(), null.as_fd()]).unwrap());
            receive::<Request>(&server).unwrap()
        });
        assert_eq!(descriptors.len(), 3);
        assert_eq!(received, request);
        assert_eq!(Bytes::new(&odd).into_os(), odd);
    }

    #[test]
    fn oversized_cut_off_and_meaningless_frames_are_errors() {
        let receive_from = |bytes: &[u8]| {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(bytes).unwrap();
            drop(client);
            receive::<Request>(&server).unwrap_err()
        };
        assert!(matches!(receive_from(&u32::MAX.to_be_bytes()), ControlError::TooLarge { .. }));
        assert!(matches!(receive_from(&[0, 0]), ControlError::Closed));
        assert!(matches!(receive_from(&[0, 0, 0, 9, b'"']), ControlError::Closed));
        assert!(matches!(receive_from(b"\0\0\0\x04nope"), ControlError::Format(_)));
        assert!(matches!(receive_from(b"\0\0\0\x06\"Nope\""), ControlError::Format(_)));
        assert!(matches!(receive_from(&[]), ControlError::Closed));
    }
}
