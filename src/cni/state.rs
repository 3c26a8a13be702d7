//! What the plugin remembers: one small file per attachment, the way out per network, and the lock that makes calls take turns.
//!
//! An attachment is written down before anything is done for it, so that a call that was killed half-way can be undone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::egress::Egress;
use super::error::CniError;
use super::result::Outcome;
use super::rules::Rule;
use super::userspace::Wants;

/// How the node's ends of a network begin. With eight more digits they are fifteen characters, as long as a name may be.
pub fn prefix(network: &str) -> String {
    format!("sbr{}", digits(network, 2))
}

fn digits(text: &str, bytes: usize) -> String {
    Sha256::digest(text).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// What names an attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct Id {
    pub network: String,
    pub container: String,
    pub ifname: String,
}

impl Id {
    /// The node's end of the pair: the same each time, so that it is found even where nothing was remembered.
    pub fn host_link(&self) -> String {
        // A container's id cannot contain a slash.
        format!("{}{}", prefix(&self.network), digits(&format!("{}/{}", self.container, self.ifname), 4))
    }
}

/// An attachment, begun or complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Attachment {
    /// Whose.
    #[serde(flatten)]
    pub id: Id,
    /// The pod's namespace.
    pub netns: PathBuf,
    /// Rules of the host ports, written down before they are set.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// The program that sets them.
    #[serde(default)]
    pub iptables: Option<PathBuf>,
    /// What is wanted of the server in user space, written down before it is asked.
    #[serde(default)]
    pub userspace: Wants,
    /// What ADD answered; nothing until it has.
    #[serde(default)]
    pub outcome: Option<Outcome>,
}

/// All attachments as they are written in `dir`, without the lock: each file is whole.
pub fn read_all(dir: &Path) -> Vec<Attachment> {
    let entries = fs::read_dir(dir.join("attachments")).into_iter().flatten().flatten();
    let files =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
    files.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect()
}

/// The remembered state, locked.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Store {
    /// Takes the lock in `dir`, waiting at most `limit` for it.
    pub fn open(dir: &Path, limit: Duration) -> Result<Self, CniError> {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(dir.join("attachments"));
        make.map_err(CniError::io(format!("make {}", dir.display())))?;
        let lock = take(&dir.join("lock"), limit)?;
        // What we start inherits it: if we are killed, the next call waits for host-local to have ended too.
        let inherit = fcntl(&*lock, FcntlArg::F_SETFD(FdFlag::empty()));
        inherit.map_err(|errno| CniError::io("hand the lock on")(errno.into()))?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is known of an attachment.
    pub fn attachment(&self, id: &Id) -> Result<Option<Attachment>, CniError> {
        let found: Option<Attachment> = self.read(&self.file_of(id))?;
        Ok(found.filter(|attachment| attachment.id == *id))
    }

    /// All attachments, of every network.
    pub fn attachments(&self) -> Result<Vec<Attachment>, CniError> {
        let dir = self.dir.join("attachments");
        let listed = fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let listed = listed.map_err(CniError::io(format!("list {}", dir.display())))?;
        // Under our lock nobody is writing: what a killed call has begun to write stays for ever otherwise.
        for entry in listed.iter().filter(|entry| entry.path().extension().is_some_and(|end| end == "new")) {
            let _ = fs::remove_file(entry.path());
        }
        let mut found = Vec::new();
        for entry in listed.iter().filter(|entry| entry.path().extension().is_some_and(|end| end == "json")) {
            found.extend(self.read(&entry.path())?);
        }
        Ok(found)
    }

    /// Writes an attachment down.
    pub fn save(&self, attachment: &Attachment) -> Result<(), CniError> {
        self.write(&self.file_of(&attachment.id), attachment)
    }

    /// Forgets one; one that is not known is fine.
    pub fn forget(&self, id: &Id) -> Result<(), CniError> {
        let path = self.file_of(id);
        // What a call that was killed while writing has left.
        let _ = fs::remove_file(path.with_extension("new"));
        remove(&path)
    }

    /// The way out of a network, as it was found last.
    pub fn egress(&self, network: &str) -> Result<Option<Egress>, CniError> {
        self.read(&self.egress_file(network))
    }

    /// Writes the way out down.
    pub fn save_egress(&self, network: &str, egress: &Egress) -> Result<(), CniError> {
        self.write(&self.egress_file(network), egress)
    }

    /// Forgets it; one that is not known is fine.
    pub fn forget_egress(&self, network: &str) -> Result<(), CniError> {
        remove(&self.egress_file(network))
    }

    fn file_of(&self, id: &Id) -> PathBuf {
        self.dir.join("attachments").join(id.host_link()).with_extension("json")
    }

    fn egress_file(&self, network: &str) -> PathBuf {
        self.dir.join(format!("egress-{network}.json"))
    }

    /// Files are replaced whole, so one that cannot be read was not written by us: as good as none.
    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, CniError> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CniError::io(format!("read {}", path.display()))(error)),
        }
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), CniError> {
        let fresh = path.with_extension("new");
        let bytes = serde_json::to_vec(value).map_err(|error| CniError::Decode(error.to_string()))?;
        let written = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path));
        written.map_err(CniError::io(format!("write {}", path.display())))
    }
}

