//! A mount namespace of its own for k3s and everything below it, with mounts that are shared inside and unseen outside.
//!
//! The kubelet wants its mounts to reach containers (`mountPropagation`), which takes a shared `/`; many sandboxes have a
//! private one. And what k3s leaves mounted goes away with the last process in the namespace.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::State;

/// Moves this process, which must have no other thread, into a new mount namespace.
pub fn make_private() -> Result<State, String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("no mount namespace of our own: {errno}"))?;
    let change =
        |flags: MsFlags| mount(None::<&str>, "/", None::<&str>, flags | MsFlags::MS_REC, None::<&str>);
    // What is mounted outside still comes in; nothing of ours goes out.
    change(MsFlags::MS_SLAVE).map_err(|errno| format!("cannot make mounts private: {errno}"))?;
    change(MsFlags::MS_SHARED).map_err(|errno| format!("cannot make mounts shared: {errno}"))?;
    Ok(State::Applied("k3s has a mount namespace of its own, with shared mounts".to_owned()))
}
