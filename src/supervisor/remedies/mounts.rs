//! A mount namespace of its own for k3s and everything below it, with mounts that are shared inside and unseen outside.
//!
//! The kubelet wants its mounts to reach containers (`mountPropagation`), which takes a shared `/`; many sandboxes have a
//! private one. And what k3s leaves mounted goes away with the last process in the namespace.

use super::State;
use crate::mounts::namespace;

/// Moves this process, which must have no other thread, into a new mount namespace.
pub fn make_private() -> Result<State, String> {
    namespace::enter().map_err(|error| error.to_string())?;
    Ok(State::Applied("k3s has a mount namespace of its own, with shared mounts".to_owned()))
}
