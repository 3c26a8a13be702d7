//! What is asked of the tracer thread to start a process, and what comes back.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::faults;
use super::tracer::Tracer;
use crate::sys::ptrace::{self, Tid};
use crate::sys::spawn::{self, Spawn};

/// A process to start.
#[derive(Debug)]
pub struct Launch {
    /// Program and arguments; the program is looked up on PATH if it has no slash.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory; the supervisor's own if none.
    pub cwd: Option<PathBuf>,
    /// stdin, stdout, stderr; /dev/null where none.
    pub stdio: [Option<OwnedFd>; 3],
    /// Further descriptors and the numbers that they get in the child (3 and up).
    pub inherit: Vec<(OwnedFd, RawFd)>,
    /// Which session the process belongs to.
    pub session: Session,
    /// Whether it and all that it starts is traced.
    pub traced: bool,
}

/// Session of a started process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// The supervisor's own session and process group.
    #[default]
    Inherit,
    /// A new session, so also a new process group whose id is the process's pid.
    New,
    /// A new session whose controlling terminal is the process's stdin.
    Terminal,
}

/// A started process.
#[derive(Debug)]
pub struct Launched {
    /// Its pid.
    pub pid: u32,
    /// Receives once, when it ends. Its children may live on.
    pub exit: mpsc::Receiver<Exited>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exited {
    /// exit(2) with this status.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program could not be executed.
    #[error("cannot run {program}: {source}")]
    Exec {
        /// argv\[0\].
        program: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The new process could not be attached to.
    #[error("cannot trace {program}: {source}")]
    Attach {
        /// argv\[0\].
        program: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The tracer thread has ended.
    #[error("the tracer thread has ended")]
    Gone,
}

/// What is asked of the tracer thread, and where the answer goes.
#[derive(Debug)]
pub(super) enum Request {
    /// Start a process, from this program.
    Launch(Launch, PathBuf, mpsc::Sender<Answer>),
    /// Tell when no tracee is left.
    WhenIdle(mpsc::Sender<()>),
}

/// How a launch went, and the launch again: closing its descriptors may wait for whoever serves the file (FUSE_FLUSH,
/// SO_LINGER), so that is left to the thread that asked.
pub(super) type Answer = (Launch, io::Result<Started>);

/// How long a tracer that could not be woken is left alone before it is tried again.
const RING_AGAIN: Duration = Duration::from_millis(100);

/// A process that has been let go; whether exec succeeded is still to be read.
#[derive(Debug)]
pub(super) struct Started {
    pid: Tid,
    exit: mpsc::Receiver<Exited>,
    error: OwnedFd,
}

/// Hands a launch to the tracer thread and waits until the program runs.
pub(super) fn request(requests: &mpsc::Sender<Request>, launch: Launch) -> Result<Launched, LaunchError> {
    let program = launch.argv.first().cloned().unwrap_or_default();
    let named = || program.to_string_lossy().into_owned();
    let path = launch.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let found = find(&program, path.as_deref(), launch.cwd.as_deref())
        .map_err(|source| LaunchError::Exec { program: named(), source })?;
    let (reply, answer) = mpsc::channel();
    requests.send(Request::Launch(launch, found, reply)).map_err(|_| LaunchError::Gone)?;
    let (launch, started) = rung_for(&answer).ok_or(LaunchError::Gone)?;
    drop(launch);
    let started = started.map_err(|source| LaunchError::Attach { program: named(), source })?;
    let mut errno = [0; 4];
    match File::from(started.error).read_exact(&mut errno) {
        // End of file: exec closed the other end.
        Err(_) => Ok(Launched { pid: started.pid as u32, exit: started.exit }),
        Ok(()) => {
            let source = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
            Err(LaunchError::Exec { program: named(), source })
        }
    }
}

/// Wakes the tracer for a request that it has got, and waits for the answer. To wake it takes a fork; where that fails the
/// tracer comes to the request later, and somebody must be there to hear of the process.
pub(super) fn rung_for<T>(answer: &mpsc::Receiver<T>) -> Option<T> {
    while spawn::ring().is_err() {
        match answer.recv_timeout(RING_AGAIN) {
            Ok(answer) => return Some(answer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    answer.recv().ok()
}

impl Tracer {
    /// Starts a requested process. Its exec is not waited for: a traced one needs this thread to get there.
    pub(super) fn take(&mut self, request: Request) {
        // Whoever asked may have given up.
        match request {
            Request::Launch(launch, program, reply) => {
                let started = self.fork(&launch, &program);
                // Rather left open than closed here.
                if let Err(unclaimed) = reply.send((launch, started)) {
                    std::mem::forget(unclaimed);
                }
            }
            Request::WhenIdle(reply) => self.idle_waiters.push(reply),
        }
    }

    fn fork(&mut self, launch: &Launch, program: &Path) -> io::Result<Started> {
        let served = |fd: &OwnedFd| {
            let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            link.is_ok_and(|link| faults::serves(&link.to_string_lossy()))
        };
        let given = launch.inherit.iter().map(|(fd, _)| fd).chain(launch.stdio.iter().flatten());
        if given.into_iter().any(served) {
            self.expect_waiting_faults(0, "an inherited descriptor");
        }
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let stdio = launch.stdio.iter().zip(0..).map(|(fd, target)| match fd {
            Some(fd) => (fd.as_raw_fd(), target),
            None => (null.as_raw_fd(), target),
        });
        let further = launch.inherit.iter().map(|(fd, target)| (fd.as_raw_fd(), *target));
        let spawn = Spawn {
            program: c_string(program.as_os_str())?,
            argv: launch.argv.iter().map(|arg| c_string(arg)).collect::<io::Result<_>>()?,
            env: launch
                .env
                .iter()
                .map(|(name, value)| environment(name, value))
                .collect::<io::Result<_>>()?,
            cwd: launch.cwd.as_deref().map(|cwd| c_string(cwd.as_os_str())).transpose()?,
            fds: stdio.chain(further).collect(),
            new_session: launch.session != Session::Inherit,
            terminal: launch.session == Session::Terminal,
            filter: launch.traced.then_some(self.filter.as_slice()),
            signals: &self.signals,
            probe: false,
        };
        let forked = spawn::fork(&spawn)?;
        let pid = forked.pid;
        if launch.traced {
            // On failure the hand-shake pipe closes and the child, still waiting on it, ends.
            ptrace::seize(pid)?;
            self.tracees.insert(pid);
            self.count_tracees();
            if spawn.new_session {
                self.remember_session(pid);
            }
        }
        let (sender, exit) = mpsc::channel();
        self.exits.insert(pid, sender);
        Ok(Started { pid, exit, error: forked.release()? })
    }
}

/// The program's path, as execvp(3) finds it: as given if it has a slash, else the first executable on PATH.
fn find(name: &OsStr, path: Option<&OsStr>, cwd: Option<&Path>) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let path = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    let mut reason = libc::ENOENT;
    for dir in std::env::split_paths(path).filter(|_| !name.is_empty()) {
        let candidate = dir.join(name);
        let seen = cwd.map_or_else(|| candidate.clone(), |cwd| cwd.join(&candidate));
        if seen.is_file() && access(&seen, AccessFlags::X_OK).is_ok() {
            return Ok(candidate);
        }
        if seen.exists() {
            reason = libc::EACCES;
        }
    }
    Err(io::Error::from_raw_os_error(reason))
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL in an argument"))
}

fn environment(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    let mut entry = name.to_owned().into_vec();
    entry.push(b'=');
    entry.extend_from_slice(value.as_bytes());
    c_string(OsStr::from_bytes(&entry))
}

impl Exited {
    /// The code that a shell would show: the status itself, or 128 plus the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => (code & 0xff) as u8,
            Self::Signal(signal) => (128 + signal).clamp(0, 255) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_path_and_nowhere_else() {
        let found = |name: &str, path: &str, cwd: &str| {
            find(OsStr::new(name), Some(OsStr::new(path)), Some(Path::new(cwd))).map_err(|e| e.raw_os_error())
        };
        assert_eq!(found("sh", "/no/such:/bin", "/"), Ok("/bin/sh".into()));
        assert_eq!(found("sh", "/no/such", "/bin"), Err(Some(libc::ENOENT)));
        assert_eq!(found("sh", "/no/such:", "/bin"), Ok("sh".into()));
        assert_eq!(found("passwd", "/etc", "/"), Err(Some(libc::EACCES)));
        assert_eq!(found("./sh", "/bin", "/bin"), Ok("./sh".into()));
    }
}
