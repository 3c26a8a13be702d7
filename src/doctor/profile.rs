//! What the built-in profile does about a missing file, looked up in the profile itself so that the report cannot promise
//! what the binary does not hold.

use kube::ResourceExt;

use super::needs::Remedy;
use crate::api::convert;
use crate::api::profiles::{Environment, builtin};
use crate::rules::matcher::Matcher;
use crate::rules::model::{Action, Rule, Target};

/// The rules of the built-in profile.
#[derive(Debug)]
pub struct Profile {
    rules: Vec<Rule>,
    matcher: Matcher,
    /// Name and containerd configuration of those that have one.
    containerd: Vec<(String, String)>,
}

impl Profile {
    /// The one that applies here.
    pub fn here() -> Self {
        Self::of(Environment::here())
    }

    /// The one for `environment`.
    pub fn of(environment: Environment) -> Self {
        // A broken embedded profile, which a test rules out, is one without rules.
        let configs = builtin(environment).unwrap_or_default();
        let rules: Vec<Rule> =
            configs.iter().filter_map(|config| convert::rules(config).ok()).flatten().collect();
        let containerd = configs
            .iter()
            .filter_map(|config| {
                Some((config.name_any(), config.spec.k3s.as_ref()?.containerd_config.clone()?))
            })
            .collect();
        Self { matcher: Matcher::compile(&rules), rules, containerd }
    }

    /// What is done about `path`, for people, and whether that meets the need.
    pub(super) fn remedy(&self, remedy: Remedy, path: &str) -> (String, bool) {
        match remedy {
            Remedy::Rule => match self.matcher.lookup(path).and_then(|index| self.rules.get(index)) {
                Some(rule) => (describe(rule), true),
                None => ("nothing by itself; a SandboxConfig can supply the file".to_owned(), false),
            },
            Remedy::Containerd(switch) => {
                let off = format!("{switch} = false");
                match self.containerd.iter().find(|(_, text)| text.contains(&off)) {
                    Some((name, _)) => (format!("containerd gets {off} from {name}"), true),
                    None => ("nothing by itself; see spec.k3s.containerdConfig".to_owned(), false),
                }
            }
            Remedy::Setting(setting) => (setting.to_owned(), true),
            Remedy::Tolerated(lost) => (format!("not needed: {lost}"), true),
            Remedy::Nothing(why) => (format!("nothing: {why}"), false),
        }
    }
}

fn describe(rule: &Rule) -> String {
    let source = &rule.source;
    match &rule.action {
        Action::Redirect { target: Target::To(to), .. } => format!("redirect to {to} in {source}"),
        Action::Redirect { target: Target::Sibling(name), .. } => {
            format!("redirect to its real sibling {name} in {source}")
        }
        Action::File { value, .. } => format!("fake file with {:?} in {source}", value.trim_end()),
        Action::Filesystem { .. } => format!("rule in {source}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::needs::{Breaks, TABLE};

    #[test]
    fn the_profile_for_gvisor_is_quoted() {
        let profile = Profile::of(Environment::Gvisor);
        let remedy = |path| profile.remedy(Remedy::Rule, path).0;
        assert_eq!(remedy("/proc/sys/kernel/panic"), "fake file with \"10\" in profile-gvisor");
        assert_eq!(remedy("/dev/kmsg"), "redirect to /dev/null in profile-gvisor");
        let ports = profile.remedy(Remedy::Containerd("enable_unprivileged_ports"), "/x");
        assert_eq!(
            ports,
            ("containerd gets enable_unprivileged_ports = false from profile-gvisor".into(), true)
        );
        let usage = "/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu";
        assert_eq!(remedy(usage), "redirect to its real sibling cpuacct.usage in profile-gvisor");
    }

    #[test]
    fn the_kubelet_finds_every_value_that_it_insists_on() {
        for environment in [Environment::Linux, Environment::Gvisor] {
            let profile = Profile::of(environment);
            let insisted =
                TABLE.iter().filter(|need| need.breaks == Breaks::Node && need.remedy == Remedy::Rule);
            for need in insisted.filter(|need| need.expected.is_some()) {
                let (remedy, met) = profile.remedy(need.remedy, need.path);
                let value = need.expected.unwrap();
                assert!(met && remedy.contains(&format!("{value:?}")), "{}: {remedy}", need.path);
            }
        }
    }
}
