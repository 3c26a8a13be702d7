//! `/proc/self/status`: capability sets, NO_NEW_PRIVS and seccomp, as far as this kernel tells.

use serde::Serialize;

use crate::doctor::capabilities::decode;

/// What a process may do, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// In force now.
    pub effective: Vec<String>,
    /// Can be brought into force.
    pub permitted: Vec<String>,
    /// The most that any program started from here can get.
    pub bounding: Vec<String>,
    /// Kept over exec by programs that ask for it.
    pub inheritable: Vec<String>,
    /// Kept over exec by every program.
    pub ambient: Vec<String>,
}

impl Capabilities {
    /// Whether `name` (`SYS_ADMIN`) is in force now.
    pub fn has(&self, name: &str) -> bool {
        self.effective.iter().any(|have| have == name)
    }
}

/// The fields of interest; `None` where the kernel (gVisor) leaves one out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Capability sets.
    pub capabilities: Capabilities,
    /// `NoNewPrivs`.
    pub no_new_privs: Option<bool>,
    /// `Seccomp`: 0 none, 1 strict, 2 filter.
    pub seccomp: Option<i32>,
    /// Effective user id.
    pub uid: Option<u32>,
}

/// Parses the file.
pub fn parse(text: &str) -> Status {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let set =
        |name| field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(decode).unwrap_or_default();
    Status {
        capabilities: Capabilities {
            effective: set("CapEff"),
            permitted: set("CapPrm"),
            bounding: set("CapBnd"),
            inheritable: set("CapInh"),
            ambient: set("CapAmb"),
        },
        no_new_privs: field("NoNewPrivs").and_then(|value| value.parse::<u8>().ok()).map(|value| value != 0),
        seccomp: field("Seccomp").and_then(|value| value.parse().ok()),
        uid: field("Uid").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::fixtures;

    #[test]
    fn linux_status() {
        let status = parse(fixtures::LINUX_STATUS);
        assert_eq!((status.no_new_privs, status.seccomp, status.uid), (Some(true), Some(2), Some(1000)));
        assert!(status.capabilities.effective.is_empty());
        assert_eq!(status.capabilities.bounding.len(), 41);
        assert!(!status.capabilities.has("SYS_ADMIN"));
    }

    #[test]
    fn gvisor_status_leaves_out_no_new_privs_and_ambient() {
        let status = parse(fixtures::GVISOR_STATUS);
        assert_eq!((status.no_new_privs, status.seccomp, status.uid), (None, Some(0), Some(0)));
        assert!(status.capabilities.has("SYS_PTRACE") && !status.capabilities.has("SYS_MODULE"));
        assert!(status.capabilities.ambient.is_empty());
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        assert_eq!(parse(""), Status::default());
    }
}
