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
    sweep(Path::new(SANDBOXES));
    if let Err(error) = give_sandboxes_their_own() {
        tracing::warn!("no filesystem of its own for {error}");
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

/// Gives sandboxes a filesystem of their own again, if they have lost it; not where there is one by now, which would be hidden. To be asked
/// while containerd is down.
pub fn give_sandboxes_their_own() -> std::io::Result<()> {
    give_own(Path::new(SANDBOXES)).map_err(|error| std::io::Error::other(format!("{SANDBOXES}: {error}")))
}

fn give_own(place: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(place)?;
    let [own, above] =
        [place, place.parent().unwrap_or(place)].map(|path| fs::metadata(path).map(|found| found.dev()));
    if own? != above? {
        return Ok(());
    }
    if fs::read_dir(place)?.next().is_some() {
        return Err(std::io::Error::other("there are sandboxes; sandbar down and sandbar up give them one"));
    }
    Ok(mount(Some("sandbar"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=0711"))?)
}

/// Removes what a supervisor that was killed has left of its sandboxes: directories that are empty. What is not is somebody's.
fn sweep(place: &Path) {
    for sandbox in fs::read_dir(place).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(sandbox.path().join("shm"));
        let _ = fs::remove_dir(sandbox.path());
    }
}

/// Whether this process's mount namespace has lost what was mounted in it (see [`SANDBOXES`]): all, or what `/run` was.
pub fn lost() -> bool {
    ["/proc/self", ROOTS].iter().any(|path| !Path::new(path).exists())
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
        let sandboxes = std::env::temp_dir().join("of/sandboxes");
        std::fs::create_dir_all(sandboxes.join("left/shm")).unwrap();
        let mounts = || {
            let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let of_it =
                |line: &&str| line.split(' ').nth(4) == sandboxes.to_str() && line.contains(" shared:");
            table.lines().filter(of_it).count()
        };
        assert!(give_own(&sandboxes).is_err(), "it would be hidden");
        assert_eq!(mounts(), 0);
        sweep(&sandboxes);
        give_own(&sandboxes).unwrap();
        give_own(&sandboxes).unwrap();
        assert_eq!(mounts(), 1);
        nix::mount::umount(&sandboxes).unwrap();
        std::fs::create_dir_all(sandboxes.join("one/with-something")).unwrap();
        sweep(&sandboxes);
        assert!(sandboxes.join("one/with-something").exists(), "it is somebody's");
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
