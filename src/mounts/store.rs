//! Where values are kept: a tmpfs of our mount namespace that only we reach. An empty one lies over it, so that a pod that is given
//! the directory above, with all that is mounted there, is not given what k3s reads. (gVisor takes no MS_UNBINDABLE.)

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::mount::{MsFlags, mount};

use super::MountError;
use super::file;

/// The directory that it is mounted on. `run` is the supervisor's, of run-time files.
pub fn place(run: &Path) -> PathBuf {
    run.join("mounts")
}

/// A store that is mounted.
#[derive(Debug)]
pub struct Store {
    place: PathBuf,
    directory: File,
}

impl Store {
    /// Makes one.
    pub fn mount(run: &Path) -> Result<Self, MountError> {
        let place = place(run);
        fs::create_dir_all(&place).map_err(MountError::on("make", &place))?;
        tmpfs(&place, "mode=0700")?;
        let opened =
            OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(&place);
        let covered = opened.map_err(MountError::on("open", &place)).and_then(|directory| {
            tmpfs(&place, "mode=0500,size=4k")?;
            Ok(Self { place: place.clone(), directory })
        });
        covered.inspect_err(|_| drop(file::unmount(&place)))
    }

    /// The way in: by the descriptor, below what lies over it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()))
    }

    /// Takes it away; what is mounted elsewhere from it stays.
    pub fn unmount(self) -> Result<(), MountError> {
        file::unmount(&self.place).and_then(|()| file::unmount(&self.place))
    }
}

fn tmpfs(place: &Path, options: &str) -> Result<(), MountError> {
    mount(Some("sandbar"), place, Some("tmpfs"), MsFlags::empty(), Some(options))
        .map_err(MountError::on("mount a tmpfs on", place))?;
    file::private(place, MsFlags::empty()).inspect_err(|_| drop(file::unmount(place)))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[ignore = "run by the test below, in a mount namespace of its own"]
    fn inside() {
        let (run, target) = (std::env::temp_dir().join("run"), std::env::temp_dir().join("target"));
        let store = Store::mount(&run).unwrap();
        let value = store.path().join("1");
        fs::write(&value, "one").unwrap();
        fs::write(&target, "").unwrap();
        file::bind(&value, &target, false).unwrap();
        // As a pod gets a directory of the node.
        let pod = std::env::temp_dir().join("pod");
        fs::create_dir(&pod).unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&run), &pod, None::<&str>, flags, None::<&str>).unwrap();
        assert_eq!(fs::read_dir(place(&pod)).unwrap().count(), 0, "a pod sees what is kept");
        assert!(fs::metadata(&value).is_ok());
        file::rewrite(&value, b"two").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "two");
        store.unmount().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "two");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(place(&run).to_str().unwrap()), "{table}");
    }

    #[test]
    fn a_pod_that_gets_the_directory_above_does_not_get_the_store() {
        let temporary = tempfile::tempdir().unwrap();
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "mounts::store::tests::inside"])
            .env("TMPDIR", temporary.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}
