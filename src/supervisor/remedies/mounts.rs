//! A mount namespace of its own for k3s and everything below it, with mounts that are shared inside and unseen outside.
//!
//! The kubelet wants its mounts to reach containers (`mountPropagation`), which takes a shared `/`; many sandboxes have a
//! private one. And what k3s leaves mounted goes away with the last process in the namespace.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::State;
use crate::mounts::namespace;

/// Where containerd mounts what no container is to see: below k3s's data directory, and the roots of containers.
///
/// Not all of its state: of a sandbox that died by itself containerd unmounts `sandboxes/ID/shm` once too often. In gVisor
/// (`getMountpoint` in `pkg/sentry/vfs/mount.go`, both generations) `umount2` of a path that is a mount point in another namespace alone
/// takes away what that path lies in, in the end `/` with all mounts: `hack/experiments/unmount-elsewhere`. So those stay shared:
/// copies in containers that are being made go along. Under the interceptor nothing more than what was asked for goes
/// (`intercept/unmount.rs`); with nothing traced that is all there is.
const IN_DATA: &str = "agent/containerd";
const ROOTS: &str = "/run/k3s/containerd/io.containerd.runtime.v2.task";

/// Moves this process, which must have no other thread, into a new mount namespace. `data` is k3s's directory.
pub fn make_private(data: &Path) -> Result<State, String> {
    namespace::enter().map_err(|error| error.to_string())?;
    for place in [&data.join(IN_DATA), Path::new(ROOTS)] {
        keep_apart(place).map_err(|error| format!("cannot keep {} unshared: {error}", place.display()))?;
    }
    Ok(State::Applied("k3s has a mount namespace of its own, with shared mounts".to_owned()))
}

/// Keeps what is mounted below a directory out of the namespaces of containers that start meanwhile. Linux unmounts their
/// copies along; in gVisor such a copy makes `umount` say EBUSY (but with MNT_DETACH), and containerd gives up on its container.
fn keep_apart(place: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(place)?;
    mount(Some(place), place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    mount(None::<&str>, place, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?;
    Ok(())
}

/// Whether this process's mount namespace has lost what was mounted in it, as gVisor can bring about (see [`IN_DATA`]).
pub fn lost() -> bool {
    Path::new("/proc/self").try_exists().is_ok_and(|there| !there)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[ignore = "run by the test below, in a mount namespace of its own"]
    fn inside() {
        let place = std::env::temp_dir().join("kept/apart");
        keep_apart(&place).unwrap();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let of = |place: &Path| {
            let place = place.to_str().unwrap();
            table.lines().find(|line| line.split(' ').nth(4) == Some(place)).unwrap().to_owned()
        };
        assert!(of(Path::new("/")).contains(" shared:"), "{table}");
        assert!(!of(&place).contains(" shared:"), "{table}");
        assert!(!lost());
    }

    #[test]
    fn what_containerd_mounts_is_not_shared() {
        let temporary = tempfile::tempdir().unwrap();
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "shared"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "supervisor::remedies::mounts::tests::inside"])
            .env("TMPDIR", temporary.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}
