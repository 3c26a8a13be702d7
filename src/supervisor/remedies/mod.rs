//! Remedies: what the supervisor does on a node about what a sandbox lacks, beside rules and flags. Each has a name, is
//! reported with what became of it, and can be turned off.

mod containerd;
mod mounts;
mod pause;
mod pod_network;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::flags::Mode;
use super::lifecycle::Plan;
use crate::cni;
use crate::cni::userspace::Server;
use crate::intercept::probe;
use crate::rules::model::{DesiredDocument, NetworkSettings, Remedy};
use crate::rules::observed::ObservedRemedy;

pub use pause::{ARCHIVE as PAUSE_ARCHIVE, IMAGE as PAUSE_IMAGE, archive as pause_archive};
pub use pod_network::Network;

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Applied(String),
    NotNeeded(String),
    Waiting(String),
    Failed(String),
}

/// The remedies of one supervisor.
#[derive(Debug)]
pub struct Remedies {
    mode: Mode,
    data: PathBuf,
    own: PathBuf,
    off: Vec<Remedy>,
    network: NetworkSettings,
    /// The pod network that k3s was started with last.
    wired: Option<Network>,
    /// Whether pods can reach outside, or why not.
    way_out: Result<(), String>,
    states: Vec<(Remedy, State)>,
    /// The pod network in user space, where the kernel needs one; until the supervisor ends.
    server: Mutex<Option<Server>>,
}

impl Remedies {
    /// None is applied yet. `data` is k3s's directory, `own` one of ours that stays.
    pub fn new(mode: Mode, data: PathBuf, own: PathBuf, document: &DesiredDocument) -> Self {
        let (off, network) = (document.remedies_off.clone(), document.network.clone());
        Self {
            mode,
            data,
            own,
            off,
            network,
            wired: None,
            way_out: Ok(()),
            states: Vec::new(),
            server: Mutex::default(),
        }
    }

    /// Takes what a new table says. What is applied already stays until k3s starts the next time.
    pub fn configure(&mut self, document: &DesiredDocument) {
        self.off.clone_from(&document.remedies_off);
        self.network.clone_from(&document.network);
    }

    /// What has to be done before this process has threads or children.
    pub fn before_threads(&mut self) {
        self.apply(Remedy::PrivateMounts, |this| mounts::make_private(&this.data));
        // By running programs, whose end only the tracer would hear of once it is there.
        if self.mode == Mode::Node {
            self.way_out = cni::way_out();
        }
    }

    /// Whether this process is in a mount namespace of its own, or why not.
    pub fn private_mounts(&self) -> Result<(), String> {
        match self.state(Remedy::PrivateMounts) {
            Some(State::Failed(why)) => Err(why.clone()),
            Some(_) => Ok(()),
            None => Err(format!("the remedy {} is off", Remedy::PrivateMounts.name())),
        }
    }

    /// Whether the interceptor is to correct the inode number of a procfs root; asked once, before it starts.
    pub fn wants_procfs_root(&mut self) -> bool {
        self.apply(Remedy::ProcfsRoot, |_| {
            Ok(if probe::procfs_root_is_odd() {
                State::Applied("stat of a procfs root says inode 1, as runc wants it".to_owned())
            } else {
                State::NotNeeded("the procfs root has inode 1".to_owned())
            })
        });
        matches!(self.state(Remedy::ProcfsRoot), Some(State::Applied(_)))
    }

    /// The network that pods live in, if this plan gives them another one. To be asked once before k3s is started.
    pub fn rewires(&mut self, plan: &Plan) -> Option<Network> {
        let next = match self.off.contains(&Remedy::PodNetwork) {
            true => Network::Off,
            false => pod_network::wanted(&self.network, plan),
        };
        let before = self.wired.replace(next).filter(|_| self.mode == Mode::Node);
        before.filter(|before| *before != next)
    }

    /// Our directory that stays.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// What has to be there when k3s starts.
    pub fn before_k3s(&mut self, plan: &Plan) {
        let config = plan.settings.containerd_config.clone();
        self.apply(Remedy::ContainerdConfig, |this| containerd::supply(&this.data, config.as_ref()));
        self.apply(Remedy::PauseImage, |this| pause::supply(&this.data));
        self.apply(Remedy::PodNetwork, |this| {
            pod_network::supply(&this.data, &this.own, &this.network, plan, &this.way_out, &this.server)
        });
    }

