//! From one SandboxConfig to rules, whole or refused whole.

use std::collections::HashSet;

use kube::ResourceExt;

use super::v1alpha1::{RedirectRule, SandboxConfig};
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
    #[error("{0}")]
    Bounds(#[from] Refusal),
}

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
    let args = spec.k3s.as_ref().and_then(|k3s| k3s.extra_args.as_deref()).unwrap_or_default();
    match bounds::reserved_flag(args) {
        Some(flag) => Err(Refusal::ReservedFlag { flag: flag.to_owned(), source_name: source }.into()),
        None => Ok(rules),
    }
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
    use crate::api::v1alpha1::{FileRule, K3sSpec};
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
}
