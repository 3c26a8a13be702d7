//! The built-in profiles: SandboxConfigs like any other, embedded, one chosen by what the kernel here lacks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::{self, LoadError};
use super::v1alpha1::SandboxConfig;

/// Label that tells a built-in profile from a user's object.
pub const PROFILE_LABEL: (&str, &str) = ("app.kubernetes.io/component", "profile");

/// What kind of kernel this is, as far as the choice of a profile goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A real Linux kernel.
    Linux,
    /// One that is only pretended, gVisor's.
    Gvisor,
}

/// What the choice is made from, gathered by [`Facts::gather`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `/proc/sys/kernel/panic` is there. Every Linux has it; no gVisor has.
    pub has_kernel_panic: bool,
    /// `/proc/sys/vm/panic_on_oom` is there; the same.
    pub has_panic_on_oom: bool,
}

impl Facts {
    /// Looks below `proc` (`/proc`, or a stand-in), by doing and not by version.
    pub fn gather(proc: &Path) -> Self {
        // What a rule has mounted there (the controller sees it) lies on another filesystem.
        let device = |path: &Path| fs::metadata(path).ok().map(|found| found.dev());
        let own = device(proc);
        let has = |name: &str| own.is_some() && device(&proc.join(name)) == own;
        Self { has_kernel_panic: has("sys/kernel/panic"), has_panic_on_oom: has("sys/vm/panic_on_oom") }
    }
}

impl Environment {
    /// The choice.
    pub fn choose(facts: Facts) -> Self {
        if facts.has_kernel_panic || facts.has_panic_on_oom { Self::Linux } else { Self::Gvisor }
    }

    /// The environment of this process.
    pub fn here() -> Self {
        Self::choose(Facts::gather(Path::new("/proc")))
    }

    fn manifest(self) -> (&'static str, &'static str) {
        match self {
            Self::Linux => {
                ("manifests/profiles/linux.yaml", include_str!("../../manifests/profiles/linux.yaml"))
            }
            Self::Gvisor => {
                ("manifests/profiles/gvisor.yaml", include_str!("../../manifests/profiles/gvisor.yaml"))
            }
        }
    }
}

/// The built-in profiles for `environment`. Fails only if the embedded text is broken, which a test rules out.
pub fn builtin(environment: Environment) -> Result<Vec<SandboxConfig>, LoadError> {
    let (origin, text) = environment.manifest();
    files::parse(text, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_valid_labelled_and_below_what_users_write() {
        for environment in [Environment::Linux, Environment::Gvisor] {
            for profile in builtin(environment).unwrap() {
                assert!(profile.spec.priority < 0, "{profile:?}");
                let labels = profile.metadata.labels.clone().unwrap_or_default();
                assert_eq!(labels.get(PROFILE_LABEL.0).map(String::as_str), Some(PROFILE_LABEL.1));
                let panic = profile.spec.files.iter().find(|file| file.path == "/proc/sys/kernel/panic");
                assert_eq!(panic.map(|file| file.value.as_str()), Some("10\n"));
            }
        }
    }

    #[test]
    fn the_kernel_that_lacks_the_tunables_gets_the_gvisor_profile() {
        let both = Facts { has_kernel_panic: true, has_panic_on_oom: true };
        assert_eq!(Environment::choose(both), Environment::Linux);
        assert_eq!(Environment::choose(Facts::default()), Environment::Gvisor);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Facts::gather(empty.path()), Facts::default());
        fs::create_dir_all(empty.path().join("sys/kernel")).unwrap();
        fs::write(empty.path().join("sys/kernel/panic"), "0\n").unwrap();
        assert!(Facts::gather(empty.path()).has_kernel_panic);
        let names: Vec<_> =
            builtin(Environment::Gvisor).unwrap().into_iter().map(|profile| profile.metadata.name).collect();
        assert_eq!(names, [Some("profile-gvisor".to_owned())]);
    }
}
