//! A mount namespace of its own for the supervisor and everything below it, with mounts that are shared inside and unseen
//! outside. It ends, and all mounts with it, when its last process does.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NamespaceError {
    #[error("no mount namespace of our own: {0}")]
    Refused(Errno),
    #[error("cannot make mounts {0}: {1}")]
    Propagation(&'static str, Errno),
}

/// Moves this process, which must have no other thread, into a new one.
pub fn enter() -> Result<(), NamespaceError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(NamespaceError::Refused)?;
    let change =
        |flags: MsFlags| mount(None::<&str>, "/", None::<&str>, flags | MsFlags::MS_REC, None::<&str>);
    // What is mounted outside still comes in; nothing of ours goes out.
    change(MsFlags::MS_SLAVE).map_err(|errno| NamespaceError::Propagation("private", errno))?;
    change(MsFlags::MS_SHARED).map_err(|errno| NamespaceError::Propagation("shared", errno))
}
