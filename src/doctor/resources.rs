//! What there is to work with: memory, CPUs, processes, disk, with the limits that the sandbox itself is under.

use serde::Serialize;

use super::parse::cgroup::{self, Place, Version};
use super::parse::meminfo;

/// Where k3s keeps its data, or the nearest directory above that exists.
const DATA_DIRS: [&str; 4] = ["/var/lib/rancher/k3s", "/var/lib/rancher", "/var/lib", "/"];

/// Resources; `None` means unlimited for a limit, unknown for an amount.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Bytes of memory that the kernel reports.
    pub memory_total: Option<u64>,
    /// Bytes that our cgroups allow.
    pub memory_limit: Option<u64>,
    /// Bytes of swap.
    pub swap_total: Option<u64>,
    /// CPUs that we may run on.
    pub cpus: Option<usize>,
    /// CPUs' worth of time that our cgroups allow.
    pub cpu_limit: Option<f64>,
    /// Processes that our cgroups allow.
    pub pids_limit: Option<u64>,
    /// Free bytes where k3s keeps its data.
    pub disk_free: Option<u64>,
}

impl Resources {
    /// The memory that we really have.
    pub fn memory(&self) -> Option<u64> {
        match (self.memory_total, self.memory_limit) {
            (Some(total), Some(limit)) => Some(total.min(limit)),
            (one, other) => one.or(other),
        }
    }
}

/// Measures, reading cgroup files with `read`.
pub fn measure(
    memory: &str,
    version: Version,
    places: &[Place],
    read: &impl Fn(&str) -> Option<String>,
) -> Resources {
    let memory_total = meminfo(memory, "MemTotal");
    let files = Files { version, places, read };
    Resources {
        memory_total,
        // gVisor and v1 give the machine's size, or i64::MAX, for "no limit".
        memory_limit: files
            .smallest("memory", "memory.limit_in_bytes", "memory.max")
            .filter(|limit| memory_total.is_none_or(|total| *limit < total)),
        swap_total: meminfo(memory, "SwapTotal"),
        cpus: std::thread::available_parallelism().ok().map(Into::into),
        cpu_limit: files.cpu(),
        pids_limit: files.smallest("pids", "pids.max", "pids.max"),
        disk_free: DATA_DIRS.iter().find_map(|dir| free(dir)),
    }
}

struct Files<'a, R> {
    version: Version,
    places: &'a [Place],
    read: &'a R,
}

impl<R: Fn(&str) -> Option<String>> Files<'_, R> {
    /// Directories whose limits for `controller` bind us.
    fn directories(&self, controller: &str) -> Vec<String> {
        let name = if self.version == Version::V2 { "" } else { controller };
        let place = self.places.iter().find(|place| place.controller == name);
        place.map(Place::directories).unwrap_or_default()
    }

    fn smallest(&self, controller: &str, v1: &str, v2: &str) -> Option<u64> {
        let file = if self.version == Version::V2 { v2 } else { v1 };
        let values = self.directories(controller).into_iter();
        values.filter_map(|dir| cgroup::limit(&(self.read)(&format!("{dir}/{file}"))?)).min()
    }

    fn cpu(&self) -> Option<f64> {
        let one = |dir: String| match self.version {
            Version::V2 => cgroup::cpu_max(&(self.read)(&format!("{dir}/cpu.max"))?),
            _ => cgroup::cpus(
                &(self.read)(&format!("{dir}/cpu.cfs_quota_us"))?,
                &(self.read)(&format!("{dir}/cpu.cfs_period_us"))?,
            ),
        };
        self.directories("cpu").into_iter().filter_map(one).min_by(f64::total_cmp)
    }
}

fn free(dir: &str) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(dir).ok()?;
    // A server that reports no size says nothing.
    (stat.blocks() > 0).then(|| stat.blocks_available() * stat.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(controller: &str, group: &str) -> Place {
        let mount = format!("/sys/fs/cgroup/{controller}").trim_end_matches('/').to_owned();
        Place { controller: controller.to_owned(), mount, group: group.to_owned() }
    }

    fn files(table: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |path| table.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_binds() {
        let read = files(&[
            ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        let places = [place("memory", "/a/b"), place("cpu", "/")];
        let found = measure("MemTotal: 8388608 kB\nSwapTotal: 0 kB\n", Version::V1, &places, &read);
        assert_eq!(found.memory(), Some(2 << 30));
        assert_eq!((found.cpu_limit, found.pids_limit, found.swap_total), (Some(2.0), None, Some(0)));
    }

    #[test]
    fn v2_and_a_limit_as_large_as_the_machine() {
        let read = files(&[
            ("/sys/fs/cgroup/memory.max", "8589934592\n"),
            ("/sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("/sys/fs/cgroup/pids.max", "512\n"),
        ]);
        let found = measure("MemTotal: 8388608 kB\n", Version::V2, &[place("", "/")], &read);
        assert_eq!((found.memory_limit, found.cpu_limit, found.pids_limit), (None, Some(0.5), Some(512)));
    }
}
