//! A plan: the settings with which k3s is to be started, what makes two of them the same, and how they differ. Pure.

use serde::{Deserialize, Serialize};

use super::flags::{self, Mode};
use super::remedies::{self, Network};
use crate::rules::model::{DesiredDocument, K3sSettings, NetworkSettings, Remedy, Sourced};
use crate::rules::observed::{K3sArg, StartPart, Traced};

/// Settings and the command line that they make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Generation of the table that brought them.
    pub generation: u64,
    /// As the table has them.
    pub settings: K3sSettings,
    /// As k3s gets them.
    pub args: Vec<K3sArg>,
    /// Who is traced.
    pub traced: Traced,
    /// The SandboxConfig that says by which means rules are served.
    pub traced_source: Option<String>,
    /// What a node has besides; none in a control plane, which no change of it restarts.
    pub node: Option<NodeSettings>,
}

/// What of a table goes into effect on a node when k3s is started there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct NodeSettings {
    pub network: NetworkSettings,
    pub remedies_off: Vec<Remedy>,
    #[serde(default)]
    pub remedies_source: Option<String>,
}

impl Plan {
    /// What `document` asks for; `args` and `traced` are what has become of it.
    pub fn new(
        generation: u64,
        document: &DesiredDocument,
        mode: Mode,
        args: Vec<K3sArg>,
        traced: Traced,
    ) -> Self {
        let node = NodeSettings {
            network: document.network.clone(),
            remedies_off: document.remedies_off.clone(),
            remedies_source: document.remedies_source.clone(),
        };
        Self {
            generation,
            settings: document.k3s.clone(),
            args,
            traced,
            traced_source: document.interception_source.clone(),
            node: (mode == Mode::Node).then_some(node),
        }
    }

    /// Whether k3s would be started in the same way. Where an argument came from makes no difference.
    pub fn same_start(&self, other: &Self) -> bool {
        flags::plain(&self.args) == flags::plain(&other.args)
            && self.containerd_config() == other.containerd_config()
            && self.traced == other.traced
            && self.network() == other.network()
            && self.remedies_off() == other.remedies_off()
    }

    /// The pod network; none in a control plane.
    pub fn network(&self) -> Option<Network> {
        let node = self.node.as_ref()?;
        Some(match node.remedies_off.contains(&Remedy::PodNetwork) {
            true => Network::Off,
            false => remedies::network(node.network.cni.as_ref().map(|set| set.value.as_str()), &self.args),
        })
    }

    /// The remedies that are turned off, of those that are applied when k3s is started, in their order.
    pub fn remedies_off(&self) -> Vec<Remedy> {
        let off = |remedy: &Remedy| self.node.as_ref().is_some_and(|node| node.remedies_off.contains(remedy));
        Remedy::ALL.into_iter().filter(|remedy| remedy.is_of_k3s() && off(remedy)).collect()
    }

    /// None in a control plane, which has no containerd.
    fn containerd_config(&self) -> Option<&str> {
        self.node.as_ref()?;
        self.settings.containerd_config.as_ref().map(|set| set.value.as_str())
    }

