//! What k3s's settings for a node take from the kernel, tried; and what follows: which snapshotter is the best, what cannot
//! work. The judgement is pure.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::abilities::Tried;
use super::layers;
use crate::cni;
use crate::k3s::Places;

/// Below k3s's data directory: where snapshots lie.
const SNAPSHOTS: &str = "agent/containerd";
/// The same: where k3s unpacks programs that it brings along.
const PROGRAMS: &str = "data/current/bin";

/// What was tried. Each field is `None` when it works, else the reason why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAbilities {
    /// An overlay where snapshots lie shows its layers, and takes what is written.
    pub overlay: Tried,
    /// It lets what comes from an image be removed.
    pub overlay_removal: Tried,
    /// fuse-overlayfs does all that.
    pub fuse_overlayfs: Tried,
    /// A bridge that the kernel calls one, as every backend of flannel needs it for its pods.
    pub bridge: Tried,
    /// A link of kind vxlan.
    pub vxlan: Tried,
    /// A link of kind wireguard.
    pub wireguard: Tried,
}

/// A snapshotter, and why this one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Choice {
    pub name: &'static str,
    pub why: String,
}

impl NodeAbilities {
    /// Tries everything; `data` is k3s's data directory. To be called before anything collects children of this process
    /// that it did not start.
    pub fn try_in(data: &Path) -> Self {
        let wanted = data.join(SNAPSHOTS);
        // As long as it is not made, it will lie on the filesystem of what is.
        let place = wanted.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/"));
        let overlay = layers::overlay(place);
        let [bridge, vxlan, wireguard] = cni::kinds_of_links();
        Self {
            overlay: overlay.works,
            overlay_removal: overlay.removes,
            fuse_overlayfs: layers::fuse_overlayfs(place, |name| find(name, data)),
            bridge,
            vxlan,
            wireguard,
        }
    }

    /// What `snapshotter: auto` becomes.
    pub fn snapshotter(&self) -> Choice {
        let lacks = |name, why: &Tried| why.as_ref().map(|why| format!("{name}: {why}"));
        let overlay = self.overlay.as_ref().or(self.overlay_removal.as_ref()).cloned();
        let Some(overlay) = lacks("overlayfs", &overlay) else {
            return Choice { name: "overlayfs", why: "an overlay works where snapshots lie".to_owned() };
        };
        match lacks("fuse-overlayfs", &self.fuse_overlayfs) {
            None => Choice { name: "fuse-overlayfs", why: overlay },
            Some(fuse) => Choice { name: "native", why: format!("{overlay}; {fuse}") },
        }
    }

    /// Why containers cannot be run with this snapshotter, if they cannot.
    pub fn lacks_snapshotter(&self, name: &str) -> Option<String> {
        match name {
            "overlayfs" => self.overlay.clone(),
            "fuse-overlayfs" => self.fuse_overlayfs.clone(),
            _ => None,
        }
    }

    /// What containers will lack with a snapshotter that works.
    pub fn limits_snapshotter(&self, name: &str) -> Option<String> {
        self.overlay_removal.clone().filter(|_| name == "overlayfs")
    }

    /// Why pods cannot have a network by this backend of flannel, if they cannot.
    pub fn lacks_backend(&self, name: &str) -> Option<String> {
        let own = match name {
            "none" => return None,
            "vxlan" => self.vxlan.as_ref(),
            "wireguard-native" => self.wireguard.as_ref(),
            _ => None,
        };
        own.or(self.bridge.as_ref()).cloned()
    }
}

/// A program on PATH, or among those of k3s.
fn find(name: &str, data: &Path) -> Option<PathBuf> {
    let own = || Some(data.join(PROGRAMS).join(name)).filter(|program| program.is_file());
    Places::from_env().on_path(name).or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(why: &str) -> Tried {
        Some(why.to_owned())
    }

    #[test]
    fn the_best_snapshotter_that_works_is_taken_and_why_is_said() {
        let all = NodeAbilities::default();
        assert_eq!(all.snapshotter().name, "overlayfs");
        // gVisor on 9p: it mounts, and nothing can be removed.
        let half = NodeAbilities { overlay_removal: no("EPERM"), ..all.clone() };
        assert_eq!(half.snapshotter(), Choice { name: "fuse-overlayfs", why: "overlayfs: EPERM".into() });
        assert_eq!(
            (half.lacks_snapshotter("overlayfs"), half.limits_snapshotter("overlayfs")),
            (None, no("EPERM"))
        );
        assert_eq!(half.limits_snapshotter("native"), None);
        let none = NodeAbilities { overlay: no("EINVAL"), fuse_overlayfs: no("nothing is mounted"), ..half };
        let why = "overlayfs: EINVAL; fuse-overlayfs: nothing is mounted".to_owned();
        assert_eq!(none.snapshotter(), Choice { name: "native", why });
        assert_eq!(none.lacks_snapshotter("overlayfs"), no("EINVAL"));
        assert_eq!(none.lacks_snapshotter("native"), None);
    }

    #[test]
    fn every_backend_needs_a_bridge_and_some_a_kind_of_their_own() {
        let kernel = NodeAbilities { vxlan: no("vxlan"), ..Default::default() };
        for (name, expected) in
            [("none", None), ("host-gw", None), ("wireguard-native", None), ("vxlan", no("vxlan"))]
        {
            assert_eq!(kernel.lacks_backend(name), expected, "{name}");
        }
        let kernel = NodeAbilities { bridge: no("bridge"), ..kernel };
        for (name, expected) in [("none", None), ("host-gw", no("bridge")), ("vxlan", no("vxlan"))] {
            assert_eq!(kernel.lacks_backend(name), expected, "{name}");
        }
    }
}