/// Takes a lock. Waiting for it is left to the kernel, which wakes who waits.
fn take(path: &Path, limit: Duration) -> Result<Flock<File>, CniError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(CniError::io(format!("open {}", path.display())))?;
    let failed = |(_, errno): (File, Errno)| CniError::io(format!("lock {}", path.display()))(errno.into());
    match lock(file, FlockArg::LockExclusiveNonblock) {
        Err((file, Errno::EWOULDBLOCK)) => {
            let (sender, receiver) = mpsc::channel();
            // Got too late, it goes with the answer that nobody waits for.
            let waits = move || drop(sender.send(lock(file, FlockArg::LockExclusive)));
            thread::Builder::new().spawn(waits).map_err(CniError::io("start a thread"))?;
            let busy = |_| CniError::Busy { path: path.display().to_string() };
            receiver.recv_timeout(limit).map_err(busy)?.map_err(failed)
        }
        tried => tried.map_err(failed),
    }
}

fn lock(mut file: File, how: FlockArg) -> Result<Flock<File>, (File, Errno)> {
    loop {
        match Flock::lock(file, how) {
            Err((again, Errno::EINTR)) => file = again,
            done => return done,
        }
    }
}

fn remove(path: &Path) -> Result<(), CniError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CniError::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(container: &str) -> Id {
        Id { network: "pods".into(), container: container.into(), ifname: "eth0".into() }
    }

    #[test]
    fn a_link_name_is_short_and_always_the_same() {
        assert_eq!(id("a").host_link(), id("a").host_link());
        assert_ne!(id("a").host_link(), id("b").host_link());
        assert_eq!(id("a").host_link().len(), 15);
    }

    #[test]
    fn what_is_saved_is_found_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Duration::ZERO).unwrap();
        let begun = Attachment { id: id("a"), netns: "/n".into(), ..Attachment::default() };
        store.save(&begun).unwrap();
        assert_eq!(store.attachment(&id("a")).unwrap(), Some(begun.clone()));
        assert_eq!(store.attachments().unwrap(), [begun]);
        store.forget(&id("a")).unwrap();
        store.forget(&id("a")).unwrap();
        assert_eq!(store.attachment(&id("a")).unwrap(), None);
    }

    #[test]
    fn calls_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let held = Store::open(dir.path(), Duration::ZERO).unwrap();
        let refused = Store::open(dir.path(), Duration::from_millis(30)).unwrap_err();
        assert_eq!(refused.code(), 11);
        thread::scope(|scope| {
            let next = scope.spawn(|| Store::open(dir.path(), Duration::from_secs(60)));
            thread::sleep(Duration::from_millis(30));
            assert!(!next.is_finished());
            drop(held);
            let next = next.join().unwrap().unwrap();
            assert!(Store::open(dir.path(), Duration::ZERO).is_err());
            drop(next);
        });
    }
}