    /// What a start by this plan has that one by `before` has not, each with the SandboxConfig that it is from.
    pub fn news(&self, before: &Self) -> Vec<StartPart> {
        let known = words(&before.args);
        let flags =
            words(&self.args).into_iter().filter(|flag| !known.iter().any(|old| old.what == flag.what));
        let part = |what: String, source: Option<&String>| StartPart { what, source: source.cloned() };
        let node = self.node.as_ref();
        let containerd = (self.containerd_config() != before.containerd_config()).then(|| {
            let source = self.settings.containerd_config.as_ref().map(|set| &set.source);
            part("another containerdConfig".to_owned(), source)
        });
        let means = (self.traced != before.traced).then(|| {
            let means = match self.traced {
                Traced::Everything => "rules served by interception",
                Traced::Commands | Traced::Nothing => "rules served by mounts",
            };
            part(means.to_owned(), self.traced_source.as_ref())
        });
        let off = self.remedies_off();
        let remedies = (off != before.remedies_off()).then(|| {
            let names: Vec<&str> = off.iter().map(|remedy| remedy.name()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            part(format!("remedies turned off: {names}"), node.and_then(|node| node.remedies_source.as_ref()))
        });
        // What the pod network is goes by flags and remedies, too; they are told as such.
        let cni = |plan: &Self| plan.node.as_ref().and_then(|node| node.network.cni.as_ref()).cloned();
        let (new, old) = (cni(self), cni(before));
        let value = |set: &Option<Sourced<String>>| set.as_ref().map(|set| set.value.clone());
        let network = (self.network() != before.network() && value(&new) != value(&old)).then(|| {
            let name = value(&new).unwrap_or_else(|| "auto".to_owned());
            part(format!("pod network {name}"), new.as_ref().map(|set| &set.source))
        });
        flags.chain(containerd).chain(means).chain(network).chain(remedies).collect()
    }
}

/// The SandboxConfigs that make `after` another plan than `before`: those that brought something, or had brought what is gone.
pub fn changed_by(before: &Plan, after: &Plan) -> Vec<String> {
    let parts = after.news(before).into_iter().chain(before.news(after));
    let mut sources: Vec<String> = parts.filter_map(|part| part.source).collect();
    sources.sort();
    sources.dedup();
    sources
}

/// Flags with their values, as in `--v=2` or `--v 2`.
fn words(args: &[K3sArg]) -> Vec<StartPart> {
    let mut flags: Vec<StartPart> = Vec::new();
    for K3sArg { arg, source } in args {
        match flags.last_mut().filter(|_| !arg.starts_with('-')) {
            Some(last) if last.what.starts_with('-') && !last.what.contains(['=', ' ']) => {
                last.what = format!("{} {arg}", last.what);
            }
            _ => flags.push(StartPart { what: arg.clone(), source: Some(source.clone()) }),
        }
    }
    flags
}

/// What a restart would change, as in `+--snapshotter=native -…`.
pub fn difference(current: &Plan, pending: &Plan) -> String {
    let is_flag = |part: &StartPart| part.what.starts_with('-');
    let (flags, others): (Vec<_>, Vec<_>) = pending.news(current).into_iter().partition(is_flag);
    let added = flags.iter().map(|part| format!("+{}", part.what));
    let dropped = current.news(pending).into_iter().filter(is_flag).map(|part| format!("-{}", part.what));
    let changes: Vec<String> = added.chain(dropped).chain(others.into_iter().map(|part| part.what)).collect();
    format!("generation {}: {}", pending.generation, changes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sourced(value: &str) -> Option<Sourced<String>> {
        Some(Sourced { value: value.to_owned(), source: "mine".into() })
    }

    fn plan(line: &str, change: impl Fn(&mut DesiredDocument)) -> Plan {
        made(Mode::Node, line, change)
    }

    fn made(mode: Mode, line: &str, change: impl Fn(&mut DesiredDocument)) -> Plan {
        let mut document = DesiredDocument::default();
        change(&mut document);
        let arg = |arg: &str| K3sArg { arg: arg.into(), source: "profile".into() };
        let args = line.split_whitespace().map(arg).collect();
        Plan::new(2, &document, mode, args, Traced::Everything)
    }

    #[test]
    fn network_remedies_and_containerd_are_a_part_of_how_a_node_is_started() {
        let changes: [fn(&mut DesiredDocument); 3] = [
            |document| document.network.cni = sourced("none"),
            |document| document.remedies_off = vec![Remedy::PauseImage],
            |document| document.k3s.containerd_config = sourced("[debug]"),
        ];
        let before = plan("--flannel-backend=none", |_| {});
        for change in changes {
            let after = plan("--flannel-backend=none", change);
            assert!(!after.same_start(&before) && !before.same_start(&after), "{after:?}");
        }
        for change in &changes {
            let [before, after] =
                [|_: &mut DesiredDocument| {}, *change].map(|one| made(Mode::ControlPlane, "", one));
            assert!(after.same_start(&before), "no pods, no network, no containerd: {after:?}");
        }
    }

    #[test]
    fn what_leads_to_the_same_is_the_same() {
        let before = plan("--flannel-backend=none", |_| {});
        for name in ["auto", "bridge"] {
            assert!(
                plan("--flannel-backend=none", |document| document.network.cni = sourced(name))
                    .same_start(&before)
            );
        }
        // One of the supervisor's own, which is not for k3s to start with.
        assert!(
            plan("--flannel-backend=none", |document| document.remedies_off = vec![Remedy::PrivateMounts])
                .same_start(&before)
        );
    }

    #[test]
    fn news_are_told_with_the_object_that_they_are_from() {
        let before = plan("server --v 2 --flannel-backend=none", |_| {});
        let after = plan("server --v 4 --flannel-backend=none", |document| {
            document.k3s.containerd_config = sourced("[debug]");
            document.network.cni = sourced("none");
            document.remedies_off = vec![Remedy::PauseImage];
            document.remedies_source = Some("other".into());
        });
        let told: Vec<_> = after
            .news(&before)
            .into_iter()
            .map(|part| (part.what, part.source.unwrap_or_default()))
            .collect();
        let expected = [
            ("--v 4", "profile"),
            ("another containerdConfig", "mine"),
            ("pod network none", "mine"),
            ("remedies turned off: pause-image", "other"),
        ];
        assert_eq!(told, expected.map(|(what, source)| (what.to_owned(), source.to_owned())));
        assert_eq!(after.news(&after), []);
        assert_eq!(changed_by(&before, &after), ["mine", "other", "profile"]);
        assert_eq!(
            changed_by(&after, &before),
            changed_by(&before, &after),
            "one who takes something back, too"
        );
        assert_eq!(
            difference(&before, &after),
            "generation 2: +--v 4 ---v 2 another containerdConfig pod network none remedies turned off: pause-image"
        );
    }
}
