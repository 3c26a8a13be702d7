//! What is at a path, found out by looking.

use std::fs;
use std::path::Path;

use nix::sys::statfs::statfs;
use nix::unistd::{AccessFlags, access};

use super::plan::Place;

/// Filesystems in which the kernel alone makes files: procfs, sysfs, cgroup, cgroup2.
const OF_THE_KERNEL: [i64; 4] = [0x9FA0, 0x6265_6572, 0x0027_E0EB, 0x6367_7270];

/// What is at an absolute path.
pub fn at(path: &Path) -> Place {
    let parent = path.parent().unwrap_or(path);
    let Some(directory) = parent.ancestors().find(|above| fs::symlink_metadata(above).is_ok()) else {
        return Place::Closed(parent.to_owned());
    };
    if fs::canonicalize(directory).ok().as_deref() != Some(directory) {
        return Place::BehindLink;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            fs::read_link(path).map_or(Place::BehindLink, |to| Place::Link(parent.join(to)))
        }
        Ok(found) if found.is_dir() => Place::Directory,
        Ok(_) => Place::File,
        Err(_) if takes_names(directory) => Place::Free(directory.to_owned()),
        Err(_) => Place::Closed(directory.to_owned()),
    }
}

fn takes_names(directory: &Path) -> bool {
    let kernel = statfs(directory).map_or(true, |found| OF_THE_KERNEL.contains(&found.filesystem_type().0));
    !kernel && access(directory, AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_links_and_gaps_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir(top.join("real")).unwrap();
        fs::write(top.join("real/file"), "").unwrap();
        std::os::unix::fs::symlink("real", top.join("link")).unwrap();
        assert_eq!(at(&top.join("real/file")), Place::File);
        assert_eq!(at(&top.join("real")), Place::Directory);
        assert_eq!(at(&top.join("link")), Place::Link(top.join("real")));
        assert_eq!(at(&top.join("link/file")), Place::BehindLink);
        assert_eq!(at(&top.join("real/no/such")), Place::Free(top.join("real")));
        assert_eq!(at(Path::new("/proc/no-such")), Place::Closed("/proc".into()));
        assert_eq!(at(Path::new("/proc/self/no-such")), Place::BehindLink);
    }
}
