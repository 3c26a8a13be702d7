//! What this environment is, as read from files: cheap, without trying anything.

use std::collections::BTreeMap;

use serde::Serialize;

use super::capabilities::decode_securebits;
use super::kind::{Identity, identify};
use super::parse::cgroup::{self, Version};
use super::parse::mountinfo::{self, Mount};
use super::parse::status::{self, Capabilities};
use super::raw::Raw;
use super::resources::{self, Resources};
use super::{SandboxKind, variables};
use crate::sys::probe;

/// The environment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// What kind of place this is.
    #[serde(flatten)]
    pub identity: Identity,
    /// Who hosts it, told by variables.
    pub hosts: Vec<&'static str>,
    /// The kernel it reports.
    pub kernel: Kernel,
    /// Who we are and what we may do.
    pub privileges: Privileges,
    /// The filesystem that `/` lies on.
    pub root_filesystem: Option<Mount>,
    /// All mounts that this process sees.
    pub mounts: Vec<Mount>,
    /// Control groups.
    pub cgroups: Cgroups,
    /// Memory, CPUs, disk.
    pub resources: Resources,
    /// The telling variables that are set.
    pub variables: BTreeMap<String, String>,
}

/// The kernel, as it presents itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// /proc/version.
    pub version: String,
}

/// Who we are and what we may do.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Privileges {
    /// Effective user id.
    pub uid: u32,
    /// Capability sets, by name.
    pub capabilities: Capabilities,
    /// Securebits, by name; `None` if the kernel does not tell.
    pub securebits: Option<Vec<String>>,
    /// NO_NEW_PRIVS.
    pub no_new_privs: Option<bool>,
    /// Seccomp mode of this process: 0 none, 1 strict, 2 filter.
    pub seccomp: Option<i32>,
}

/// Control groups.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroups {
    /// Which hierarchy is mounted.
    pub version: Version,
    /// Controllers that are mounted (v1) or enabled at the top that we see (v2).
    pub controllers: Vec<String>,
    /// Where each v1 controller is mounted.
    #[serde(skip)]
    pub places: Vec<cgroup::Place>,
}

impl Cgroups {
    /// Whether a controller is to be had.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|have| have == controller)
    }

    /// The mount point of a v1 controller.
    pub fn mount(&self, controller: &str) -> Option<&str> {
        self.places.iter().find(|place| place.controller == controller).map(|place| place.mount.as_str())
    }
}

impl Environment {
    /// This machine.
    pub fn read() -> Self {
        let mut environment = Self::from_raw(&Raw::read());
        let privileges = &mut environment.privileges;
        privileges.uid = nix::unistd::geteuid().as_raw();
        privileges.securebits = probe::securebits().map(decode_securebits);
        // prctl knows where /proc/self/status (gVisor) is silent.
        privileges.no_new_privs = privileges.no_new_privs.or_else(probe::no_new_privs);
        privileges.seccomp = privileges.seccomp.or_else(probe::seccomp_mode);
        environment
    }

    /// What texts say; limits are read through `resources`.
    pub fn from_raw(raw: &Raw) -> Self {
        let status = status::parse(&raw.status);
        let mounts = mountinfo::parse(&raw.mountinfo);
        let places = cgroup::places(&raw.cgroup, &mounts);
        let version = cgroup::version(&mounts);
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let controllers = match version {
            Version::V2 => read("/sys/fs/cgroup/cgroup.controllers")
                .map(|list| list.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            _ => places
                .iter()
                .filter(|place| !place.controller.is_empty())
                .map(|place| place.controller.clone())
                .collect(),
        };
        Self {
            identity: identify(raw),
            hosts: variables::hosts(&raw.variables),
            kernel: Kernel { release: raw.release.clone(), version: raw.version.trim().to_owned() },
            privileges: Privileges {
                uid: status.uid.unwrap_or_default(),
                capabilities: status.capabilities,
                securebits: None,
                no_new_privs: status.no_new_privs,
                seccomp: status.seccomp,
            },
            root_filesystem: mountinfo::mount_of(&mounts, "/").cloned(),
            resources: resources::measure(&raw.meminfo, version, &places, &read),
            mounts,
            cgroups: Cgroups { version, controllers, places },
            variables: raw.variables.iter().cloned().collect(),
        }
    }

    /// What kind of place this is.
    pub fn kind(&self) -> SandboxKind {
        self.identity.kind
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        self.identity.describe(&self.kernel.release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Generation, fixtures};

    #[test]
    fn gvisor_is_understood_from_its_texts() {
        let raw = Raw {
            version: fixtures::GVISOR_VERSION.to_owned(),
            release: "4.19.0-gvisor".to_owned(),
            status: fixtures::GVISOR_STATUS.to_owned(),
            mountinfo: fixtures::GVISOR_MOUNTINFO.to_owned(),
            cgroup: fixtures::GVISOR_CGROUP.to_owned(),
            meminfo: "MemTotal:       24684092 kB\n".to_owned(),
            ..Raw::default()
        };
        let environment = Environment::from_raw(&raw);
        assert_eq!(environment.identity.gvisor, Some(Generation::Current));
        assert_eq!(environment.root_filesystem.unwrap().kind, "9p");
        assert!(environment.cgroups.has("memory") && environment.cgroups.has("pids"));
        assert_eq!(environment.cgroups.mount("cpuacct"), Some("/sys/fs/cgroup/cpuacct"));
        assert_eq!(environment.resources.memory_total, Some(24_684_092 * 1024));
    }
}
