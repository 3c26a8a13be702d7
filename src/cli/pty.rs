//! A terminal for a command that runs elsewhere: a pseudo-terminal, and the relay between it and our own.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nix::pty::openpty;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::sys::terminal::copy_window_size;

/// How long the last output may take to arrive once the command has ended: something in the background may hold the
/// terminal for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// A pseudo-terminal that is not relayed yet.
#[derive(Debug)]
pub struct Relay {
    ours: OwnedFd,
    command: OwnedFd,
}

impl Relay {
    /// Opens one that looks like our own terminal.
    pub fn open() -> io::Result<Self> {
        let settings = tcgetattr(io::stdin()).ok();
        let pair = openpty(None, settings.as_ref())?;
        let relay = Self { ours: pair.master, command: pair.slave };
        // Without a terminal of our own it keeps the default size.
        let _ = copy_window_size(&io::stdin(), &relay.ours);
        Ok(relay)
    }

    /// The command's side.
    pub fn command_side(&self) -> BorrowedFd<'_> {
        self.command.as_fd()
    }

    /// Puts our terminal into raw mode and relays.
    pub fn start(self) -> io::Result<Running> {
        let raw = RawMode::enter()?;
        // With our copy closed, end-of-file comes when the last process that has the terminal is gone.
        drop(self.command);
        let (done_sender, done) = mpsc::channel();
        let (input, output) = (File::from(self.ours.try_clone()?), File::from(self.ours.try_clone()?));
        std::thread::Builder::new().name("tty-in".into()).spawn(move || copy(io::stdin().lock(), input))?;
        std::thread::Builder::new().name("tty-out".into()).spawn(move || {
            copy(output, io::stdout());
            // Nobody waits if we are ending for another reason.
            let _ = done_sender.send(());
        })?;
        Ok(Running { ours: self.ours, done, _raw: raw })
    }
}

/// A relay at work. Dropping it restores our terminal.
#[derive(Debug)]
pub struct Running {
    ours: OwnedFd,
    done: Receiver<()>,
    _raw: RawMode,
}

impl Running {
    /// Something that can pass on a changed window size from another thread.
    pub fn resizer(&self) -> io::Result<Resizer> {
        Ok(Resizer(self.ours.try_clone()?))
    }

    /// Waits for the last output and restores our terminal.
    pub fn finish(self) {
        // A timeout is as good an end.
        let _ = self.done.recv_timeout(DRAIN);
    }
}

/// Passes on a changed window size.
#[derive(Debug)]
pub struct Resizer(OwnedFd);

impl Resizer {
    /// Takes over the present size of our terminal.
    pub fn now(&self) {
        // Without a terminal of our own there is no size to pass on.
        let _ = copy_window_size(&io::stdin(), &self.0);
    }
}

/// Our terminal in raw mode, until dropped.
#[derive(Debug)]
struct RawMode(Option<Termios>);

impl RawMode {
    fn enter() -> io::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone.
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

/// Copies without holding anything back. A pseudo-terminal whose other side is closed reads as EIO, which is its end.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 8192];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                if to.write_all(&buffer[..len]).and_then(|()| to.flush()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
