//! The controller's end of the link to its supervisor: two tables, two bells, and a lifeline that ends with it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::rules::observed::Observed;
use crate::rules::table::{DesiredReader, DesiredWriter, TableError};
use crate::supervisor::controller_process::Refused;
use crate::sys::inherited::{self, InheritError};

/// Environment variable with the five descriptors: desired table, observed table, desired bell, observed bell, lifeline.
pub const FDS_VARIABLE: &str = "SANDBAR_FDS";

/// Why the link could not be taken up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinkError {
    #[error("{0}")]
    Inherit(#[from] InheritError),
    #[error("{0}")]
    Table(#[from] TableError),
    #[error("cannot wait on a descriptor of the supervisor: {0}")]
    Descriptor(#[from] io::Error),
}

/// The tables, for whoever reads or publishes.
#[derive(Debug)]
pub struct Tables {
    /// Where documents are published.
    pub writer: DesiredWriter,
    /// What was published last, by us, an earlier controller or the supervisor.
    pub reader: DesiredReader,
    /// What the supervisor reports.
    pub observed: Observed,
    bell: OwnedFd,
}

/// What the supervisor says when.
#[derive(Debug)]
pub struct Signals {
    observed_bell: AsyncFd<OwnedFd>,
    alive: AsyncFd<OwnedFd>,
}

/// Takes over the descriptors that the supervisor left. Needs a tokio runtime.
pub fn take() -> Result<(Tables, Signals), LinkError> {
    open(inherited::take(FDS_VARIABLE)?)
}

/// The same from descriptors in the order of [`FDS_VARIABLE`].
pub fn open(
    [desired, observed, bell, observed_bell, alive]: [OwnedFd; 5],
) -> Result<(Tables, Signals), LinkError> {
    let tables = Tables {
        writer: DesiredWriter::open(&desired)?,
        reader: DesiredReader::open(&desired)?,
        observed: Observed::open(&observed, false)?,
        bell,
    };
    let signals = Signals { observed_bell: readable(observed_bell)?, alive: readable(alive)? };
    Ok((tables, signals))
}

fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = OFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    inherited::readable(fd)
}

impl Tables {
    /// Tells the supervisor that something was published.
    pub fn ring(&self) -> io::Result<()> {
        nix::unistd::write(&self.bell, &1_u64.to_ne_bytes())?;
        Ok(())
    }
}

impl Signals {
    /// Returns when the supervisor changed its acknowledgement or its state since the last call.
    pub async fn observed_changed(&self) -> io::Result<()> {
        let mut count = [0_u8; 8];
        read(&self.observed_bell, &mut count).await.map(|_| ())
    }

    /// Tells the supervisor that what was given to `sandbar up -f` is applied.
    pub fn say_applied(&self) -> io::Result<()> {
        self.say("applied")
    }

    /// Tells the supervisor that definition and profiles are applied, the first table is in force and status says so.
    pub fn say_ready(&self) -> io::Result<()> {
        self.say("ready")
    }

    /// Tells the supervisor that there is no contact with the API server any more.
    pub fn say_unready(&self) -> io::Result<()> {
        self.say("unready")
    }

    /// Tells the supervisor what is refused here.
    pub fn say_refused(&self, refused: &Refused) -> io::Result<()> {
        self.say(&format!("refused {}", serde_json::to_string(refused)?))
    }

    /// Tells the supervisor that the table is refused here no longer.
    pub fn say_taken(&self) -> io::Result<()> {
        self.say("taken")
    }

    /// Tells the supervisor that its events up to this one are told, and not to be told again by another controller.
    pub fn say_told(&self, sequence: u64) -> io::Result<()> {
        self.say(&format!("told {sequence}"))
    }

    fn say(&self, line: &str) -> io::Result<()> {
        nix::unistd::write(self.alive.get_ref(), format!("{line}\n").as_bytes())?;
        Ok(())
    }

    /// Returns when the supervisor is gone.
    pub async fn gone(&self) {
        let mut byte = [0_u8; 1];
        // The supervisor never writes to it; an error means that it cannot tell us any more either.
        while matches!(read(&self.alive, &mut byte).await, Ok(1..)) {}
    }
}

async fn read(fd: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    fd.async_io(Interest::READABLE, |fd| Ok(nix::unistd::read(fd.as_fd(), buffer)?)).await
}
