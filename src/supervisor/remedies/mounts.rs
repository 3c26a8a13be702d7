//! A mount namespace of its own for k3s and everything below it, with mounts that are shared inside and unseen outside.
//!
//! The kubelet wants its mounts to reach containers (`mountPropagation`), which takes a shared `/`; many sandboxes have a
//! private one. And what k3s leaves mounted goes away with the last process in the namespace.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::State;
use crate::mounts::namespace;

/// Where containerd mounts what no container is to see: below k3s's data directory, and the roots of containers.
const IN_DATA: &str = "agent/containerd";
const ROOTS: &str = "/run/k3s/containerd/io.containerd.runtime.v2.task";
/// Where containerd mounts a tmpfs for each sandbox, `ID/shm`, and sometimes unmounts it once too often: when one has died by
/// itself, or was stopped twice.
///
/// In gVisor (`getMountpoint` in `pkg/sentry/vfs/mount.go`, both generations) `umount2` of a path that is a mount point in another
/// namespace alone takes away what that path lies in, in the end `/` with all mounts: `hack/experiments/unmount-elsewhere`. So this
/// stays shared: copies in containers that are being made go along. And it is a filesystem of its own, which goes in the place of
/// `/` if there are copies that stay: in a pod that shows itself `/run`.
const SANDBOXES: &str = "/run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes";

/// Moves this process, which must have no other thread, into a new mount namespace. `data` is k3s's directory.
pub fn make_private(data: &Path) -> Result<State, String> {
    namespace::enter().map_err(|error| error.to_string())?;
    for place in [&data.join(IN_DATA), Path::new(ROOTS)] {
        keep_apart(place).map_err(|error| format!("cannot keep {} unshared: {error}", place.display()))?;
    }
    Ok(State::Applied("k3s has a mount namespace of its own, with shared mounts".to_owned()))
}

/// Keeps what is mounted below a directory out of the namespaces of containers that start meanwhile. Linux unmounts their
/// copies along; in gVisor such a copy makes `umount` say EBUSY, and containerd gives up on its container.
fn keep_apart(place: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(place)?;
    mount(Some(place), place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    mount(None::<&str>, place, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?;
    Ok(())
}

/// Gives sandboxes a filesystem of their own, unless they have it, or there is any: it would be hidden. To be asked while containerd
/// is down.
pub fn give_sandboxes_their_own() -> std::io::Result<()> {
    give_own(Path::new(SANDBOXES))
}

fn give_own(place: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(place)?;
    let [own, above] =
        [place, place.parent().unwrap_or(place)].map(|path| fs::metadata(path).map(|found| found.dev()));
    if own? != above? {
        return Ok(());
    }
    for sandbox in fs::read_dir(place)? {
        // Of a supervisor that was killed: empty, or still somebody's.
        let sandbox = sandbox?.path();
        let _ = fs::remove_dir(sandbox.join("shm"));
        let _ = fs::remove_dir(sandbox);
    }
    if fs::read_dir(place)?.next().is_none() {
        mount(Some("sandbar"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=0711"))?;
    }
    Ok(())
}

/// Whether this process's mount namespace has lost what was mounted in it, which gVisor can do (see [`SANDBOXES`]).
pub fn lost() -> bool {
    !Path::new("/proc/self").exists()
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
        let sandboxes = std::env::temp_dir().join("of/sandboxes");
        std::fs::create_dir_all(sandboxes.join("left/shm")).unwrap();
        let mounts = || {
            let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let of_it =
                |line: &&str| line.split(' ').nth(4) == sandboxes.to_str() && line.contains(" shared:");
            table.lines().filter(of_it).count()
        };
        give_own(&sandboxes).unwrap();
        assert!(std::fs::read_dir(&sandboxes).unwrap().next().is_none(), "what was left over is gone");
        give_own(&sandboxes).unwrap();
        assert_eq!(mounts(), 1);
        nix::mount::umount(&sandboxes).unwrap();
        std::fs::create_dir_all(sandboxes.join("one/with-something")).unwrap();
        give_own(&sandboxes).unwrap();
        assert_eq!(mounts(), 0, "it would be hidden");
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
