//! A directory to which names can be added, in the place of one of the kernel's: a tmpfs with the real entries bound through.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::MountError;
use super::file;

/// Makes one at `scratch`, an empty directory, and mounts it over `directory`.
pub fn replace(directory: &Path, scratch: &Path) -> Result<(), MountError> {
    mount(Some("sandbar"), scratch, Some("tmpfs"), MsFlags::empty(), Some("mode=0555"))
        .map_err(MountError::on("mount a tmpfs on", scratch))?;
    let made = fill(directory, scratch).and_then(|()| {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(scratch), directory, None::<&str>, flags, None::<&str>)
            .map_err(MountError::on("mount over", directory))
    });
    // The copy in its place lives on by itself.
    let unmounted = file::unmount(scratch);
    made?;
    unmounted.and_then(|()| file::private(directory, MsFlags::MS_REC))
}

fn fill(directory: &Path, copy: &Path) -> Result<(), MountError> {
    file::private(copy, MsFlags::empty())?;
    for entry in fs::read_dir(directory).map_err(MountError::on("list", directory))? {
        let (from, entry_type) = entry
            .and_then(|entry| Ok((entry.path(), entry.file_type()?)))
            .map_err(MountError::on("list", directory))?;
        let to = copy.join(from.file_name().unwrap_or_default());
        let made = match () {
            () if entry_type.is_symlink() => {
                fs::read_link(&from).and_then(|target| std::os::unix::fs::symlink(target, &to))
            }
            () if entry_type.is_dir() => fs::create_dir(&to),
            () => fs::write(&to, ""),
        };
        made.map_err(MountError::on("make", &to))?;
        if !entry_type.is_symlink() {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(&from), &to, None::<&str>, flags, None::<&str>)
                .map_err(MountError::on("bind", &from))?;
        }
    }
    file::private(copy, MsFlags::MS_REC)
}

/// Adds an empty file to mount on, and the directories above it that are missing; tells of each before it is made.
pub fn add(path: &Path, mut tell: impl FnMut(&Path) -> Result<(), MountError>) -> Result<(), MountError> {
    let missing: Vec<&Path> =
        path.ancestors().skip(1).take_while(|above| fs::symlink_metadata(above).is_err()).collect();
    for directory in missing.into_iter().rev() {
        tell(directory)?;
        fs::create_dir(directory).map_err(MountError::on("make", directory))?;
    }
    tell(path)?;
    match fs::File::options().write(true).create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(MountError::on("make", path)(error))
        }
        _ => Ok(()),
    }
}
