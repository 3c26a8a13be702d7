//! The result of an attachment: read from the address plugin, written to the runtime in the version that it asked for.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::at_least;
use super::error::CniError;

/// An interface that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// The namespace it is in; none for the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
}

/// An address of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Address {
    /// With the length of the subnet.
    pub address: IpNet,
    /// The node's address for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Which of the interfaces has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
}

/// A route of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Route {
    /// Where to.
    pub dst: IpNet,
    /// By whom; the subnet's gateway if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Outcome {
    /// Interfaces: the node's end, the pod's end.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(default)]
    pub ips: Vec<Address>,
    /// Routes.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// As the address plugin gave it.
    #[serde(default)]
    pub dns: Value,
}

impl Outcome {
    /// Reads a result of any version that is understood.
    pub fn read(value: &Value) -> Result<Self, CniError> {
        serde_json::from_value(value.clone()).map_err(|error| CniError::Decode(format!("a result: {error}")))
    }

    /// The document in the version that was asked for.
    pub fn document(&self, version: &str) -> Value {
        let mut document = json!(self);
        document["cniVersion"] = json!(version);
        if self.dns.is_null() {
            document["dns"] = json!({});
        }
        if !at_least(version, "1.0.0") {
            for (shown, ip) in document["ips"].as_array_mut().into_iter().flatten().zip(&self.ips) {
                shown["version"] = json!(if ip.address.addr().is_ipv4() { "4" } else { "6" });
            }
        }
        document
    }

    /// The same with each address alone, without its subnet: the node is between any two pods.
    pub fn single(&self) -> Self {
        let mut outcome = self.clone();
        for ip in &mut outcome.ips {
            ip.address = ip.address.addr().into();
        }
        outcome
    }

    /// The routes to set: those that were asked for, and a default by each family's first gateway.
    pub fn all_routes(&self) -> Vec<Route> {
        let mut routes = self.routes.clone();
        for ip in self.ips.iter().filter(|ip| ip.gateway.is_some()) {
            let v4 = ip.address.addr().is_ipv4();
            if routes.iter().any(|route| route.dst.prefix_len() == 0 && route.dst.addr().is_ipv4() == v4) {
                continue;
            }
            routes.push(Route { dst: default_route(v4), gw: ip.gateway });
        }
        routes
    }

    /// By whom a route goes.
    pub fn gateway_of(&self, route: &Route) -> Option<IpAddr> {
        let same = |ip: &&Address| ip.address.addr().is_ipv4() == route.dst.addr().is_ipv4();
        route.gw.or_else(|| self.ips.iter().find(same).and_then(|ip| ip.gateway))
    }

    /// The pod's first IPv4 address with a gateway: address, subnet and gateway.
    pub fn v4(&self) -> Option<(std::net::Ipv4Addr, ipnet::Ipv4Net, std::net::Ipv4Addr)> {
        self.ips.iter().find_map(|ip| match (ip.address, ip.gateway) {
            (IpNet::V4(net), Some(IpAddr::V4(gateway))) => Some((net.addr(), net.trunc(), gateway)),
            _ => None,
        })
    }
}

fn default_route(v4: bool) -> IpNet {
    if v4 { IpNet::V4(ipnet::Ipv4Net::default()) } else { IpNet::V6(ipnet::Ipv6Net::default()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leased() -> Outcome {
        Outcome::read(&json!({
            "cniVersion": "0.4.0", "dns": {},
            "ips": [{"version": "4", "address": "10.42.0.5/24", "gateway": "10.42.0.1"}],
            "routes": [{"dst": "10.9.0.0/16"}],
        }))
        .unwrap()
    }

    #[test]
    fn versions_differ_in_the_family_alone() {
        let old = leased().document("0.4.0");
        assert_eq!((&old["ips"][0]["version"], &old["cniVersion"]), (&json!("4"), &json!("0.4.0")));
        let new = leased().document("1.1.0");
        assert!(new["ips"][0].get("version").is_none());
        assert_eq!(Outcome::read(&new).unwrap().ips, Outcome::read(&old).unwrap().ips);
    }

    #[test]
    fn a_default_route_is_added_once() {
        let mut outcome = leased();
        let routes = outcome.all_routes();
        assert_eq!(routes.len(), 2);
        assert_eq!(routes[1].dst.to_string(), "0.0.0.0/0");
        assert_eq!(outcome.gateway_of(&routes[0]).unwrap().to_string(), "10.42.0.1");
        outcome.routes = routes;
        assert_eq!(outcome.all_routes().len(), 2);
    }

    #[test]
    fn the_subnet_is_cut_from_the_address() {
        let (address, subnet, gateway) = leased().v4().unwrap();
        let shown = (address.to_string(), subnet.to_string(), gateway.to_string());
        assert_eq!(shown, ("10.42.0.5".into(), "10.42.0.0/24".into(), "10.42.0.1".into()));
    }
}
