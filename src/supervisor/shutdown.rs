//! Leaving nothing behind: processes, mounts and run-time files of a supervisor that ends, or that was killed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;

use super::files::{self, FileError};
use super::k3s_process::INSTANCE;
use super::paths::Paths;
use super::process;
use crate::mounts::{self, points::points};

/// Below these k3s mounts things for its containers.
const MOUNTED_BY_K3S: &[&str] = &["/run/k3s/", "/var/lib/kubelet/", "/run/netns/cni-", "/run/flannel/"];

/// Kills every descendant of this process; what was started under it cannot escape, since it is their subreaper.
pub fn kill_descendants() -> usize {
    kill_until_gone(|| descendants(&[std::process::id()].into(), &parents()))
}

/// Kills what a supervisor that was itself killed left running: all that carries its mark, and their descendants.
pub fn kill_left_over(paths: &Paths) -> usize {
    kill_until_gone(|| {
        let marked = marked(&paths.run);
        let mut all = descendants(&marked, &parents());
        all.extend(marked);
        // A caller inside the view that it takes down, say a shell under `sandbar exec`, still gets to finish.
        all.remove(&std::process::id());
        all
    })
}

/// Waits for killed processes that are not quite gone: the first thread is, others are on their way and hold what the
/// process had, ports among it. Returns whether there were any.
pub fn await_dying() -> bool {
    let dying = || {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .into_iter()
            .any(|entry| fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| is_dying(&stat)))
    };
    let were = dying();
    // Bounded: a program may also live on without its first thread.
    for _ in 0..250 {
        if !dying() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    were
}

/// Whether a line of /proc/PID/stat is of a process whose first thread has ended and whose others have not.
fn is_dying(stat: &str) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    // State is the third field of the line, the number of threads the twentieth.
    let zombie = fields.next() == Some("Z");
    let threads = fields.nth(16).and_then(|threads| threads.parse::<u32>().ok());
    zombie && threads.is_some_and(|threads| threads > 1)
}

/// Kills all that is found until nothing is; returns how many that were.
pub fn kill_until_gone(find: impl Fn() -> HashSet<u32>) -> usize {
    let mut killed = HashSet::new();
    // New ones may be forked while we look; a process in an uninterruptible wait is not worth waiting for.
    for _ in 0..100 {
        let found = find();
        if found.is_empty() {
            break;
        }
        for pid in &found {
            process::signal(*pid, Signal::SIGKILL);
        }
        killed.extend(found);
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.len()
}

/// Every living process and its parent.
fn parents() -> HashMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// The parent in a line of /proc/PID/stat; `None` for a process that is dead already. The name in parentheses may contain
/// anything, so what counts begins after the last one.
fn parent(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.next()?.parse().ok() }
}

fn descendants(roots: &HashSet<u32>, parents: &HashMap<u32, u32>) -> HashSet<u32> {
    let below = |pid: u32| {
        let mut at = pid;
        // Bounded, in case a pid was reused while we read and the list has a circle.
        for _ in 0..parents.len() {
            match parents.get(&at) {
                Some(parent) if roots.contains(parent) => return true,
                Some(parent) => at = *parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(|pid| !roots.contains(pid) && below(*pid)).collect()
}

fn marked(run: &Path) -> HashSet<u32> {
    let mark = [INSTANCE.as_bytes(), b"=", run.as_os_str().as_bytes()].concat();
    let carries = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark)
    };
    parents().into_keys().filter(carries).collect()
}

/// Unmounts what k3s's containers had mounted, the innermost first. Returns how many there were.
pub fn unmount_left_over(data: &Path) -> usize {
    let found = || {
        fs::read_to_string("/proc/self/mountinfo")
            .map_or_else(|_| Vec::new(), |table| mounts_below(&table, data))
    };
    let mut unmounted = 0;
    for mount in found() {
        // It may have gone along with another, and asked for what is no mount point here any more, gVisor takes away what that
        // lies in, in the end `/` (hack/experiments/unmount-elsewhere).
        if !found().contains(&mount) {
            continue;
        }
        // Detached, so that a busy one goes when its last user does.
        match umount2(&mount, MntFlags::MNT_DETACH) {
            Ok(()) => unmounted += 1,
            Err(errno) => tracing::warn!("cannot unmount {}: {errno}", mount.display()),
        }
    }
    unmounted
}

/// The mount points in a mountinfo table that belong to k3s, in the order in which they can be unmounted.
fn mounts_below(table: &str, data: &Path) -> Vec<PathBuf> {
    let own = |point: &str| {
        let in_data = Path::new(point).starts_with(data) && Path::new(point) != data;
        in_data || MOUNTED_BY_K3S.iter().any(|top| point.starts_with(top))
    };
    let mut points: Vec<PathBuf> = points(table).filter(|point| own(point)).map(PathBuf::from).collect();
    points.reverse();
    points
}

/// Removes the socket, the lock and the run directory, and what was created to mount on. What else is in that directory is
/// not ours and stays.
pub fn remove_run_files(paths: &Paths) -> Result<(), FileError> {
    files::remove_if_there(&paths.socket())?;
    files::remove_if_there(&paths.lock())?;
    mounts::sweep(&paths.run).map_err(FileError::on("remove what is listed in", &paths.run))?;
    // Not empty, or a mount point: stays.
    let _ = fs::remove_dir(&paths.run);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_fake_a_parent_and_the_dead_are_left_out() {
        assert_eq!(parent("12 (a) R 1 (b) S 7 12 12"), Some(7));
        assert_eq!(parent("12 (a) Z 7 12"), None);
        assert_eq!(parent("garbage"), None);
    }

    #[test]
    fn a_process_that_lost_its_first_thread_only_is_dying() {
        let line = |state: &str, threads: u32| {
            format!("12 (a b) {state} 7 12 12 0 -1 4228100 0 0 0 0 1 2 0 0 20 0 {threads} 0 999")
        };
        assert!(is_dying(&line("Z", 9)));
        assert!(!is_dying(&line("Z", 1)) && !is_dying(&line("S", 9)) && !is_dying("garbage"));
        // A real line: this test is not the process's first thread.
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let (name, rest) = own.rsplit_once(") ").unwrap();
        assert!(is_dying(&format!("{name}) Z{}", &rest[1..])), "{own}");
    }

    #[test]
    fn descendants_are_followed_through_any_number_of_generations() {
        let parents = [(10, 1), (11, 10), (12, 11), (20, 1), (21, 20)].into();
        assert_eq!(descendants(&[10].into(), &parents), [11, 12].into());
    }

    #[test]
    fn only_mounts_of_k3s_are_unmounted_innermost_first() {
        let table = "1 1 0:1 / /var/lib/rancher/k3s rw - tmpfs t rw\n\
                     2 1 0:1 / /var/lib/kubelet/pods/a rw - tmpfs t rw\n\
                     3 2 0:1 / /var/lib/kubelet/pods/a/b\\040c rw - tmpfs t rw\n\
                     4 1 0:1 / /run/k3s-other rw - tmpfs t rw\n\
                     5 1 0:1 / /home rw - tmpfs t rw\n";
        let found = mounts_below(table, Path::new("/var/lib/rancher/k3s"));
        let names: Vec<&str> = found.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(names, ["/var/lib/kubelet/pods/a/b c", "/var/lib/kubelet/pods/a"]);
    }
}