    /// What had to wait for something that k3s brings along.
    pub fn while_starting(&mut self, plan: &Plan) {
        let waits = |(remedy, state): &(Remedy, State)| {
            *remedy == Remedy::PodNetwork && matches!(state, State::Waiting(_))
        };
        if self.states.iter().any(waits) {
            self.apply(Remedy::PodNetwork, |this| {
                pod_network::supply(&this.data, &this.own, &this.network, plan, &this.way_out, &this.server)
            });
        }
    }

    /// As they are reported; none in a control plane, which needs none.
    pub fn report(&self) -> Vec<ObservedRemedy> {
        if self.mode == Mode::ControlPlane {
            return Vec::new();
        }
        Remedy::ALL.into_iter().map(|remedy| self.observed(remedy)).collect()
    }

    fn observed(&self, remedy: Remedy) -> ObservedRemedy {
        let (state, detail) = match self.state(remedy) {
            Some(State::Applied(detail)) => ("Applied", detail.clone()),
            Some(State::NotNeeded(detail)) => ("NotNeeded", detail.clone()),
            Some(State::Waiting(detail)) => ("Waiting", detail.clone()),
            Some(State::Failed(detail)) => ("Failed", detail.clone()),
            None if self.off.contains(&remedy) => ("Off", "turned off in spec.remedies.disabled".to_owned()),
            None => ("Waiting", "k3s has not been started yet".to_owned()),
        };
        ObservedRemedy { name: remedy.name().to_owned(), state: state.to_owned(), detail }
    }

    fn state(&self, remedy: Remedy) -> Option<&State> {
        self.states.iter().find(|(known, _)| *known == remedy).map(|(_, state)| state)
    }

    fn apply(&mut self, remedy: Remedy, how: impl FnOnce(&Self) -> Result<State, String>) {
        if self.mode == Mode::ControlPlane {
            return;
        }
        let state = match self.off.contains(&remedy) {
            true => None,
            false => Some(how(self).unwrap_or_else(State::Failed)),
        };
        self.states.retain(|(known, _)| *known != remedy);
        if let Some(state) = state {
            if let State::Failed(why) = &state {
                tracing::warn!(remedy = remedy.name(), "{why}");
            }
            self.states.push((remedy, state));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::observed::K3sArg;

    #[test]
    fn a_remedy_that_is_off_is_not_applied_and_says_so() {
        let data = tempfile::tempdir().unwrap();
        let document = DesiredDocument {
            remedies_off: vec![Remedy::PauseImage, Remedy::PodNetwork],
            ..Default::default()
        };
        let (path, own) = (data.path().to_owned(), data.path().join("own"));
        let mut remedies = Remedies::new(Mode::Node, path.clone(), own, &document);
        remedies.before_k3s(&Plan::default());
        let states: Vec<_> = remedies.report().into_iter().map(|one| (one.name, one.state)).collect();
        let expected = [
            ("private-mounts", "Waiting"),
            ("procfs-root", "Waiting"),
            ("containerd-config", "NotNeeded"),
            ("pause-image", "Off"),
            ("pod-network", "Off"),
        ];
        assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
        assert!(!path.join("agent/images").exists());
    }

    #[test]
    fn pods_are_rewired_when_the_network_changes_and_only_then() {
        let mut remedies =
            Remedies::new(Mode::Node, "/nowhere".into(), "/nowhere".into(), &DesiredDocument::default());
        let plan = |backend: &str| {
            let arg = format!("--flannel-backend={backend}");
            Plan { args: vec![K3sArg { arg, source: "mine".into() }], ..Plan::default() }
        };
        let rewired =
            ["none", "none", "host-gw", "vxlan", "none"].map(|backend| remedies.rewires(&plan(backend)));
        assert_eq!(rewired, [None, None, Some(Network::Bridge), None, Some(Network::Flannel)]);
    }

    #[test]
    fn a_control_plane_gets_none() {
        let mut remedies = Remedies::new(
            Mode::ControlPlane,
            "/nowhere".into(),
            "/nowhere".into(),
            &DesiredDocument::default(),
        );
        remedies.before_threads();
        remedies.before_k3s(&Plan::default());
        assert_eq!(remedies.report(), []);
    }
}
