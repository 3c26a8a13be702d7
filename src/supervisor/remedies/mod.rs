//! Remedies: what the supervisor does on a node about what a sandbox lacks, beside rules and flags. Each has a name, is
//! reported with what became of it, and can be turned off.

mod containerd;
mod mounts;
mod pause;
mod pod_network;
mod wired;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::flags::Mode;
use super::paths::Paths;
use super::plan::Plan;
use crate::cni;
use crate::cni::userspace::Server;
use crate::intercept::probe;
use crate::rules::model::Remedy;
use crate::rules::observed::ObservedRemedy;

pub use pause::{ARCHIVE as PAUSE_ARCHIVE, IMAGE as PAUSE_IMAGE, archive as pause_archive};
pub use pod_network::{Network, wanted as network};
pub use wired::Wired;

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Applied(String),
    NotNeeded(String),
    Waiting(String),
    Failed(String),
    /// It is turned off, and nothing of it is left.
    Off,
}

/// The remedies of one supervisor.
#[derive(Debug)]
pub struct Remedies {
    mode: Mode,
    data: PathBuf,
    own: PathBuf,
    /// What was turned off when the supervisor started.
    off: Vec<Remedy>,
    /// The pod network that k3s was started with last, and those of which something is left.
    pub wired: Wired,
    /// Whether pods can reach outside, or why not.
    way_out: Result<(), String>,
    states: Vec<(Remedy, State)>,
    /// The pod network in user space, where the kernel needs one; until the supervisor ends.
    server: Mutex<Option<Server>>,
}

impl Remedies {
    /// None is applied yet. `data` is k3s's directory, `own` one of ours that stays; `off` are those that are turned off.
    pub fn new(mode: Mode, data: PathBuf, own: PathBuf, off: &[Remedy]) -> Self {
        Self {
            mode,
            data,
            wired: Wired::load(Paths::wired(&own)),
            own,
            off: off.to_vec(),
            way_out: Ok(()),
            states: Vec::new(),
            server: Mutex::default(),
        }
    }

    /// What has to be done before this process has threads or children.
    pub fn before_threads(&mut self) {
        self.apply_once(Remedy::PrivateMounts, |this| mounts::make_private(&this.data));
        // By running programs, whose end only the tracer would hear of once it is there.
        if self.mode == Mode::Node {
            self.way_out = cni::way_out();
        }
    }

    /// Whether this process is in a mount namespace of its own, or why not.
    pub fn private_mounts(&self) -> Result<(), String> {
        match self.state(Remedy::PrivateMounts) {
            Some(State::Failed(why)) => Err(why.clone()),
            None | Some(State::Off) => Err(format!("the remedy {} is off", Remedy::PrivateMounts.name())),
            Some(_) => Ok(()),
        }
    }

    /// Whether our mount namespace has lost its mounts.
    pub fn mounts_lost(&self) -> bool {
        self.private_mounts().is_ok() && mounts::lost()
    }

    /// Whether the interceptor is to correct the inode number of a procfs root; asked once, before it starts.
    pub fn wants_procfs_root(&mut self) -> bool {
        self.apply_once(Remedy::ProcfsRoot, |_| {
            Ok(if probe::procfs_root_is_odd() {
                State::Applied("stat of a procfs root says inode 1, as runc wants it".to_owned())
            } else {
                State::NotNeeded("the procfs root has inode 1".to_owned())
            })
        });
        matches!(self.state(Remedy::ProcfsRoot), Some(State::Applied(_)))
    }

    /// The pod networks that are to be cleared before k3s is started with this plan. To be asked once before each start.
    pub fn rewires(&mut self, plan: &Plan) -> Vec<Network> {
        self.wired.change(plan.network().unwrap_or(Network::Off))
    }

    /// Our directory that stays.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// What has to be there when k3s starts, and of what is turned off, nothing.
    pub fn before_k3s(&mut self, plan: &Plan) {
        let off = plan.remedies_off();
        let either = |remedy: Remedy,
                      on: &dyn Fn() -> Result<State, String>,
                      undo: &dyn Fn() -> Result<(), String>| {
            match off.contains(&remedy) {
                true => undo().map(|()| State::Off),
                false => on(),
            }
        };
        let config = plan.settings.containerd_config.as_ref();
        self.apply(Remedy::ContainerdConfig, |Self { data, .. }| {
            either(Remedy::ContainerdConfig, &|| containerd::supply(data, config), &|| {
                containerd::withdraw(data)
            })
        });
        self.apply(Remedy::PauseImage, |Self { data, .. }| {
            either(Remedy::PauseImage, &|| pause::supply(data), &|| pause::withdraw(data))
        });
        self.apply(Remedy::PodNetwork, |this| {
            either(Remedy::PodNetwork, &|| this.pod_network(plan), &|| pod_network::withdraw(&this.data))
        });
    }

