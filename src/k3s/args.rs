//! k3s's command line as flags: which words belong together, which flags add up, and what becomes of several lists. Pure.

use std::path::Path;

use crate::rules::model::Sourced;

/// Flags that k3s takes more than once: a later one adds to an earlier one.
const REPEATABLE: &[&str] = &[
    "cluster-cidr",
    "cluster-dns",
    "disable",
    "etcd-arg",
    "kube-apiserver-arg",
    "kube-cloud-controller-manager-arg",
    "kube-controller-manager-arg",
    "kube-proxy-arg",
    "kube-scheduler-arg",
    "kubelet-arg",
    "node-external-ip",
    "node-ip",
    "node-label",
    "node-taint",
    "service-cidr",
    "tls-san",
];

/// Flags whose value is a file or a directory.
const PATHS: &[&str] = &[
    "agent-token-file",
    "c",
    "config",
    "d",
    "data-dir",
    "datastore-cafile",
    "datastore-certfile",
    "datastore-keyfile",
    "default-local-storage-path",
    "etcd-snapshot-dir",
    "flannel-cni-conf",
    "flannel-conf",
    "image-credential-provider-bin-dir",
    "image-credential-provider-config",
    "l",
    "log",
    "o",
    "private-registry",
    "resolv-conf",
    "token-file",
    "vpn-auth-file",
    "write-kubeconfig",
];

/// A flag and, if it stands as an argument of its own, its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without its dashes.
    pub name: String,
    /// One word, or two.
    pub words: Vec<String>,
    /// Who set it.
    pub source: String,
}

/// A word that is neither a flag nor the value of one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "k3s argument {arg:?} from {source_name}: not a flag; sandbar runs `k3s server` itself and takes flags only"
)]
#[allow(missing_docs)]
pub struct NotAFlag {
    pub arg: String,
    pub source_name: String,
}

/// A flag of one list that another one of higher precedence sets to something else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Overridden {
    pub flag: String,
    pub loser: String,
    pub winner: String,
}

/// Groups a command line into flags. `k3s server` takes no positional arguments, so a word without a dash is the value of
/// the flag before it.
pub fn split(args: &[String], source: &str) -> Result<Vec<Flag>, NotAFlag> {
    let mut flags: Vec<Flag> = Vec::new();
    for arg in args {
        let is_flag = arg.len() > 1 && arg.starts_with('-') && arg != "--";
        match flags
            .last_mut()
            .filter(|last| !is_flag && last.words.len() == 1 && !last.words[0].contains('='))
        {
            Some(last) => last.words.push(arg.clone()),
            None if is_flag => {
                flags.push(Flag { name: name(arg), words: vec![arg.clone()], source: source.into() })
            }
            None => return Err(NotAFlag { arg: arg.clone(), source_name: source.into() }),
        }
    }
    Ok(flags)
}

/// The same command line with all its paths absolute: k3s is started in another directory than the one that they were given in.
pub fn absolute(args: &[String], directory: &Path) -> Vec<String> {
    let path = |value: &str| match value.chars().next() {
        // k3s itself looks for a home directory in these.
        None | Some('~' | '$') => value.to_owned(),
        Some(_) => directory.join(value).display().to_string(),
    };
    let mut names_path = false;
    let word = |arg: &String| {
        let is_flag = arg.len() > 1 && arg.starts_with('-');
        let value_of_path = std::mem::take(&mut names_path) && !is_flag;
        match arg.split_once('=') {
            _ if value_of_path => path(arg),
            Some((flag, value)) if is_flag && PATHS.contains(&name(flag).as_str()) => {
                format!("{flag}={}", path(value))
            }
            None if is_flag => {
                names_path = PATHS.contains(&name(arg).as_str());
                arg.clone()
            }
            _ => arg.clone(),
        }
    };
    args.iter().map(word).collect()
}

/// The name of the flag that `arg` is, without dashes and value.
pub fn name(arg: &str) -> String {
    arg.split('=').next().unwrap_or(arg).trim_start_matches('-').to_owned()
}

