//! The memfd that an opened fake becomes: what it is known by, and how it is filled from outside.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use super::{endless, path};
use crate::sys::ptrace::Tid;
use crate::sys::shared::{seal, sealed_memfd};

/// Name of the sample.
const SAMPLE: &str = "sandbar-probe";
/// Permissions of a new memfd, with and without vm.memfd_noexec.
const NEW_MODES: [u32; 2] = [0o777, 0o666];

/// What becomes of a new memfd.
#[derive(Debug)]
pub struct Fake {
    /// The name that it was made with.
    pub name: Vec<u8>,
    /// What it is to contain.
    pub content: Vec<u8>,
    /// Permissions.
    pub mode: u32,
    /// Nobody may change it afterwards.
    pub sealed: bool,
}

/// What all memfds of this kernel have in common; found by making one.
#[derive(Debug)]
pub struct Memfds {
    /// Device number.
    pub device: u64,
    /// When the sample was made, in seconds.
    pub made: i64,
    mount: Option<u64>,
    /// Before and behind the name, in what /proc says of one.
    link: (Vec<u8>, Vec<u8>),
}

impl Memfds {
    /// Makes one and looks at it.
    pub fn probe() -> io::Result<Self> {
        let sample = File::from(sealed_memfd(SAMPLE, 0)?);
        let facts = sample.metadata()?;
        let link = link(&sample)?;
        let nameless = || io::Error::other("a memfd does not tell its name here");
        let at =
            link.windows(SAMPLE.len()).position(|part| part == SAMPLE.as_bytes()).ok_or_else(nameless)?;
        let link = (link[..at].to_vec(), link[at + SAMPLE.len()..].to_vec());
        Ok(Self { device: facts.dev(), made: facts.mtime(), mount: path::mount_of(&sample), link })
    }

    /// Opens a tracee's new memfd and makes it the fake.
    ///
    /// Another thread of the tracee may have put something else in its place, whose open could block or act; so it is
    /// taken by O_PATH, which does neither, and opened only when it can be no other. Its name and mount come first: asking
    /// an object of a FUSE filesystem for more could wait for a tracee. Where no mount is told the name alone stands
    /// before that, and names can be made up; also, a thread may hold the memfd's lock while it writes from a page that
    /// faults. Both take a tracee that serves files or faults, and this is left to another thread then.
    pub fn fill(&self, tid: Tid, fd: i32, fake: &Fake) -> io::Result<File> {
        let handle = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(format!("/proc/{tid}/fd/{fd}"))?;
        let expected = [self.link.0.as_slice(), &fake.name, &self.link.1].concat();
        let named = endless::ask(tid, || link(&handle))? == expected && path::mount_of(&handle) == self.mount;
        if !named || !self.is_new(&handle.metadata()?) {
            return Err(io::Error::other("the descriptor is not the memfd that was made"));
        }
        // Not to wait for a thread of the tracee that holds a lease (fcntl(2), F_SETLEASE) on it: that takes 45 s.
        let memfd =
            File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(in_proc(&handle))?;
        // pwrite: in gVisor the offset is shared with the tracee's descriptor.
        memfd.write_all_at(&fake.content, 0)?;
        memfd.set_permissions(Permissions::from_mode(fake.mode))?;
        if fake.sealed {
            let all = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
            seal(&memfd, all)?;
        }
        Ok(memfd)
    }

    /// A memfd as memfd_create makes it. One of somebody else, handed to the tracee to read, has content, or the
    /// permissions of a fake.
    fn is_new(&self, facts: &Metadata) -> bool {
        facts.dev() == self.device && facts.size() == 0 && NEW_MODES.contains(&(facts.mode() & 0o7777))
    }
}

fn in_proc(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn link(file: &File) -> io::Result<Vec<u8>> {
    Ok(std::fs::read_link(in_proc(file))?.into_os_string().into_vec())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn memfd(name: &str) -> File {
        let name = std::ffi::CString::new(name).unwrap();
        let flags = nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING | nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
        nix::sys::memfd::memfd_create(name.as_c_str(), flags).unwrap().into()
    }

    fn filled(file: &File, name: &str) -> io::Result<File> {
        let fake = Fake { name: name.into(), content: b"fake\n".to_vec(), mode: 0o444, sealed: true };
        Memfds::probe().unwrap().fill(std::process::id() as Tid, file.as_raw_fd(), &fake)
    }

    #[test]
    fn a_new_memfd_becomes_the_fake_once() {
        let mut new = memfd("/proc/some thing");
        filled(&new, "/proc/some thing").unwrap();
        let mut text = String::new();
        new.read_to_string(&mut text).unwrap();
        assert_eq!(text, "fake\n");
        assert!(new.write_at(b"x", 0).is_err(), "not sealed");
        assert!(filled(&new, "/proc/some thing").is_err(), "an old fake was filled again");
    }

    #[test]
    fn what_another_thread_put_in_its_place_is_left_alone() {
        let other_name = memfd("name of another");
        let with_content = memfd("name");
        with_content.write_at(b"theirs", 0).unwrap();
        let empty_fake = memfd("name");
        empty_fake.set_permissions(Permissions::from_mode(0o644)).unwrap();
        let pipe = File::from(nix::unistd::pipe().unwrap().0);
        for (what, file) in [
            ("another name", &other_name),
            ("content", &with_content),
            ("permissions", &empty_fake),
            ("a pipe", &pipe),
        ] {
            let before = file.metadata().unwrap();
            assert!(filled(file, "name").is_err(), "{what}");
            let after = file.metadata().unwrap();
            assert_eq!((before.mode(), before.len()), (after.mode(), after.len()), "{what}");
        }
        with_content.write_at(b"x", 0).unwrap();
    }
}
