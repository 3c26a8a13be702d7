//! One file over another: a bind mount, and a value changed in place.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::MountError;

/// Mounts `from` over `to`.
pub fn bind(from: &Path, to: &Path, read_only: bool) -> Result<(), MountError> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(MountError::on("mount over", to))?;
    let mut made = private(to, MsFlags::empty());
    if read_only && made.is_ok() {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        made = mount(None::<&str>, to, None::<&str>, flags, None::<&str>)
            .map_err(MountError::on("make read-only", to));
    }
    made.inspect_err(|_| drop(unmount(to)))
}

/// Keeps what is mounted at `path` from joining the mounts of other namespaces.
pub fn private(path: &Path, deep: MsFlags) -> Result<(), MountError> {
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_PRIVATE | deep, None::<&str>)
        .map_err(MountError::on("make private", path))
}

/// Takes away what is mounted at `path`; who has it open keeps it.
pub fn unmount(path: &Path) -> Result<(), MountError> {
    umount2(path, MntFlags::MNT_DETACH).map_err(MountError::on("unmount", path))
}

/// Changes the content of a mounted file for its next readers, without a moment in which it is empty.
pub fn rewrite(path: &Path, value: &[u8]) -> Result<(), MountError> {
    let write = || -> io::Result<()> {
        let file = fs::File::options().write(true).open(path)?;
        let before = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        // A reader between the two steps finds the new value and line ends, not the tail of the old one.
        let mut padded = value.to_vec();
        padded.resize(value.len().max(before.min(crate::rules::bounds::MAX_VALUE_BYTES)), b'\n');
        file.write_all_at(&padded, 0)?;
        file.set_len(value.len() as u64)
    };
    write().map_err(MountError::on("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_whole_in_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        fs::write(&path, "100000\n").unwrap();
        let open = fs::File::open(&path).unwrap();
        for value in ["5\n", "1234567890\n", ""] {
            rewrite(&path, value.as_bytes()).unwrap();
            let mut seen = [0; 32];
            let read = open.read_at(&mut seen, 0).unwrap();
            assert_eq!(&seen[..read], value.as_bytes());
        }
    }
}