/// Whether one of `others` sets the same flag.
pub fn given(flag: &Flag, others: &[Flag]) -> bool {
    others.iter().any(|other| other.name == flag.name)
}

/// Whether one of `others` takes the place of this flag: a repeatable one adds to it instead.
pub fn overridden(flag: &Flag, others: &[Flag]) -> bool {
    !REPEATABLE.contains(&flag.name.as_str()) && given(flag, others)
}

/// Several lists, highest precedence first, as one: flag by flag the higher one wins, and flags that add up stand in the
/// order in which k3s lets the later one win.
pub fn merge(lists: &[Sourced<Vec<String>>]) -> Result<(Vec<Flag>, Vec<Overridden>), NotAFlag> {
    let mut merged: Vec<Flag> = Vec::new();
    let mut told = Vec::new();
    for list in lists {
        let (kept, hidden): (Vec<Flag>, Vec<Flag>) =
            split(&list.value, &list.source)?.into_iter().partition(|flag| !overridden(flag, &merged));
        for flag in hidden {
            let winner = merged.iter().find(|other| other.name == flag.name);
            told.extend(winner.filter(|winner| value(winner) != value(&flag)).map(|winner| Overridden {
                flag: format!("--{}", flag.name),
                loser: flag.source.clone(),
                winner: winner.source.clone(),
            }));
        }
        merged.splice(0..0, kept);
    }
    Ok((merged, told))
}

/// Whether one of `others` takes the place of this flag and says something else.
pub fn contradicted(flag: &Flag, others: &[Flag]) -> bool {
    overridden(flag, others)
        && others.iter().any(|other| other.name == flag.name && value(other) != value(flag))
}

fn value(flag: &Flag) -> Option<&str> {
    flag.words[0].split_once('=').map(|(_, value)| value).or(flag.words.get(1).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(source: &str, text: &str) -> Sourced<Vec<String>> {
        let value = text.split_whitespace().map(str::to_owned).collect();
        Sourced { value, source: source.into() }
    }

    #[test]
    fn lists_merge_flag_by_flag_and_what_adds_up_keeps_its_order() {
        let lists = [
            list("mine", "--debug --kubelet-arg=v=4 --node-name mine"),
            list("profile", "--disable-kube-proxy --kubelet-arg=v=2 --node-name=theirs --debug"),
        ];
        let (flags, told) = merge(&lists).unwrap();
        let words: Vec<String> = flags.into_iter().flat_map(|flag| flag.words).collect();
        assert_eq!(
            words.join(" "),
            "--disable-kube-proxy --kubelet-arg=v=2 --debug --kubelet-arg=v=4 --node-name mine"
        );
        let expected =
            Overridden { flag: "--node-name".into(), loser: "profile".into(), winner: "mine".into() };
        assert_eq!(told, [expected], "who agrees is not told");
    }

    #[test]
    fn paths_mean_the_same_wherever_k3s_is_started() {
        let absolute = |text: &str| {
            let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            absolute(&args, Path::new("/home/me")).join(" ")
        };
        assert_eq!(
            absolute("--data-dir sb -d=sb -c k3s.yaml --config=../k3s.yaml -o kc --write-kubeconfig=./kc"),
            "--data-dir /home/me/sb -d=/home/me/sb -c /home/me/k3s.yaml --config=/home/me/../k3s.yaml \
             -o /home/me/kc --write-kubeconfig=/home/me/./kc"
        );
        assert_eq!(absolute("--data-dir --debug x"), "--data-dir --debug x");
        for other in [
            "--data-dir=/srv -d /srv",
            "--debug --node-name sb",
            "--config= --log=~/log",
            "--kubelet-arg=config=x",
        ] {
            assert_eq!(absolute(other), other);
        }
    }

    #[test]
    fn a_word_that_belongs_to_no_flag_is_named() {
        let error = merge(&[list("mine", "--debug x y")]).unwrap_err();
        assert_eq!((error.arg.as_str(), error.source_name.as_str()), ("y", "mine"));
    }
}
