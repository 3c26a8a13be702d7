//! Filesystems in layers, as snapshotters make them for containers: mounted for real where those would lie, and looked into.
//!
//! An exit code does not tell: fuse-overlayfs says that it has mounted where nothing is to be seen, and gVisor's overlay on
//! a 9p shows everything and lets nothing of a lower layer be removed.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;

use super::abilities::Tried;

/// For fuse-overlayfs to mount, and for every look at what it serves.
const LIMIT: Duration = Duration::from_secs(3);
/// For what has to end when that is over; and for a server to fail at what it is asked first.
const GRACE: Duration = Duration::from_millis(200);
/// What containerd mounts it with, and what it is itself.
const HELPER: &str = "mount.fuse3";
const SERVER: &str = "fuse-overlayfs";

/// What an overlay of the kernel can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// It shows its layers, and takes what is written.
    pub works: Tried,
    /// What comes from a lower layer can be removed.
    pub removes: Tried,
}

/// Tries the kernel's, below `place`.
pub fn overlay(place: &Path) -> Overlay {
    let place = place.to_owned();
    let tried = apart(move || {
        let layers = Layers::new(&place)?;
        mount(
            Some("overlay"),
            &layers.at("merged"),
            Some("overlay"),
            MsFlags::empty(),
            Some(&*layers.options()),
        )
        .map_err(|errno| errno.to_string())?;
        layers.work()?;
        Ok(layers.remove().err())
    });
    match tried {
        Ok(removes) => Overlay { works: None, removes },
        Err(why) => Overlay { works: Some(why.clone()), removes: Some(why) },
    }
}

/// Tries fuse-overlayfs, below `place`; `find` says where a program is.
pub fn fuse_overlayfs(place: &Path, find: impl Fn(&str) -> Option<PathBuf>) -> Tried {
    let place = place.to_owned();
    let (helper, server) = (find(HELPER), find(SERVER));
    let tried = apart(move || {
        helper.ok_or_else(|| format!("there is no program {HELPER}"))?;
        let server = server.ok_or_else(|| format!("there is no program {SERVER}"))?;
        let layers = Layers::new(&place)?;
        let mut server = Command::new(server)
            .args(["-f", "-o", &layers.options()])
            .arg(layers.at("merged"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {SERVER}: {error}"))?;
        let looked = watched(server.id(), || {
            layers.appear(&mut server)?;
            layers.work()?;
            layers.remove()
        });
        // Detached, the mount ends with its server; both are ours alone.
        let _ = umount2(&layers.at("merged"), MntFlags::MNT_DETACH);
        let _ = server.kill();
        let _ = server.wait();
        looked
    });
    tried.err()
}

/// Does something on a thread with a mount namespace of its own, out of which nothing goes. A thread that never comes back is
/// left: gVisor 4.4.0 keeps whoever has asked a FUSE server that has ended.
fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let enter = || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("no mount namespace: {errno}"))?;
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .map_err(|errno| format!("mounts cannot be made private: {errno}"))?;
        work()
    };
    let (sender, answer) = mpsc::channel();
    let thread = thread::Builder::new().name("layers".into()).spawn(move || sender.send(enter()));
    let thread = thread.map_err(|error| format!("no thread: {error}"))?;
    let answer = answer.recv_timeout(LIMIT + GRACE);
    if !matches!(answer, Err(RecvTimeoutError::Timeout)) {
        // Ended for good, so that the caller has no other threads.
        let _ = thread.join();
    }
    answer.unwrap_or_else(|end| match end {
        RecvTimeoutError::Timeout => Err("what is mounted never answers".to_owned()),
        RecvTimeoutError::Disconnected => Err("a bug in the probe".to_owned()),
    })
}

/// Does something that a process serves, and kills it if that takes too long: whoever waits for it gets an error then.
fn watched(pid: u32, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let (done, waits) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let watchdog = scope.spawn(move || {
            let late = waits.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
            if let (true, Ok(pid)) = (late, i32::try_from(pid)) {
                // It is not collected yet, so the number is still its own.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            late
        });
        let worked = work();
        drop(done);
        match watchdog.join() {
            Ok(true) => Err(format!("no answer in {} s", LIMIT.as_secs())),
            _ => worked,
        }
    })
}

/// Directories with two lower layers and an empty upper one; removed at the end.
struct Layers {
    dir: PathBuf,
    /// Whether the upper of the two lower layers hides something of the other, as an image's layer does.
    hides: Result<(), String>,
}

impl Layers {
    fn new(place: &Path) -> Result<Self, String> {
        let dir = place.join(format!(".sandbar-probe-{}", std::process::id()));
        // What a killed one has left.
        let _ = fs::remove_dir_all(&dir);
        let unusable = |error: io::Error| format!("no place to try it in {}: {error}", place.display());
        fs::create_dir(&dir).map_err(unusable)?;
        let mut layers = Self { dir, hides: Ok(()) };
        layers.fill().map_err(unusable)?;
        let hidden = mknod(&layers.at("lower2/hidden"), SFlag::S_IFCHR, Mode::empty(), makedev(0, 0));
        layers.hides = hidden.map_err(|errno| format!("no layer can hide what is below it: {errno}"));
        Ok(layers)
    }

