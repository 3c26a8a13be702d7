//! Everything that is read from this machine before any of it is understood: texts, so that tests can bring their own.

use std::fs;
use std::path::Path;

use crate::doctor::variables;
use crate::sys::probe;

/// Files whose mere presence tells something.
const MARKS: [&str; 8] = [
    "/.dockerenv",
    "/run/.containerenv",
    "/run/systemd/container",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "/proc/sentry-meminfo",
    "/dev/gvisor",
    "/proc/sys/fs/binfmt_misc/WSLInterop",
    "/.codesandbox",
];

/// Texts as the kernel gave them; empty where it gave none.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// /proc/version.
    pub version: String,
    /// /proc/sys/kernel/osrelease, or what uname says.
    pub release: String,
    /// /proc/cmdline.
    pub cmdline: String,
    /// /proc/self/status.
    pub status: String,
    /// /proc/self/mountinfo.
    pub mountinfo: String,
    /// /proc/self/cgroup.
    pub cgroup: String,
    /// /proc/1/cgroup.
    pub init_cgroup: String,
    /// /proc/cpuinfo.
    pub cpuinfo: String,
    /// /proc/meminfo.
    pub meminfo: String,
    /// The first kilobytes of the kernel's log, if it may be read.
    pub kernel_log: String,
    /// Vendor and product of the machine.
    pub dmi: String,
    /// The marks that are there.
    pub marks: Vec<String>,
    /// The telling environment variables that are set.
    pub variables: Vec<(String, String)>,
}

impl Raw {
    /// Reads this machine.
    pub fn read() -> Self {
        let text = |path: &str| {
            fs::read(path)
                .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let uname = nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default();
        Self {
            version: text("/proc/version"),
            release: uname,
            cmdline: text("/proc/cmdline"),
            status: text("/proc/self/status"),
            mountinfo: text("/proc/self/mountinfo"),
            cgroup: text("/proc/self/cgroup"),
            init_cgroup: text("/proc/1/cgroup"),
            cpuinfo: text("/proc/cpuinfo"),
            meminfo: text("/proc/meminfo"),
            kernel_log: probe::kernel_log().unwrap_or_default(),
            dmi: format!(
                "{} {}",
                text("/sys/class/dmi/id/sys_vendor").trim(),
                text("/sys/class/dmi/id/product_name").trim()
            )
            .trim()
            .to_owned(),
            marks: MARKS
                .iter()
                .filter(|path| Path::new(path).exists())
                .map(|path| (*path).to_owned())
                .collect(),
            variables: variables::present(|name| std::env::var(name).ok()),
        }
    }

    /// Whether a mark is there.
    pub fn has_mark(&self, path: &str) -> bool {
        self.marks.iter().any(|mark| mark == path)
    }

    /// The value of a telling variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
