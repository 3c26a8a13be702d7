//! What k3s is asked to run with against what this kernel can do: what has to be refused, and what is to be told. Pure.

use super::flags::{self, COMMAND_LINE, Mode};
use super::k3s_config::value_of;
use crate::doctor::NodeAbilities;
use crate::rules::model::K3sSettings;
use crate::rules::observed::{K3sArg, ObservedSnapshotter};

/// Why k3s would not do well with these arguments, as far as SandboxConfigs brought them. The user's own flags are tried.
pub fn refusal(args: &[K3sArg], mode: Mode, kernel: &NodeAbilities) -> Option<String> {
    if mode == Mode::ControlPlane {
        return None;
    }
    let asked: Vec<K3sArg> = args.iter().filter(|arg| arg.source != COMMAND_LINE).cloned().collect();
    let asked = flags::plain(&asked);
    let lacks = |flag: &str, why: fn(&NodeAbilities, &str) -> Option<String>| {
        let value = value_of(&asked, &[flag])?;
        why(kernel, &value).map(|why| format!("{} {value}: {why}", flag.trim_start_matches('-')))
    };
    let agent = asked
        .iter()
        .find(|arg| ["disable-agent", "disable-agent=true"].contains(&arg.trim_start_matches('-')));
    let refusals = [
        agent.map(|arg| format!("{arg}: it does not go with mode {}", mode.name())),
        lacks("--snapshotter", NodeAbilities::lacks_snapshotter),
        lacks("--flannel-backend", NodeAbilities::lacks_backend),
    ];
    let refusals: Vec<String> = refusals.into_iter().flatten().collect();
    (!refusals.is_empty()).then(|| refusals.join("; "))
}

/// The snapshotter among these arguments, and why it is this one; nothing where it is left to k3s.
pub fn snapshotter(
    args: &[K3sArg],
    settings: &K3sSettings,
    mode: Mode,
    kernel: &NodeAbilities,
) -> Option<ObservedSnapshotter> {
    let name = value_of(&flags::plain(args), &["--snapshotter"]).filter(|_| mode == Mode::Node)?;
    let flag = args.iter().find(|arg| arg.arg.trim_start_matches('-').starts_with("snapshotter"))?;
    let auto = settings.snapshotter.as_ref().filter(|set| set.value == "auto" && set.source == flag.source);
    let why = match auto {
        Some(set) => format!("auto ({}): {}", set.source, kernel.snapshotter().why),
        None => format!("asked for by {}", flag.source),
    };
    Some(ObservedSnapshotter { limit: kernel.limits_snapshotter(&name), name, why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::Sourced;

    fn args(source: &str, text: &str) -> Vec<K3sArg> {
        text.split_whitespace().map(|word| K3sArg { arg: word.into(), source: source.into() }).collect()
    }

    fn gvisor() -> NodeAbilities {
        let no = |why: &str| Some(why.to_owned());
        NodeAbilities {
            overlay: no("EINVAL"),
            overlay_removal: no("EINVAL"),
            fuse_overlayfs: no("nothing is mounted"),
            bridge: no("nameless"),
            ..Default::default()
        }
    }

    #[test]
    fn what_the_kernel_cannot_do_is_refused_unless_the_user_has_asked_for_it() {
        let refused = |source, text| refusal(&args(source, text), Mode::Node, &gvisor());
        assert_eq!(refused("mine", "--snapshotter=native --flannel-backend=none"), None);
        assert_eq!(refused("mine", "--snapshotter overlayfs").unwrap(), "snapshotter overlayfs: EINVAL");
        let both = refused("mine", "--snapshotter=fuse-overlayfs --flannel-backend=host-gw").unwrap();
        assert_eq!(both, "snapshotter fuse-overlayfs: nothing is mounted; flannel-backend host-gw: nameless");
        assert_eq!(refused(COMMAND_LINE, "--snapshotter=overlayfs"), None);
        assert_eq!(
            refused("mine", "server --disable-agent").unwrap(),
            "--disable-agent: it does not go with mode node"
        );
        assert_eq!(refused("mine", "server --disable-agent=false"), None);
        let control_plane = refusal(&args("mine", "--snapshotter=overlayfs"), Mode::ControlPlane, &gvisor());
        assert_eq!(control_plane, None);
    }

    #[test]
    fn the_choice_is_told_with_who_made_it() {
        let auto = Sourced { value: "auto".to_owned(), source: "mine".to_owned() };
        let settings = K3sSettings { snapshotter: Some(auto), ..Default::default() };
        let told = |source, text| snapshotter(&args(source, text), &settings, Mode::Node, &gvisor()).unwrap();
        let chosen = told("mine", "server --snapshotter=native");
        assert_eq!(chosen.name, "native");
        assert_eq!(chosen.why, "auto (mine): overlayfs: EINVAL; fuse-overlayfs: nothing is mounted");
        let asked = told(COMMAND_LINE, "--snapshotter overlayfs");
        assert_eq!(
            (asked.why.as_str(), asked.limit.as_deref()),
            ("asked for by command line", Some("EINVAL"))
        );
        assert_eq!(snapshotter(&args("mine", "server"), &settings, Mode::Node, &gvisor()), None);
    }
}
