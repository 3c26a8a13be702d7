//! Which limits of control groups bind here, found out by exceeding them in a group of our own.
//!
//! The group is made where the kubelet makes those of pods, at the top of the hierarchy, and removed at the end.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::environment::Cgroups;
use super::parse::cgroup::Version;
use crate::rules::observed::ObservedLimit;
use crate::sys::probe::{self, Attempt, Refusal};

const MEMORY_LIMIT: usize = 16 << 20;
const MEMORY_WANTED: usize = 64 << 20;
/// One millisecond in twenty: what is wanted takes 400 ms.
const CPU_QUOTA: &str = "1000";
const CPU_PERIOD: &str = "20000";
const CPU_WANTED: i64 = 20_000;

/// Whether a limit binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// What exceeded it was stopped.
    Yes,
    /// What exceeded it was not stopped.
    No,
    /// It could not be tried.
    Unknown,
}

/// One controller's limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// `memory`, `cpu` or `pids`.
    pub controller: &'static str,
    /// Whether it binds.
    pub binding: Binding,
    /// What was seen.
    pub detail: String,
}

/// All of them; none if nothing was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits(pub Vec<Limit>);

impl Limits {
    /// Controllers whose limits were exceeded.
    pub fn not_enforced(&self) -> Vec<String> {
        self.with(Binding::No)
    }

    /// Controllers whose limits could not be tried.
    pub fn unknown(&self) -> Vec<String> {
        self.with(Binding::Unknown)
    }

    /// As the supervisor reports them.
    pub fn observed(&self) -> Vec<ObservedLimit> {
        let one = |limit: &Limit| ObservedLimit {
            controller: limit.controller.to_owned(),
            enforced: format!("{:?}", limit.binding),
            detail: limit.detail.clone(),
        };
        self.0.iter().map(one).collect()
    }

    fn with(&self, binding: Binding) -> Vec<String> {
        let those = self.0.iter().filter(|limit| limit.binding == binding);
        those.map(|limit| limit.controller.to_owned()).collect()
    }
}

/// Tries all three. Call it before starting threads: it forks. It takes about half a second.
pub fn try_all(cgroups: &Cgroups) -> Limits {
    let limit = |controller, attempt: fn(&Group) -> Seen| {
        let seen = Group::new(cgroups, controller).and_then(|group| attempt(&group));
        let (binding, detail) = seen.unwrap_or_else(|why| (Binding::Unknown, why));
        Limit { controller, binding, detail }
    };
    Limits(vec![limit("memory", memory), limit("cpu", cpu), limit("pids", pids)])
}

/// What came of it, or why it could not be tried.
type Seen = Result<(Binding, String), String>;

fn memory(group: &Group) -> Seen {
    // There, a group out of memory takes the machine along.
    if fs::read_to_string("/proc/sys/vm/panic_on_oom").is_ok_and(|value| value.trim() == "2") {
        return Err("not tried, for vm.panic_on_oom is 2".to_owned());
    }
    let limit = MEMORY_LIMIT.to_string();
    match group.version {
        Version::V2 => {
            group.write("memory.max", &limit)?;
            group.write_if_there("memory.swap.max", "0")?;
        }
        _ => {
            group.write("memory.limit_in_bytes", &limit)?;
            group.write_if_there("memory.memsw.limit_in_bytes", &limit)?;
        }
    }
    judge_memory(probe::use_memory(&group.procs()?, MEMORY_WANTED))
}

fn judge_memory(outcome: Attempt) -> Seen {
    let (limit, wanted) = (MEMORY_LIMIT >> 20, MEMORY_WANTED >> 20);
    match outcome {
        Ok(()) => Ok((Binding::No, format!("{wanted} MiB were used under a limit of {limit} MiB"))),
        Err(Refusal::Killed(libc::SIGKILL)) => {
            Ok((Binding::Yes, format!("what used more than {limit} MiB was killed")))
        }
        Err(Refusal::Errno(libc::ENOMEM)) => {
            Ok((Binding::Yes, format!("more than {limit} MiB were refused")))
        }
        Err(other) => Err(other.to_string()),
    }
}

fn cpu(group: &Group) -> Seen {
    match group.version {
        Version::V2 => group.write("cpu.max", &format!("{CPU_QUOTA} {CPU_PERIOD}"))?,
        _ => {
            group.write("cpu.cfs_period_us", CPU_PERIOD)?;
            group.write("cpu.cfs_quota_us", CPU_QUOTA)?;
        }
    }
    probe::use_cpu(&group.procs()?, CPU_WANTED).map_err(|refusal| refusal.to_string())?;
    Ok(judge_cpu(fs::read_to_string(group.dir.join("cpu.stat")).ok().as_deref()))
}

