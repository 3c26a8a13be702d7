//! The allow-list: what a rule may touch at all. Enforced by the supervisor on every table, and by CEL before that.

use super::model::{Action, DesiredDocument, Rule, Target};

/// Most rules that one table may hold.
pub const MAX_RULES: usize = 16_384;
/// Longest path or glob, in bytes (the kernel's PATH_MAX less its NUL).
pub const MAX_PATH_BYTES: usize = 4095;
/// Most `**` in one glob, and none beside another: each further one multiplies the places that a path could be at.
pub const MAX_DOUBLE_STARS: usize = 2;
/// Longest fake-file value, in bytes: far more than any sysctl says, little enough to be copied at every open.
pub const MAX_VALUE_BYTES: usize = 65_536;
/// Where `to:` targets other than `/dev/null` must lie.
pub const FILES_DIR: &str = "/var/lib/sandbar/files/";

/// k3s flags that would move its data, datastore or kubeconfig away from where sandbar looks for them, or give the node
/// another name than the one by which it is looked for.
pub const RESERVED_FLAGS: &[&str] = &[
    "--data-dir",
    "-d",
    "--datastore-endpoint",
    "--datastore-cafile",
    "--datastore-certfile",
    "--datastore-keyfile",
    "--cluster-init",
    "--cluster-reset",
    "--cluster-reset-restore-path",
    "--write-kubeconfig",
    "-o",
    "--config",
    "-c",
    "--node-name",
    "--with-node-id",
];

/// Why a document is refused, whole.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refusal {
    #[error("{count} rules, more than the {MAX_RULES} that a table may hold; split or drop some")]
    TooManyRules { count: usize },
    #[error("rule for {path:?} from {source_name:?}: {reason}")]
    Rule { path: String, source_name: String, reason: String },
    #[error(
        "k3s argument {flag:?} from {source_name:?}: it moves k3s's data, datastore or kubeconfig, or names the node, which sandbar must know; give it to `sandbar up -- …` instead"
    )]
    ReservedFlag { flag: String, source_name: String },
}

/// Checks a whole document against the allow-list.
pub fn check(document: &DesiredDocument) -> Result<(), Refusal> {
    if document.rules.len() > MAX_RULES {
        return Err(Refusal::TooManyRules { count: document.rules.len() });
    }
    document.rules.iter().try_for_each(check_rule)?;
    document.k3s.extra_args.iter().try_for_each(|extra| match reserved_flag(&extra.value) {
        Some(flag) => Err(Refusal::ReservedFlag { flag: flag.to_owned(), source_name: extra.source.clone() }),
        None => Ok(()),
    })
}

/// The first of `args` that sandbar keeps for itself.
pub fn reserved_flag(args: &[String]) -> Option<&str> {
    args.iter().map(String::as_str).find(|arg| {
        let name = arg.split('=').next().unwrap_or(arg);
        // urfave/cli, which k3s parses with, takes one dash or two.
        let long = name.trim_start_matches('-');
        RESERVED_FLAGS
            .iter()
            .any(|reserved| name.starts_with('-') && reserved.trim_start_matches('-') == long)
    })
}

/// Checks one rule against the allow-list.
pub fn check_rule(rule: &Rule) -> Result<(), Refusal> {
    let reason = match &rule.action {
        Action::File { path, value, .. } => literal(path).or_else(|| allowed_source(path)).or_else(|| {
            (value.len() > MAX_VALUE_BYTES)
                .then(|| format!("value of {} bytes, more than {MAX_VALUE_BYTES}", value.len()))
        }),
        Action::Redirect { from, target } => {
            let path = well_formed(from).or_else(|| allowed_source(from)).or_else(|| cheap(from));
            path.or_else(|| allowed_target(target))
        }
        Action::Filesystem { path, .. } => literal(path).or_else(|| {
            let kernel =
                ["/proc", "/sys"].iter().any(|top| path == top || path.starts_with(&format!("{top}/")));
            kernel.then(|| "the type of a kernel filesystem is never faked".to_owned())
        }),
    };
    match reason {
        None => Ok(()),
        Some(reason) => Err(Refusal::Rule {
            path: rule.action.pattern().to_owned(),
            source_name: rule.source.clone(),
            reason,
        }),
    }
}

fn well_formed(path: &str) -> Option<String> {
    if path.len() > MAX_PATH_BYTES {
        return Some(format!("longer than {MAX_PATH_BYTES} bytes"));
    }
    if path.contains('\0') {
        return Some("contains a NUL".to_owned());
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Some("not absolute".to_owned());
    };
    let dotted = rest.split('/').any(|segment| segment == "." || segment == "..");
    let empty = !rest.is_empty() && rest.split('/').any(str::is_empty);
    (dotted || empty).then(|| "not in canonical form: no `.`, `..`, `//` or trailing `/`".to_owned())
}

