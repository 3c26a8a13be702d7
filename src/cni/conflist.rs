//! The network configuration that goes into containerd's configuration directory for a node of ours.

use std::path::Path;

use serde_json::{Value, json};

use super::NAME;
use super::config::NEWEST;

/// Its name there.
pub const FILE: &str = "10-sandbar.conflist";

/// What GC is called with, so that nothing of the network in a conflist of ours is kept; `None` if it is none.
pub fn collect_all(conflist: &str) -> Option<String> {
    let list: Value = serde_json::from_str(conflist).ok()?;
    let mut plugin = list["plugins"].get(0)?.clone();
    let fields = plugin.as_object_mut()?;
    for name in ["name", "cniVersion"] {
        fields.insert(name.to_owned(), list.get(name)?.clone());
    }
    fields.insert("cni.dev/valid-attachments".to_owned(), json!([]));
    Some(plugin.to_string())
}

/// The conflist for a node whose pods live in `subnet`. What the plugin remembers, and the leases, lie in `state`.
pub fn conflist(subnet: &str, state: &Path) -> String {
    let document = json!({
        "cniVersion": NEWEST,
        "name": "sandbar",
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
    });
    format!("{document:#}\n")
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
        let all = Config::read(collect_all(&text).unwrap().as_bytes()).unwrap();
        assert_eq!((all.name, all.valid), (config.name.clone(), Some(Vec::new())));
        assert_eq!(collect_all("[]"), None);
        assert_eq!(plugin["ipam"]["ranges"][0][0]["subnet"], "10.42.0.0/24");
    }
}
