//! Where the supervisor keeps its things. One struct, so that a second root (for tests) moves all of it.

use std::path::{Path, PathBuf};

/// Roots of everything that the supervisor writes. `rules::bounds::FILES_DIR` stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Paths {
    /// Directory of saved state and logs.
    #[arg(
        long = "state-dir",
        env = "SANDBAR_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/sandbar",
        help_heading = "Places"
    )]
    pub state: PathBuf,
    /// Directory of the lock and the control socket.
    #[arg(
        long = "run-dir",
        env = "SANDBAR_RUN_DIR",
        value_name = "DIR",
        default_value = "/run/sandbar",
        help_heading = "Places"
    )]
    pub run: PathBuf,
}

/// A component that has a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Component {
    /// The supervisor itself.
    Supervisor,
    /// The SandboxConfig controller.
    Controller,
    /// k3s.
    K3s,
    /// What was done to the rules and to k3s, and when: JSON, one entry a line.
    Audit,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Supervisor, Self::Controller, Self::K3s, Self::Audit];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Controller => "controller",
            Self::K3s => "k3s",
            Self::Audit => "audit",
        }
    }
}

impl Paths {
    /// The same places with absolute names: a daemon's working directory is `/`.
    pub fn absolute(&self) -> std::io::Result<Self> {
        Ok(Self { state: std::path::absolute(&self.state)?, run: std::path::absolute(&self.run)? })
    }

    /// The table and settings that are known to work.
    pub fn last_good(&self) -> PathBuf {
        self.state.join("last-good.json")
    }

    /// The mode of the last start.
    pub fn mode(&self) -> PathBuf {
        self.state.join("mode")
    }

    /// What a later `down` must know of the cluster.
    pub fn record(&self) -> PathBuf {
        self.state.join("cluster.json")
    }

    /// One JSON line per table taken or refused, restart and rollback.
    pub fn audit(&self) -> PathBuf {
        self.log(Component::Audit)
    }

    /// Directory of the logs.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// A component's log.
    pub fn log(&self, component: Component) -> PathBuf {
        self.logs().join(format!("{}.log", component.name()))
    }

    /// Directory that is put at the end of k3s's PATH.
    pub fn bin(&self) -> PathBuf {
        self.state.join("bin")
    }

    /// CNI plugins and configuration of the pod network.
    pub fn cni(&self) -> PathBuf {
        self.state.join("cni")
    }

    /// Which pod networks are set up on this machine; `cni` is [`Paths::cni`].
    pub fn wired(cni: &Path) -> PathBuf {
        cni.join("wired")
    }

    /// Held by the one supervisor; contains its pid.
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// Where the supervisor listens.
    pub fn socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }
}

/// What the session hooks' `up` says, among the logs.
pub const UP_LOG: &str = "up.log";

/// What is in the run directory, directories with a slash.
const IN_RUN: &[&str] = &["control.sock", "created", "lock", "mounts/"];
/// What is in the state directory; a file system that is mounted there has one more.
const IN_STATE: &[&str] =
    &["bin/", "cluster.json", "cni/", "files/", "last-good.json", "logs/", "lost+found/", "mode"];

/// Whether this name in the run directory is ours.
pub fn ours_in_run(name: &str) -> bool {
    IN_RUN.contains(&name) || temporary(name)
}

/// Whether this name in the state directory is ours.
pub fn ours_in_state(name: &str) -> bool {
    IN_STATE.contains(&name) || temporary(name)
}

/// Whether it is what `files` writes to find out whether it can, or before it replaces a file.
pub fn temporary(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit());
    let replaced = || name.strip_suffix(".tmp")?.rsplit_once('.');
    name.strip_prefix(".space.").is_some_and(number)
        || replaced().is_some_and(|(file, pid)| IN_STATE.contains(&file) && number(pid))
}

/// Where k3s keeps its data unless told otherwise.
pub const K3S_DATA_DIR: &str = "/var/lib/rancher/k3s";
/// Where k3s writes its kubeconfig unless told otherwise.
pub const K3S_KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";
/// k3s's own configuration file.
pub const K3S_CONFIG: &str = "/etc/rancher/k3s/config.yaml";

/// Whether `path` may be removed recursively: absolute, and not a directory that the system itself lives in.
pub fn removable(path: &Path) -> bool {
    path.is_absolute() && path.components().count() > 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_known_by_name() {
        for name in ["mode", "logs/", "last-good.json.12.tmp", ".space.12"] {
            assert!(ours_in_state(name), "{name}");
        }
        // A plain /run may hold a directory of this name.
        for name in ["lock/", "mode/", "x.12.tmp", "mode.x.tmp", ".space."] {
            assert!(!ours_in_state(name) && !ours_in_run(name), "{name}");
        }
        assert!(ours_in_run("lock"));
    }

    #[test]
    fn a_purge_never_takes_a_top_level_directory() {
        for path in ["/", "/var", "/etc", "relative/a/b"] {
            assert!(!removable(Path::new(path)), "{path}");
        }
        assert!(removable(Path::new("/var/lib")) && removable(Path::new(K3S_DATA_DIR)));
    }
}