fn literal(path: &str) -> Option<String> {
    well_formed(path).or_else(|| path.contains('*').then(|| "wildcards are for redirects only".to_owned()))
}

/// Whether looking for a glob stays cheap.
fn cheap(glob: &str) -> Option<String> {
    let double = |segment: &&str| *segment == "**";
    let count = glob.split('/').filter(double).count();
    let adjacent = glob.split('/').zip(glob.split('/').skip(1)).any(|pair| pair == ("**", "**"));
    (count > MAX_DOUBLE_STARS || adjacent)
        .then(|| format!("at most {MAX_DOUBLE_STARS} `**` in a glob, and not side by side"))
}

fn allowed_source(path: &str) -> Option<String> {
    let allowed = path == "/dev/kmsg" || path.starts_with("/proc/") || path.starts_with("/sys/");
    (!allowed).then(|| "outside the allow-list: /proc/**, /sys/**, /dev/kmsg".to_owned())
}

fn allowed_target(target: &Target) -> Option<String> {
    match target {
        Target::Sibling(name) => {
            (name.is_empty() || name.contains(['/', '\0']) || name == "." || name == "..")
                .then(|| format!("sibling {name:?} is not a file name"))
        }
        Target::To(path) if path == "/dev/null" => None,
        Target::To(path) => literal(path).or_else(|| {
            (!path.starts_with(FILES_DIR)).then(|| {
                format!("target {path:?} outside the allow-list: a sibling, /dev/null, {FILES_DIR}**")
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::Access;

    fn file(path: &str) -> Rule {
        let action = Action::File { path: path.into(), value: "1\n".into(), access: Access::ReadOnly };
        Rule { source: "test".into(), action }
    }

    fn redirect(from: &str, target: Target) -> Rule {
        Rule { source: "test".into(), action: Action::Redirect { from: from.into(), target } }
    }

    #[test]
    fn files_outside_the_allow_list_are_refused() {
        for path in [
            "/etc/passwd",
            "/proc",
            "/sys",
            "/dev/null",
            "relative",
            "/proc/../etc/passwd",
            "/proc//x",
            "/proc/x/",
        ] {
            assert!(check_rule(&file(path)).is_err(), "{path} was allowed");
        }
        for path in ["/proc/sys/kernel/panic", "/sys/fs/cgroup/x", "/dev/kmsg"] {
            assert_eq!(check_rule(&file(path)), Ok(()), "{path} was refused");
        }
    }

    #[test]
    fn redirect_targets_outside_the_allow_list_are_refused() {
        for to in [
            "/etc/passwd",
            "/var/lib/sandbar/table",
            "/var/lib/sandbar/files/../x",
            "/var/lib/sandbar/files/",
        ] {
            assert!(check_rule(&redirect("/proc/x", Target::To(to.into()))).is_err(), "{to} was allowed");
        }
        for sibling in ["", ".", "..", "a/b"] {
            assert!(
                check_rule(&redirect("/proc/x", Target::Sibling(sibling.into()))).is_err(),
                "{sibling:?}"
            );
        }
        assert_eq!(
            check_rule(&redirect(
                "/sys/fs/cgroup/**/cpuacct.usage_percpu",
                Target::Sibling("cpuacct.usage".into())
            )),
            Ok(())
        );
        assert_eq!(check_rule(&redirect("/dev/kmsg", Target::To("/dev/null".into()))), Ok(()));
    }

    #[test]
    fn globs_with_many_double_stars_are_refused() {
        let check = |from: &str| check_rule(&redirect(from, Target::To("/dev/null".into())));
        for from in ["/proc/**", "/proc/**/x/**", "/proc/**/*/**/x", "/proc/a**/**b/***/c**/x"] {
            assert_eq!(check(from), Ok(()), "{from}");
        }
        let many = format!("/proc/{}x", "**/".repeat(330));
        for from in ["/proc/**/**", "/proc/**/**/x", "/proc/**/a/**/b/**/c", "/proc/**/a/**/b/**", &many] {
            let refusal = check(from).unwrap_err().to_string();
            assert!(refusal.contains("at most 2 `**`"), "{refusal}");
        }
    }

    #[test]
    fn flags_that_move_k3s_data_or_name_the_node_are_refused_in_every_spelling() {
        let reserved =
            ["--data-dir=/x", "-data-dir=/x", "--data-dir", "-d", "-o", "--config=/x", "--node-name=x"];
        for flag in reserved {
            assert!(reserved_flag(&[flag.to_owned()]).is_some(), "{flag} was allowed");
        }
        for flag in ["--debug", "--disable=traefik", "--kubelet-arg=config=/x"] {
            assert_eq!(reserved_flag(&[flag.to_owned()]), None);
        }
    }
}
