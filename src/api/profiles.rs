//! The built-in profiles: SandboxConfigs like any other, embedded, one chosen by what the kernel here lacks.

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
    /// The same without CAP_SYS_RESOURCE, as in locked-down containers.
    RestrictedLinux,
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
    /// A process may make itself a less likely victim of the kernel's OOM killer (takes CAP_SYS_RESOURCE).
    pub lowers_oom_score: bool,
}

impl Facts {
    /// Looks below `proc` (`/proc`, or a stand-in), by doing and not by version.
    pub fn gather(proc: &Path) -> Self {
        Self {
            has_kernel_panic: proc.join("sys/kernel/panic").exists(),
            has_panic_on_oom: proc.join("sys/vm/panic_on_oom").exists(),
            lowers_oom_score: lowers_oom_score(&proc.join("self/oom_score_adj")),
        }
    }
}

impl Environment {
    /// The choice.
    pub fn choose(facts: Facts) -> Self {
        match (facts.has_kernel_panic || facts.has_panic_on_oom, facts.lowers_oom_score) {
            (false, _) => Self::Gvisor,
            (true, true) => Self::Linux,
            (true, false) => Self::RestrictedLinux,
        }
    }

    /// The environment of this process.
    pub fn here() -> Self {
        Self::choose(Facts::gather(Path::new("/proc")))
    }

    fn manifests(self) -> &'static [Manifest] {
        const LINUX: Manifest =
            ("manifests/profiles/linux.yaml", include_str!("../../manifests/profiles/linux.yaml"));
        const RESTRICTED: Manifest =
            ("manifests/profiles/restricted.yaml", include_str!("../../manifests/profiles/restricted.yaml"));
        const GVISOR: Manifest =
            ("manifests/profiles/gvisor.yaml", include_str!("../../manifests/profiles/gvisor.yaml"));
        match self {
            Self::Linux => &[LINUX],
            Self::RestrictedLinux => &[LINUX, RESTRICTED],
            Self::Gvisor => &[GVISOR],
        }
    }
}

/// A file's name and its text.
type Manifest = (&'static str, &'static str);

/// Tries it, on ourselves, and takes it back: to raise the score again needs nothing.
fn lowers_oom_score(file: &Path) -> bool {
    let present = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let Some(present) = present else { return false };
    let lower = std::fs::write(file, (present - 1).to_string()).is_ok();
    lower && std::fs::write(file, present.to_string()).is_ok()
}

/// The built-in profiles for `environment`. Fails only if the embedded text is broken, which a test rules out.
pub fn builtin(environment: Environment) -> Result<Vec<SandboxConfig>, LoadError> {
    let mut all = Vec::new();
    for (origin, text) in environment.manifests() {
        all.extend(files::parse(text, origin)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_valid_labelled_and_below_what_users_write() {
        for environment in [Environment::Linux, Environment::RestrictedLinux, Environment::Gvisor] {
            let profiles = builtin(environment).unwrap();
            for profile in &profiles {
                assert!(profile.spec.priority < 0, "{profile:?}");
                let labels = profile.metadata.labels.clone().unwrap_or_default();
                assert_eq!(labels.get(PROFILE_LABEL.0).map(String::as_str), Some(PROFILE_LABEL.1));
            }
            let mut files = profiles.iter().flat_map(|profile| &profile.spec.files);
            let panic = files.find(|file| file.path == "/proc/sys/kernel/panic");
            assert_eq!(panic.map(|file| file.value.as_str()), Some("10\n"));
        }
    }

    #[test]
    fn the_kernel_that_lacks_the_tunables_gets_the_gvisor_profile() {
        let all = Facts { has_kernel_panic: true, has_panic_on_oom: true, lowers_oom_score: true };
        assert_eq!(Environment::choose(all), Environment::Linux);
        let restricted = Facts { lowers_oom_score: false, ..all };
        assert_eq!(Environment::choose(restricted), Environment::RestrictedLinux);
        assert_eq!(Environment::choose(Facts::default()), Environment::Gvisor);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Facts::gather(empty.path()), Facts::default());
        let names: Vec<_> =
            builtin(Environment::Gvisor).unwrap().into_iter().map(|profile| profile.metadata.name).collect();
        assert_eq!(names, [Some("profile-gvisor".to_owned())]);
    }
}