/// The kernel's count of what it held back. How long it took would say the same of a machine that is merely busy.
fn judge_cpu(stat: Option<&str>) -> (Binding, String) {
    let count = stat.and_then(|text| {
        let value = text.lines().find_map(|line| line.strip_prefix("nr_throttled "))?;
        value.trim().parse::<u64>().ok()
    });
    match count {
        Some(count) if count > 0 => (Binding::Yes, "what used more than its quota was held back".to_owned()),
        Some(_) => (Binding::No, "20 times a quota were used, and nothing was held back".to_owned()),
        None => (Binding::No, "the kernel does not count what it holds back (no nr_throttled)".to_owned()),
    }
}

/// In a group below the one with the limit, as with pods: the kubelet limits the pod, and its processes are in the groups of its
/// containers. gVisor counts in those alone (`pidsController` in `pkg/sentry/fsimpl/cgroupfs/pids.go`).
fn pids(group: &Group) -> Seen {
    group.write("pids.max", "1")?;
    let container = group.below()?;
    judge_pids(probe::fork_many(&container.procs()?))
}

fn judge_pids(outcome: Attempt) -> Seen {
    match outcome {
        Ok(()) => {
            Ok((Binding::No, format!("{} processes were started where a pod's limit was one", probe::FORKS)))
        }
        Err(Refusal::Errno(libc::EAGAIN)) => Ok((Binding::Yes, "a process too many was refused".to_owned())),
        Err(other) => Err(other.to_string()),
    }
}

/// A group of our own, removed at the end.
struct Group {
    dir: PathBuf,
    version: Version,
}

impl Group {
    fn new(cgroups: &Cgroups, controller: &str) -> Result<Self, String> {
        let top = match cgroups.version {
            Version::None => None,
            Version::V1 => cgroups.mount(controller),
            Version::V2 => cgroups.mount(""),
        };
        let top = top.ok_or("the controller is missing")?;
        let dir = Path::new(top).join(format!("sandbar-probe-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| said(&dir, &error))?;
        Ok(Self { dir, version: cgroups.version })
    }

    /// One in it, to be removed before.
    fn below(&self) -> Result<Self, String> {
        let dir = self.dir.join("container");
        fs::create_dir(&dir).map_err(|error| said(&dir, &error))?;
        Ok(Self { dir, version: self.version })
    }

    fn write(&self, file: &str, value: &str) -> Result<(), String> {
        let path = self.dir.join(file);
        // Without O_CREAT: what is not there is not to be made.
        let opened = fs::OpenOptions::new().write(true).open(&path);
        opened
            .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
            .map_err(|error| said(&path, &error))
    }

    fn write_if_there(&self, file: &str, value: &str) -> Result<(), String> {
        if self.dir.join(file).exists() { self.write(file, value) } else { Ok(()) }
    }

    fn procs(&self) -> Result<CString, String> {
        let path = self.dir.join("cgroup.procs");
        CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())
    }
}

fn said(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process of it may still be on its way out.
        for _ in 0..50 {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_binds_where_the_greedy_die_or_are_refused() {
        let binding = |outcome| judge_memory(outcome).map(|(binding, _)| binding);
        assert_eq!(binding(Ok(())), Ok(Binding::No));
        assert_eq!(binding(Err(Refusal::Killed(libc::SIGKILL))), Ok(Binding::Yes));
        assert_eq!(binding(Err(Refusal::Errno(libc::ENOMEM))), Ok(Binding::Yes));
        assert!(binding(Err(Refusal::Killed(libc::SIGSEGV))).is_err(), "a fault proves nothing");
        assert!(binding(Err(Refusal::Errno(libc::EACCES))).is_err(), "it did not get in");
    }

    #[test]
    fn processor_time_binds_where_the_kernel_held_something_back() {
        let binding = |stat| judge_cpu(stat).0;
        assert_eq!(binding(Some("nr_periods 20\nnr_throttled 19\nthrottled_time 3\n")), Binding::Yes);
        assert_eq!(binding(Some("nr_periods 0\nnr_throttled 0\n")), Binding::No);
        assert_eq!(binding(Some("usage_usec 5\n")), Binding::No);
        assert_eq!(binding(None), Binding::No);
    }

    #[test]
    fn processes_bind_where_one_too_many_is_refused() {
        let binding = |outcome| judge_pids(outcome).map(|(binding, _)| binding);
        assert_eq!(binding(Ok(())), Ok(Binding::No));
        assert_eq!(binding(Err(Refusal::Errno(libc::EAGAIN))), Ok(Binding::Yes));
        assert!(binding(Err(Refusal::Hung)).is_err());
    }

    #[test]
    fn without_cgroups_nothing_is_known() {
        let limits = try_all(&Cgroups::default());
        assert_eq!(limits.unknown(), ["memory", "cpu", "pids"]);
        assert!(limits.not_enforced().is_empty());
    }
}