    fn pod_network(&self, plan: &Plan) -> Result<State, String> {
        let Some(network) = plan.network() else { return Ok(State::Off) };
        pod_network::supply(&self.data, &self.own, network, &plan.args, &self.way_out, &self.server)
    }

    /// What had to wait for something that k3s brings along.
    pub fn while_starting(&mut self, plan: &Plan) {
        let waits = |(remedy, state): &(Remedy, State)| {
            *remedy == Remedy::PodNetwork && matches!(state, State::Waiting(_))
        };
        if self.states.iter().any(waits) {
            self.apply(Remedy::PodNetwork, |this| this.pod_network(plan));
        }
    }

    /// As they are reported, `off` being those that the table in force turns off; none in a control plane, which needs none.
    pub fn report(&self, off: &[Remedy]) -> Vec<ObservedRemedy> {
        if self.mode == Mode::ControlPlane {
            return Vec::new();
        }
        Remedy::ALL.into_iter().map(|remedy| self.observed(remedy, off.contains(&remedy))).collect()
    }

    fn observed(&self, remedy: Remedy, off: bool) -> ObservedRemedy {
        let (state, mut detail) = match self.state(remedy) {
            Some(State::Applied(detail)) => ("Applied", detail.clone()),
            Some(State::NotNeeded(detail)) => ("NotNeeded", detail.clone()),
            Some(State::Waiting(detail)) => ("Waiting", detail.clone()),
            Some(State::Failed(detail)) => ("Failed", detail.clone()),
            Some(State::Off) => ("Off", "turned off in spec.remedies.disabled".to_owned()),
            None => ("Waiting", "k3s has not been started yet".to_owned()),
        };
        if !remedy.is_of_k3s() && off != self.off.contains(&remedy) {
            let change = if off { "off" } else { "on" };
            detail = format!("{detail}; {change} from the next start on: sandbar down, sandbar up");
        }
        ObservedRemedy { name: remedy.name().to_owned(), state: state.to_owned(), detail }
    }

    fn state(&self, remedy: Remedy) -> Option<&State> {
        self.states.iter().find(|(known, _)| *known == remedy).map(|(_, state)| state)
    }

    fn apply_once(&mut self, remedy: Remedy, how: impl FnOnce(&Self) -> Result<State, String>) {
        self.apply(remedy, |this| if this.off.contains(&remedy) { Ok(State::Off) } else { how(this) });
    }