    fn fill(&self) -> io::Result<()> {
        for name in ["lower1/dir", "lower2", "upper", "work", "merged"] {
            fs::create_dir_all(self.at(name))?;
        }
        let files =
            ["lower1/kept", "lower1/both", "lower1/gone", "lower1/hidden", "lower1/dir/old", "lower2/both"];
        files.iter().try_for_each(|name| fs::write(self.at(name), name))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn options(&self) -> String {
        let at = |name| self.at(name).display().to_string();
        let lower = format!("{}:{}", at("lower2"), at("lower1"));
        format!("lowerdir={lower},upperdir={},workdir={}", at("upper"), at("work"))
    }

    /// Waits until something is mounted and `server` has lived with that for a while. Nothing is asked of it before: in gVisor
    /// it ends as soon as it has mounted.
    fn appear(&self, server: &mut Child) -> Result<(), String> {
        let merged = self.at("merged").display().to_string();
        let mounted = || {
            let table = fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
            table.lines().any(|line| line.split(' ').nth(1) == Some(&merged))
        };
        let mut since = None;
        while since.is_none_or(|since: Instant| since.elapsed() < GRACE) {
            if since.is_none() && mounted() {
                since = Some(Instant::now());
            }
            if let Ok(Some(status)) = server.try_wait() {
                let mut said = String::new();
                server.stderr.take().map(|mut words| words.read_to_string(&mut said));
                let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
                return Err(format!("nothing is mounted, and {SERVER} has ended ({status}): {last}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn holds(&self, name: &str, wanted: &str) -> Result<(), String> {
        match fs::read_to_string(self.at(name)) {
            Ok(text) if text == wanted => Ok(()),
            Ok(_) => Err(format!("the content of {name} is another's")),
            Err(error) => Err(format!("{name} cannot be read: {error}")),
        }
    }

    /// Both lower layers are seen, and what is written goes into the upper one alone.
    fn work(&self) -> Result<(), String> {
        self.holds("merged/kept", "lower1/kept")?;
        self.holds("merged/both", "lower2/both")?;
        for name in ["kept", "new"] {
            fs::write(self.at("merged").join(name), "written")
                .map_err(|error| format!("{name} cannot be written: {error}"))?;
            self.holds(&format!("upper/{name}"), "written")?;
        }
        self.holds("lower1/kept", "lower1/kept")
    }

    /// What comes from a lower layer can be removed, by who uses it and by a layer, and does not come back.
    fn remove(&self) -> Result<(), String> {
        let failed = |what: &'static str| {
            move |error: io::Error| format!("{what} of a lower layer cannot be removed: {error}")
        };
        fs::remove_file(self.at("merged/gone")).map_err(failed("a file"))?;
        fs::remove_dir_all(self.at("merged/dir")).map_err(failed("a directory"))?;
        self.hides.clone()?;
        fs::create_dir(self.at("merged/dir")).map_err(failed("a directory"))?;
        let back = ["gone", "hidden", "dir/old"].iter().find(|name| self.at("merged").join(name).exists());
        match back {
            Some(name) => Err(format!("{name} is removed, and still there")),
            None => self.holds("lower1/gone", "lower1/gone"),
        }
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        // The mount is in the way where it is not detached yet.
        let _ = umount2(&self.at("merged"), MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(merge: bool) -> (tempfile::TempDir, Layers) {
        let place = tempfile::tempdir().unwrap();
        let layers = Layers::new(place.path()).unwrap();
        if merge {
            fs::write(layers.at("merged/kept"), "lower1/kept").unwrap();
            fs::write(layers.at("merged/both"), "lower2/both").unwrap();
        }
        (place, layers)
    }

    #[test]
    fn a_mount_that_shows_nothing_or_writes_elsewhere_does_not_work() {
        let (_place, nothing) = layers(false);
        assert!(nothing.work().unwrap_err().contains("merged/kept cannot be read"));
        let (_place, copied) = layers(true);
        assert!(copied.work().unwrap_err().contains("upper/kept cannot be read"));
    }

    #[test]
    fn a_server_that_ends_or_mounts_nothing_is_told_from_one_that_serves() {
        let place = tempfile::tempdir().unwrap();
        let program = |text: &str| {
            let path = place.path().join("program");
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            fuse_overlayfs(place.path(), |_| Some(path.clone()))
        };
        assert!(program("echo no >&2").unwrap().ends_with("has ended (exit status: 0): no"));
        assert!(program("exec sleep 60").unwrap().contains("no answer in 3 s"));
        let missing = fuse_overlayfs(place.path(), |_| None);
        assert_eq!(missing.unwrap(), "there is no program mount.fuse3");
        assert!(!place.path().join(format!(".sandbar-probe-{}", std::process::id())).exists());
    }

    #[test]
    fn the_kernels_overlay_works_where_linux_has_one() {
        // The machine's own /tmp may itself be an overlay, which takes no other.
        let found = overlay(Path::new("/dev/shm"));
        assert_eq!(found, Overlay::default());
    }
}
