//! Network namespaces: the node's own, a pod's, and work done inside one.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::error::CniError;

/// A namespace, held open.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

impl Netns {
    /// That of this thread, which is the node's.
    pub fn own() -> Result<Self, CniError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The one at `path`.
    pub fn open(path: &Path) -> Result<Self, CniError> {
        let what = format!("open the network namespace {}", path.display());
        let file = File::open(path).map_err(CniError::io(what))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Whether both are the same one.
    pub fn is(&self, other: &Self) -> bool {
        let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino())).ok();
        let own = identity(&self.file);
        own.is_some() && own == identity(&other.file)
    }

    /// The descriptor's number, for messages to the kernel while this is alive.
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Does something on a thread of its own inside this namespace: a thread that has entered one is not used for
    /// anything else afterwards.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T, CniError> + Send) -> Result<T, CniError> {
        on_own_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| CniError::network(format!("enter {}", self.path.display()))(errno.into()))?;
            work()
        })
    }
}

/// Does something inside a fresh namespace, which goes away afterwards.
pub fn inside_fresh<T: Send>(work: impl FnOnce() -> Result<T, CniError> + Send) -> Result<T, CniError> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| CniError::network("make a network namespace")(errno.into()))?;
        work()
    })
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T, CniError> + Send) -> Result<T, CniError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work);
        let thread = thread.map_err(CniError::io("start a thread"))?;
        thread.join().unwrap_or(Err(CniError::Broken))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_one_is_itself() {
        assert!(Netns::own().unwrap().is(&Netns::own().unwrap()));
        assert_eq!(Netns::open(Path::new("/does/not/exist")).unwrap_err().code(), 5);
    }

    #[test]
    fn a_panic_inside_is_an_error() {
        assert!(matches!(on_own_thread::<()>(|| panic!("on purpose")), Err(CniError::Broken)));
    }
}
