//! From one SandboxConfig to rules, whole or refused whole.

use std::collections::HashSet;

use kube::ResourceExt;

use super::v1alpha1::{K3sSpec, RedirectRule, SandboxConfig};
use crate::k3s::args::{self, NotAFlag};
use crate::rules::bounds::{self, Refusal};
use crate::rules::model::{Action, Rule, Target};

/// Why a SandboxConfig is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Invalid {
    #[error("redirect from {from:?}: give exactly one of `to` and `sibling`")]
    Target { from: String },
    #[error("{list}: {key:?} is given twice")]
    Duplicate { list: &'static str, key: String },
    #[error("{flag} is set twice, by {field} and in k3s.extraArgs; drop one of them")]
    Twice { flag: String, field: &'static str },
    #[error("{0}")]
    NotAFlag(#[from] NotAFlag),
    #[error("{0}")]
    Bounds(#[from] Refusal),
}

/// Fields of `spec` that stand for a flag of k3s, with its name.
pub const FIELDS: [(&str, &str); 2] =
    [("k3s.flannelBackend", "flannel-backend"), ("k3s.snapshotter", "snapshotter")];

/// The rules of `config` in the order in which they stand: files, redirects, filesystems. Checked against the
/// allow-list, like its k3s arguments.
pub fn rules(config: &SandboxConfig) -> Result<Vec<Rule>, Invalid> {
    let spec = &config.spec;
    distinct("spec.files", spec.files.iter().map(|rule| rule.path.as_str()))?;
    distinct("spec.redirects", spec.redirects.iter().map(|rule| rule.from.as_str()))?;
    distinct("spec.filesystems", spec.filesystems.iter().map(|rule| rule.path.as_str()))?;
    let source = config.name_any();
    let mut rules = Vec::with_capacity(spec.files.len() + spec.redirects.len() + spec.filesystems.len());
    let mut push = |action| rules.push(Rule { source: source.clone(), action });
    for file in &spec.files {
        push(Action::File { path: file.path.clone(), value: file.value.clone(), access: file.access });
    }
    for redirect in &spec.redirects {
        push(Action::Redirect { from: redirect.from.clone(), target: target(redirect)? });
    }
    for rule in &spec.filesystems {
        push(Action::Filesystem { path: rule.path.clone(), report_as: rule.report_as });
    }
    rules.iter().try_for_each(bounds::check_rule)?;
    spec.k3s.as_ref().map_or(Ok(()), |k3s| arguments(k3s, &source))?;
    Ok(rules)
}

/// What the object by itself can get wrong about k3s's command line.
fn arguments(k3s: &K3sSpec, source: &str) -> Result<(), Invalid> {
    let args = k3s.extra_args.as_deref().unwrap_or_default();
    if let Some(flag) = bounds::reserved_flag(args) {
        let (flag, source_name) = (flag.to_owned(), source.to_owned());
        return Err(Refusal::ReservedFlag { flag, source_name }.into());
    }
    let flags = args::split(args, source)?;
    let is_set = [k3s.flannel_backend.is_some(), k3s.snapshotter.is_some()];
    for ((field, flag), _) in FIELDS.into_iter().zip(is_set).filter(|(_, is_set)| *is_set) {
        if flags.iter().any(|given| given.name == flag) {
            return Err(Invalid::Twice { flag: format!("--{flag}"), field });
        }
    }
    Ok(())
}

fn target(redirect: &RedirectRule) -> Result<Target, Invalid> {
    match (&redirect.to, &redirect.sibling) {
        (Some(to), None) => Ok(Target::To(to.clone())),
        (None, Some(sibling)) => Ok(Target::Sibling(sibling.clone())),
        _ => Err(Invalid::Target { from: redirect.from.clone() }),
    }
}

fn distinct<'a>(list: &'static str, keys: impl Iterator<Item = &'a str>) -> Result<(), Invalid> {
    let mut seen = HashSet::new();
    for key in keys {
        if !seen.insert(key) {
            return Err(Invalid::Duplicate { list, key: key.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SandboxConfigSpec;
    use crate::api::v1alpha1::{FileRule, FlannelBackend, Snapshotter};
    use crate::rules::model::Access;

    fn file(path: &str) -> FileRule {
        FileRule { path: path.into(), value: "1\n".into(), access: Access::ReadOnly }
    }

    #[test]
    fn one_bad_rule_refuses_the_whole_object() {
        let spec = SandboxConfigSpec { files: vec![file("/proc/a"), file("/etc/b")], ..Default::default() };
        let error = rules(&SandboxConfig::new("bad", spec)).unwrap_err();
        assert!(error.to_string().contains("/etc/b"), "{error}");
    }

    #[test]
    fn a_redirect_leads_to_one_place() {
        for (to, sibling) in [(None, None), (Some("/dev/null".to_owned()), Some("x".to_owned()))] {
            let redirect = RedirectRule { from: "/proc/x".into(), to, sibling };
            let spec = SandboxConfigSpec { redirects: vec![redirect], ..Default::default() };
            assert!(matches!(rules(&SandboxConfig::new("bad", spec)), Err(Invalid::Target { .. })));
        }
    }

    #[test]
    fn twice_the_same_path_is_refused() {
        let spec = SandboxConfigSpec { files: vec![file("/proc/a"), file("/proc/a")], ..Default::default() };
        assert!(matches!(rules(&SandboxConfig::new("bad", spec)), Err(Invalid::Duplicate { .. })));
    }

    #[test]
    fn reserved_flags_refuse_the_object() {
        let k3s = K3sSpec { extra_args: Some(vec!["--data-dir=/x".into()]), ..Default::default() };
        let spec = SandboxConfigSpec { k3s: Some(k3s), ..Default::default() };
        assert!(matches!(rules(&SandboxConfig::new("bad", spec)), Err(Invalid::Bounds(_))));
    }

    #[test]
    fn a_list_that_is_none_of_flags_or_repeats_a_field_refuses_the_object() {
        let said = |args: &[&str]| {
            let extra_args = Some(args.iter().map(|arg| (*arg).to_owned()).collect());
            let (flannel_backend, snapshotter) = (Some(FlannelBackend::None), Some(Snapshotter::Auto));
            let k3s = K3sSpec { extra_args, flannel_backend, snapshotter, ..Default::default() };
            let spec = SandboxConfigSpec { k3s: Some(k3s), ..Default::default() };
            rules(&SandboxConfig::new("bad", spec)).map_err(|invalid| invalid.to_string())
        };
        assert_eq!(said(&["--v", "4", "--debug"]), Ok(vec![]));
        let message = said(&["debug"]).unwrap_err();
        assert!(message.contains("\"debug\" from bad: not a flag"), "{message}");
        for (args, expected) in [
            (["-snapshotter", "native"], "--snapshotter is set twice, by k3s.snapshotter"),
            (["--v=4", "--flannel-backend=none"], "--flannel-backend is set twice, by k3s.flannelBackend"),
        ] {
            let message = said(&args).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
