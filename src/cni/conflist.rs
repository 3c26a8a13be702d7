//! The network configuration that goes into containerd's configuration directory for a node of ours.

use std::path::Path;

use serde_json::{Value, json};

use super::NAME;
use super::config::NEWEST;

/// Its name there.
pub const FILE: &str = "10-sandbar.conflist";

/// The network's name.
const NETWORK: &str = "sandbar";

/// What GC is called with, so that nothing is kept of the network of a node of ours, whatever its subnet was.
pub fn collect_all(state: &Path) -> Value {
    let mut plugin = document("10.42.0.0/24", state)["plugins"][0].take();
    plugin["name"] = NETWORK.into();
    plugin["cniVersion"] = NEWEST.into();
    plugin["cni.dev/valid-attachments"] = json!([]);
    plugin
}

/// The conflist for a node whose pods live in `subnet`. What the plugin remembers, and the leases, lie in `state`.
pub fn conflist(subnet: &str, state: &Path) -> String {
    format!("{:#}\n", document(subnet, state))
}

fn document(subnet: &str, state: &Path) -> Value {
    json!({
        "cniVersion": NEWEST,
        "name": NETWORK,
        "plugins": [{
            "type": NAME,
            "egress": "auto",
            "stateDir": state,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": subnet }]],
                "dataDir": state.join("leases"),
            },
            "capabilities": { "portMappings": true },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::config::Config;

    #[test]
    fn the_plugin_reads_what_the_runtime_makes_of_it() {
        let text = conflist("10.42.0.0/24", Path::new("/run/sandbar/cni"));
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut plugin = list["plugins"][0].clone();
        plugin["name"] = list["name"].clone();
        plugin["cniVersion"] = list["cniVersion"].clone();
        let config = Config::read(plugin.to_string().as_bytes()).unwrap();
        assert_eq!(config.ipam_type(), Some("host-local"));
        assert_eq!(config.leases(), Path::new("/run/sandbar/cni/leases/sandbar"));
        let all = Config::read(collect_all(Path::new("/run/sandbar/cni")).to_string().as_bytes()).unwrap();
        assert_eq!((&all.name, &all.valid), (&config.name, &Some(Vec::new())));
        assert_eq!((&all.state_dir, all.leases()), (&config.state_dir, config.leases()));
        assert_eq!(plugin["ipam"]["ranges"][0][0]["subnet"], "10.42.0.0/24");
    }
}
