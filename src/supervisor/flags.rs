//! From settings to the k3s command line: a pure function, each argument with where it came from.
//!
//! Precedence: the user's own flags (after `sandbar up --`) over SandboxConfig, over k3s's configuration file, over
//! sandbar's defaults. What the mode itself needs is not a default and stands first.

use super::k3s_config::ConfigFile;
use super::remedies::PAUSE_IMAGE;
use crate::doctor::NodeAbilities;
use crate::k3s::args::{Flag, NotAFlag, given, merge, name, overridden, split};
use crate::rules::model::{DesiredDocument, K3sSettings, Remedy, Sourced};
use crate::rules::observed::K3sArg;

pub use crate::rules::observed::COMMAND_LINE;

/// Origin of what sandbar itself adds.
pub const SANDBAR: &str = "sandbar";

/// Which parts of k3s run.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// API server, controllers and scheduler; no kubelet.
    #[default]
    ControlPlane,
    /// A whole node with pods.
    Node,
}

impl Mode {
    /// From its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::ControlPlane, Self::Node].into_iter().find(|mode| mode.name() == name)
    }

    /// As it is written on the command line and in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Node => "node",
        }
    }
}

/// Why no command line can be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FlagError {
    #[error("{0}")]
    NotAFlag(#[from] NotAFlag),
    #[error("{flag} is set twice, by {first} and in extraArgs of {second}; drop one of them")]
    Twice { flag: String, first: String, second: String },
    #[error("{field} {value:?} from {source_name}: not one of {known}")]
    Unknown { field: &'static str, value: String, source_name: String, known: String },
    #[error("k3s argument {flag:?} from {source_name}: it does not go with mode {mode}")]
    Mode { flag: String, source_name: String, mode: &'static str },
}

const FLANNEL_BACKENDS: &[&str] = &["none", "host-gw", "vxlan", "wireguard-native"];
const SNAPSHOTTERS: &[&str] = &["auto", "native", "fuse-overlayfs", "overlayfs"];

/// The arguments of `k3s`, `server` included; `kernel` decides what is left to sandbar.
pub fn build(
    document: &DesiredDocument,
    user: &[String],
    mode: Mode,
    file: &ConfigFile,
    kernel: &NodeAbilities,
) -> Result<Vec<K3sArg>, FlagError> {
    let user = split(user, COMMAND_LINE)?;
    let configured = configured(&document.k3s, mode, kernel)?;
    if let Some(flag) = user.iter().find(|flag| mode == Mode::Node && flag.name == "disable-agent") {
        let (flag, source_name) = (flag.words.join(" "), flag.source.clone());
        return Err(FlagError::Mode { flag, source_name, mode: mode.name() });
    }
    let mut flags = required(mode);
    flags.retain(|flag| !overridden(flag, &configured) && !overridden(flag, &user));
    let mut defaults = defaults(mode, &document.remedies_off);
    defaults.retain(|flag| !given(flag, &configured) && !given(flag, &user) && !file.sets(&flag.name));
    flags.append(&mut defaults);
    flags.extend(configured.into_iter().filter(|flag| !overridden(flag, &user)));
    flags.extend(user);
    let server = K3sArg { arg: "server".into(), source: SANDBAR.into() };
    let words = |flag: Flag| {
        let source = flag.source;
        flag.words.into_iter().map(move |arg| K3sArg { arg, source: source.clone() })
    };
    Ok(std::iter::once(server).chain(flags.into_iter().flat_map(words)).collect())
}

/// The bare arguments.
pub fn plain(args: &[K3sArg]) -> Vec<String> {
    args.iter().map(|arg| arg.arg.clone()).collect()
}

/// What a mode cannot be without.
fn required(mode: Mode) -> Vec<Flag> {
    match mode {
        Mode::ControlPlane => ours(&["--disable-agent", "--egress-selector-mode=disabled"]),
        Mode::Node => Vec::new(),
    }
}

/// What makes sense in a mode unless somebody says otherwise. Without a node nothing that runs in pods can start, so none of
/// it is deployed; and with a flannel backend k3s would look for CNI plugins.
fn defaults(mode: Mode, off: &[Remedy]) -> Vec<Flag> {
    match mode {
        Mode::ControlPlane => ours(&[
            "--flannel-backend=none",
            "--disable=traefik,servicelb,metrics-server,local-storage,coredns",
            "--disable-cloud-controller",
            "--disable-kube-proxy",
            "--disable-network-policy",
            "--disable-helm-controller",
        ]),
        Mode::Node if off.contains(&Remedy::PauseImage) => Vec::new(),
        // It is supplied with k3s's images.
        Mode::Node => ours(&[&format!("--pause-image={PAUSE_IMAGE}")]),
    }
}

fn ours(words: &[&str]) -> Vec<Flag> {
    let flag = |word: &&str| Flag { name: name(word), words: vec![(*word).into()], source: SANDBAR.into() };
    words.iter().map(flag).collect()
}

/// The flags that SandboxConfigs ask for.
fn configured(settings: &K3sSettings, mode: Mode, kernel: &NodeAbilities) -> Result<Vec<Flag>, FlagError> {
    let mut flags = Vec::new();
    if let Some(backend) = &settings.flannel_backend {
        flags.push(chosen("flannelBackend", "--flannel-backend", backend, FLANNEL_BACKENDS)?);
    }
    let snapshotter = settings.snapshotter.as_ref().and_then(|set| match (set.value.as_str(), mode) {
        // The choice is sandbar's, and there is none to make where nothing runs in containers.
        ("auto", Mode::ControlPlane) => None,
        ("auto", Mode::Node) => Some(Sourced { value: kernel.snapshotter().name.to_owned(), ..set.clone() }),
        _ => Some(set.clone()),
    });
    if let Some(snapshotter) = &snapshotter {
        flags.push(chosen("snapshotter", "--snapshotter", snapshotter, SNAPSHOTTERS)?);
    }
    let (extra, _) = merge(&settings.extra_args)?;
    for flag in &flags {
        let Some(second) = extra.iter().find(|other| other.name == flag.name) else { continue };
        let (first, second) = (flag.source.clone(), second.source.clone());
        return Err(FlagError::Twice { flag: format!("--{}", flag.name), first, second });
    }
    flags.extend(extra);
    Ok(flags)
}

fn chosen(
    field: &'static str,
    flag: &str,
    wanted: &Sourced<String>,
    known: &[&str],
) -> Result<Flag, FlagError> {
    if !known.contains(&wanted.value.as_str()) {
        let (value, source_name) = (wanted.value.clone(), wanted.source.clone());
        return Err(FlagError::Unknown { field, value, source_name, known: known.join(", ") });
    }
    let words = vec![format!("{flag}={}", wanted.value)];
    Ok(Flag { name: name(flag), words, source: wanted.source.clone() })
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
