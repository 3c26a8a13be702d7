//! `/proc/self/cgroup` and the cgroup mounts: version, controllers, where our own limits lie.

use serde::Serialize;

use super::mountinfo::Mount;

/// Which cgroup hierarchy is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// Nothing is mounted.
    #[default]
    None,
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy on /sys/fs/cgroup.
    V2,
}

/// A v1 controller or the v2 hierarchy (with an empty controller), and where this process's group lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `memory`, `cpu`, …; empty for v2.
    pub controller: String,
    /// Mount point.
    pub mount: String,
    /// This process's group as a path below the mount point, `/` for its top.
    pub group: String,
}

impl Place {
    /// Directories from our own group up to the mount point: a limit in any of them binds us.
    pub fn directories(&self) -> Vec<String> {
        let mut at = self.group.trim_end_matches('/');
        let mut found = Vec::new();
        loop {
            found.push(format!("{}{at}", self.mount));
            match at.rfind('/') {
                Some(slash) => at = &at[..slash],
                None => return found,
            }
        }
    }
}

/// Which version is in use. A v2 tree mounted beside v1 ("hybrid") carries no controllers, so v1 it is.
pub fn version(mounts: &[Mount]) -> Version {
    if mounts.iter().any(|mount| mount.kind == "cgroup2" && mount.target == "/sys/fs/cgroup") {
        Version::V2
    } else if mounts.iter().any(|mount| mount.kind == "cgroup") {
        Version::V1
    } else if mounts.iter().any(|mount| mount.kind == "cgroup2") {
        Version::V2
    } else {
        Version::None
    }
}

/// The mounted v1 controllers, or the v2 hierarchy, with our group in each.
pub fn places(self_cgroup: &str, mounts: &[Mount]) -> Vec<Place> {
    let groups: Vec<(Vec<&str>, &str)> = self_cgroup
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            Some((parts.next()?.split(',').collect(), parts.next()?))
        })
        .collect();
    let group_of = |controller: &str, root: &str| {
        let group =
            groups.iter().find(|(names, _)| names.contains(&controller)).map_or("/", |(_, group)| *group);
        below(group, root)
    };
    let mut found: Vec<Place> = Vec::new();
    for mount in mounts {
        let controllers: Vec<&str> = match mount.kind.as_str() {
            "cgroup2" => vec![""],
            "cgroup" => mount.options.iter().map(String::as_str).filter(|name| is_controller(name)).collect(),
            _ => continue,
        };
        for controller in controllers {
            if !found.iter().any(|place| place.controller == controller) {
                let group = group_of(controller, &mount.root);
                found.push(Place { controller: controller.to_owned(), mount: mount.target.clone(), group });
            }
        }
    }
    found
}

/// The group relative to what the mount shows; a group outside of it cannot be seen, its top is the best there is.
fn below(group: &str, root: &str) -> String {
    let root = root.trim_end_matches('/');
    match group.strip_prefix(root) {
        Some("") => "/".to_owned(),
        Some(rest) if rest.starts_with('/') => rest.to_owned(),
        _ => "/".to_owned(),
    }
}

fn is_controller(option: &str) -> bool {
    const FLAGS: [&str; 12] = [
        "rw",
        "ro",
        "nosuid",
        "nodev",
        "noexec",
        "relatime",
        "noatime",
        "nodiratime",
        "sync",
        "dirsync",
        "xattr",
        "clone_children",
    ];
    !option.contains('=') && !FLAGS.contains(&option)
}

/// A number in a cgroup file; `None` for `max` and for v1's "unlimited", a page-rounded i64::MAX.
pub fn limit(text: &str) -> Option<u64> {
    text.trim().parse::<u64>().ok().filter(|value| *value < 1 << 62)
}

/// CPUs from v2's `cpu.max` (`QUOTA PERIOD`).
pub fn cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    cpus(words.next()?, words.next().unwrap_or("100000"))
}

/// CPUs from a quota and a period in microseconds; `None` when unlimited.
pub fn cpus(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.trim().parse::<f64>().ok()?, period.trim().parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::super::mountinfo;
    use super::*;
    use crate::doctor::fixtures;

    #[test]
    fn gvisor_has_v1_with_the_own_group_as_root() {
        let mounts = mountinfo::parse(fixtures::GVISOR_MOUNTINFO);
        assert_eq!(version(&mounts), Version::V1);
        let places = places(fixtures::GVISOR_CGROUP, &mounts);
        let names: Vec<_> = places.iter().map(|place| place.controller.as_str()).collect();
        assert_eq!(names, ["cpu", "cpuacct", "cpuset", "devices", "job", "memory", "pids"]);
        assert_eq!(places[5].directories(), ["/sys/fs/cgroup/memory"]);
    }

    #[test]
    fn a_v1_group_is_followed_up_to_the_mount() {
        let mounts = mountinfo::parse(fixtures::LINUX_V1_MOUNTINFO);
        assert_eq!(version(&mounts), Version::V1, "a v2 tree beside v1 carries no controllers");
        let places = places(fixtures::LINUX_V1_CGROUP, &mounts);
        let memory = places.iter().find(|place| place.controller == "memory").unwrap();
        assert_eq!(
            memory.directories(),
            ["/sys/fs/cgroup/memory/jobs/7", "/sys/fs/cgroup/memory/jobs", "/sys/fs/cgroup/memory"]
        );
    }

    #[test]
    fn v2_in_a_container() {
        let mounts = mountinfo::parse("1 0 0:1 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n");
        assert_eq!(version(&mounts), Version::V2);
        assert_eq!(places("0::/\n", &mounts)[0].directories(), ["/sys/fs/cgroup"]);
        assert_eq!(version(&[]), Version::None);
    }

    #[test]
    fn limits() {
        assert_eq!(limit("4294967296\n"), Some(4 << 30));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(cpu_max("max 100000\n"), None);
        assert_eq!(cpus("-1\n", "100000\n"), None);
    }
}