    fn apply(&mut self, remedy: Remedy, how: impl FnOnce(&Self) -> Result<State, String>) {
        if self.mode == Mode::ControlPlane {
            return;
        }
        let state = how(self).unwrap_or_else(State::Failed);
        if let State::Failed(why) = &state {
            tracing::warn!(remedy = remedy.name(), "{why}");
        }
        self.states.retain(|(known, _)| *known != remedy);
        self.states.push((remedy, state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{DesiredDocument, Sourced};
    use crate::rules::observed::{K3sArg, Traced};

    fn plan(change: impl Fn(&mut DesiredDocument), line: &str) -> Plan {
        let mut document = DesiredDocument::default();
        change(&mut document);
        let args = line.split_whitespace().map(|arg| K3sArg { arg: arg.into(), source: "mine".into() });
        Plan::new(1, &document, Mode::Node, args.collect(), Traced::Everything)
    }

    fn states(remedies: &Remedies, off: &[Remedy]) -> Vec<(String, String)> {
        remedies.report(off).into_iter().map(|one| (one.name, one.state)).collect()
    }

    #[test]
    fn what_is_turned_off_says_so_and_nothing_of_it_is_left() {
        let data = tempfile::tempdir().unwrap();
        let (path, own) = (data.path().to_owned(), data.path().join("own"));
        let mut remedies = Remedies::new(Mode::Node, path.clone(), own, &[]);
        let configured = |document: &mut DesiredDocument| {
            document.k3s.containerd_config =
                Some(Sourced { value: "[debug]\n".into(), source: "mine".into() });
        };
        let theirs = path.join("agent/images/theirs.tar");
        std::fs::create_dir_all(theirs.parent().unwrap()).unwrap();
        std::fs::write(&theirs, "").unwrap();
        remedies.before_k3s(&plan(configured, "--flannel-backend=none"));
        let left = |directory: &str| -> Vec<String> {
            let entries = std::fs::read_dir(path.join(directory)).unwrap();
            let mut names: Vec<_> =
                entries.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(left("agent/etc/containerd/config-v3.toml.d"), ["90-sandbar.toml", "91-sandbar-cni.toml"]);
        assert_eq!(left("agent/images"), ["sandbar-pause.tar", "theirs.tar"]);
        let off = |document: &mut DesiredDocument| {
            configured(document);
            document.remedies_off = vec![Remedy::PodNetwork, Remedy::PauseImage, Remedy::ContainerdConfig];
        };
        // Once more finds nothing to undo.
        for _ in 0..2 {
            remedies.before_k3s(&plan(off, "--flannel-backend=none"));
            assert_eq!(left("agent/etc/containerd/config-v3.toml.d"), [""; 0]);
            assert_eq!(left("agent/images"), ["theirs.tar"]);
            let expected = [
                ("private-mounts", "Waiting"),
                ("procfs-root", "Waiting"),
                ("containerd-config", "Off"),
                ("pause-image", "Off"),
                ("pod-network", "Off"),
            ];
            assert_eq!(
                states(&remedies, &[]),
                expected.map(|(name, state)| (name.to_owned(), state.to_owned()))
            );
        }
        remedies.before_k3s(&plan(configured, "--flannel-backend=none"));
        assert_eq!(left("agent/images"), ["sandbar-pause.tar", "theirs.tar"]);
    }

    #[test]
    fn what_is_applied_when_the_supervisor_starts_says_what_comes_with_the_next() {
        let mut remedies =
            Remedies::new(Mode::Node, "/nowhere".into(), "/nowhere".into(), &[Remedy::ProcfsRoot]);
        assert!(!remedies.wants_procfs_root());
        let detail = |off: &[Remedy]| remedies.report(off).swap_remove(1).detail;
        assert_eq!(detail(&[Remedy::ProcfsRoot]), "turned off in spec.remedies.disabled");
        assert!(
            detail(&[]).ends_with("; on from the next start on: sandbar down, sandbar up"),
            "{}",
            detail(&[])
        );
    }

    #[test]
    fn pods_are_rewired_when_the_network_changes_and_only_then() {
        let own = tempfile::tempdir().unwrap();
        let mut remedies = Remedies::new(Mode::Node, "/nowhere".into(), own.path().to_owned(), &[]);
        let mut rewires = |cni: Option<&str>, off: &[Remedy], backend: &str| {
            let change = |document: &mut DesiredDocument| {
                document.network.cni =
                    cni.map(|cni| Sourced { value: cni.to_owned(), source: "mine".into() });
                document.remedies_off = off.to_vec();
            };
            let old = remedies.rewires(&plan(change, &format!("--flannel-backend={backend}")));
            old.iter().for_each(|network| remedies.wired.cleared(*network));
            old
        };
        let rewired = ["none", "none", "host-gw", "vxlan", "none"].map(|backend| rewires(None, &[], backend));
        assert_eq!(rewired, [vec![], vec![], vec![Network::Bridge], vec![], vec![Network::Flannel]]);
        assert_eq!(rewires(Some("bridge"), &[], "none"), []);
        assert_eq!(rewires(Some("none"), &[], "none"), [Network::Bridge]);
        assert_eq!(
            rewires(Some("bridge"), &[], "none"),
            [],
            "pods with the host's network alone leave nothing"
        );
        assert_eq!(rewires(None, &[Remedy::PodNetwork], "none"), [Network::Bridge]);
    }

    #[test]
    fn a_control_plane_gets_none() {
        let mut remedies = Remedies::new(Mode::ControlPlane, "/nowhere".into(), "/nowhere".into(), &[]);
        remedies.before_threads();
        remedies.before_k3s(&Plan::default());
        assert_eq!(remedies.report(&[]), []);
    }
}
