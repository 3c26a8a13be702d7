//! The network configuration that comes on stdin.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{is_id, is_ifname};
use super::error::CniError;

/// Versions of the specification that are understood.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The newest of them.
pub const NEWEST: &str = "1.1.0";
/// Where the plugin remembers what it did, where the configuration says nothing. It does not outlive the machine, as links do not.
pub const STATE: &str = "/run/sandbar/cni";

/// How pods are to reach what lies outside the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// The best way that there is; none, said in a warning, if there is no way.
    #[default]
    Auto,
    /// Source addresses rewritten by the kernel; without it pods do not start.
    Snat,
    /// By sockets of the supervisor, which carries what pods send; without it pods do not start. Host ports, too.
    Userspace,
    /// Not at all.
    None,
}

/// Transport protocols of a host port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A port of the node that leads to one of the pod. containerd writes the fields by their Go names, which Go's own readers
/// take in any case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// On the node. 0 means that there is none.
    #[serde(default, alias = "HostPort")]
    pub host_port: u16,
    /// In the pod.
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    /// The runtime writes it in either case.
    #[serde(default, alias = "Protocol", deserialize_with = "protocol")]
    pub protocol: Protocol,
    /// The node's address that it is bound to; every one if empty. Whether it is the node's is seen when the port is opened.
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    pub host_ip: String,
}

/// One attachment that is still wanted, as GC names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct Valid {
    #[serde(rename = "containerID")]
    pub container: String,
    pub ifname: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeConfig {
    #[serde(default)]
    port_mappings: Option<Vec<PortMapping>>,
}

/// The configuration. What is not known is ignored, as the specification wants it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The version in which to answer.
    #[serde(default = "oldest")]
    pub cni_version: String,
    /// The network's name.
    #[serde(default)]
    pub name: String,
    /// MTU of the links; that of the way out if it is smaller than the kernel's own choice.
    #[serde(default)]
    pub mtu: Option<u32>,
    #[serde(default)]
    egress: Wanted,
    #[serde(default)]
    ip_masq: Option<bool>,
    /// The interface that leads outside; that of the default route if empty.
    #[serde(default)]
    pub host_interface: String,
    /// Where the plugin remembers what it did.
    #[serde(default = "state")]
    pub state_dir: PathBuf,
    /// Address management; the plugin named in it gets the whole configuration.
    #[serde(default)]
    pub ipam: BTreeMap<String, Value>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    /// The result of ADD, for CHECK.
    #[serde(default)]
    pub prev_result: Option<Value>,
    /// What GC must leave; nothing is to be removed if the runtime does not say.
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid: Option<Vec<Valid>>,
}

impl Config {
    /// Reads and checks a configuration.
    pub fn read(text: &[u8]) -> Result<Self, CniError> {
        let config: Self =
            serde_json::from_slice(text).map_err(|error| CniError::Decode(error.to_string()))?;
        if !VERSIONS.contains(&config.cni_version.as_str()) {
            return Err(CniError::Version(config.cni_version));
        }
        let wrong = |problem: String| Err(CniError::Config(problem));
        if !is_id(&config.name) {
            return wrong(format!("name {:?} is no name of a network", config.name));
        }
        if !config.host_interface.is_empty() && !is_ifname(&config.host_interface) {
            return wrong(format!("hostInterface {:?} is no name of an interface", config.host_interface));
        }
        if config.mtu.is_some_and(|mtu| mtu != 0 && !(576..=65535).contains(&mtu)) {
            return wrong("mtu must lie between 576 and 65535".into());
        }
        if !config.state_dir.is_absolute() {
            return wrong(format!("stateDir {} is not absolute", config.state_dir.display()));
        }
        for port in config.ports() {
            if !port.host_ip.is_empty() && port.host_ip.parse::<IpAddr>().is_err() {
                return wrong(format!("hostIP {:?} of a port mapping is no address", port.host_ip));
            }
        }
        Ok(config)
    }

    /// The way out that is asked for: `egress`, or none if `ipMasq` says no.
    pub fn wanted(&self) -> Wanted {
        if self.ip_masq == Some(false) { Wanted::None } else { self.egress }
    }

    /// The host ports that are asked for.
    pub fn ports(&self) -> impl Iterator<Item = &PortMapping> {
        self.runtime_config.port_mappings.iter().flatten().filter(|port| port.host_port != 0)
    }

    /// The plugin that hands out addresses.
    pub fn ipam_type(&self) -> Option<&str> {
        self.ipam.get("type").and_then(Value::as_str)
    }

    /// Where the real host-local keeps this network's leases.
    pub fn leases(&self) -> PathBuf {
        let dir = self.ipam.get("dataDir").and_then(Value::as_str).unwrap_or("/var/lib/cni/networks");
        Path::new(dir).join(&self.name)
    }
}

/// Whether `version` is at least `than`; both are of [`VERSIONS`], which are in order.
pub fn at_least(version: &str, than: &str) -> bool {
    let place = |text| VERSIONS.iter().position(|known| *known == text);
    place(version) >= place(than)
}

fn protocol<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    match String::deserialize(deserializer)?.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        other => Err(serde::de::Error::custom(format!("protocol {other:?} of a port mapping is not known"))),
    }
}

fn oldest() -> String {
    "0.3.0".to_owned()
}

fn state() -> PathBuf {
    STATE.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, CniError> {
        Config::read(text.as_bytes())
    }

    #[test]
    fn defaults() {
        let config = read(r#"{"cniVersion":"1.0.0","name":"pods","type":"sandbar-cni"}"#).unwrap();
        assert_eq!(
            (config.state_dir.as_path(), config.wanted(), config.ports().count()),
            (Path::new(STATE), Wanted::Auto, 0)
        );
        assert_eq!(config.leases(), Path::new("/var/lib/cni/networks/pods"));
    }

    #[test]
    fn all_of_it() {
        let config = read(
            r#"{"cniVersion":"1.1.0","name":"pods","mtu":1400,"egress":"snat","hostInterface":"eth1",
                "ipam":{"type":"host-local","dataDir":"/x"},
                "runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"TCP","hostIP":""},
                  {"hostPort":0,"containerPort":1,"protocol":"udp"}]},
                "cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}"#,
        )
        .unwrap();
        assert_eq!((config.wanted(), config.ipam_type()), (Wanted::Snat, Some("host-local")));
        assert_eq!(config.ports().map(|port| port.host_port).collect::<Vec<_>>(), [80]);
        assert_eq!(config.valid.unwrap()[0].container, "a");
    }

    #[test]
    fn masquerading_switched_off_is_no_way_out() {
        let config = read(r#"{"cniVersion":"1.0.0","name":"pods","ipMasq":false,"egress":"snat"}"#).unwrap();
        assert_eq!(config.wanted(), Wanted::None);
    }

    #[test]
    fn refusals_have_their_codes() {
        for (text, code) in [
            ("{", 6),
            (r#"{"cniVersion":"2.0.0","name":"a"}"#, 1),
            (r#"{"cniVersion":"1.0.0","name":"../a"}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a","hostInterface":"much-too-long-name"}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a","mtu":3}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a","stateDir":"x"}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a","egress":"tunnel"}"#, 6),
        ] {
            assert_eq!(read(text).unwrap_err().code(), code, "{text}");
        }
    }

    #[test]
    fn versions_compare() {
        assert!(at_least("1.0.0", "1.0.0") && at_least("1.1.0", "0.4.0") && !at_least("0.4.0", "1.0.0"));
    }
}
