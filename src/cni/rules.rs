//! The iptables rules for the way out and for host ports, in the few words that gVisor's iptables understand: no comment, no
//! conntrack, no `!`, no MASQUERADE, and SNAT for TCP and UDP only.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::config::{PortMapping, Protocol};

/// One rule of the nat table, worded as `iptables -S` words it, so that it is found there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Rule {
    /// The chain that it is in.
    pub chain: String,
    /// The rest, as iptables takes it.
    pub spec: Vec<String>,
}

/// A rule, and those that serve in its place where the kernel does not know all of its words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Choice {
    pub preferred: Rule,
    pub otherwise: Vec<Rule>,
}

impl Choice {
    /// Every rule that may come of it.
    pub fn all(&self) -> impl Iterator<Item = &Rule> {
        std::iter::once(&self.preferred).chain(&self.otherwise)
    }
}

/// The pod at whose ports rules aim.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Pod {
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
}

fn rule(chain: &str, spec: &str) -> Rule {
    Rule { chain: chain.to_owned(), spec: spec.split_whitespace().map(str::to_owned).collect() }
}

/// What leaves by `link` gets the node's address. One for all pods.
pub fn way_out(subnet: Ipv4Net, link: &str, address: Ipv4Addr) -> Choice {
    let out = |protocol: &str| {
        rule("POSTROUTING", &format!("-s {subnet} -o {link} {protocol} -j SNAT --to-source {address}"))
    };
    Choice { preferred: out(""), otherwise: vec![out("-p tcp"), out("-p udp")] }
}

/// A host port, for each of the node's addresses: without them what a pod sends to that port of anyone would come here too.
pub fn host_port(port: &PortMapping, pod: Pod, node: &[Ipv4Addr]) -> Vec<Rule> {
    let name = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let (from, to, address, gateway) = (port.host_port, port.container_port, pod.address, pod.gateway);
    let mut rules = Vec::new();
    for own in node {
        for chain in ["PREROUTING", "OUTPUT"] {
            let spec = format!(
                "-d {own}/32 -p {name} -m {name} --dport {from} -j DNAT --to-destination {address}:{to}"
            );
            rules.push(rule(chain, &spec));
        }
    }
    // The pod itself would get what it sent with its own address as the sender's.
    let spec = format!(
        "-s {address}/32 -d {address}/32 -p {name} -m {name} --dport {to} -j SNAT --to-source {gateway}"
    );
    rules.push(rule("POSTROUTING", &spec));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rule: &Rule) -> String {
        format!("{} {}", rule.chain, rule.spec.join(" "))
    }

    #[test]
    fn the_way_out() {
        let choice = way_out("10.42.0.0/24".parse().unwrap(), "eth0", "198.18.0.2".parse().unwrap());
        assert_eq!(
            choice.all().map(shown).collect::<Vec<_>>(),
            [
                "POSTROUTING -s 10.42.0.0/24 -o eth0 -j SNAT --to-source 198.18.0.2",
                "POSTROUTING -s 10.42.0.0/24 -o eth0 -p tcp -j SNAT --to-source 198.18.0.2",
                "POSTROUTING -s 10.42.0.0/24 -o eth0 -p udp -j SNAT --to-source 198.18.0.2",
            ]
        );
    }

    #[test]
    fn a_host_port() {
        let port = PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Udp,
            host_ip: String::new(),
        };
        let pod = Pod { address: "10.42.0.5".parse().unwrap(), gateway: "10.42.0.1".parse().unwrap() };
        let rules = host_port(&port, pod, &["198.18.0.2".parse().unwrap()]);
        assert_eq!(
            rules.iter().map(shown).collect::<Vec<_>>(),
            [
                "PREROUTING -d 198.18.0.2/32 -p udp -m udp --dport 8080 -j DNAT --to-destination 10.42.0.5:80",
                "OUTPUT -d 198.18.0.2/32 -p udp -m udp --dport 8080 -j DNAT --to-destination 10.42.0.5:80",
                "POSTROUTING -s 10.42.0.5/32 -d 10.42.0.5/32 -p udp -m udp --dport 80 -j SNAT --to-source 10.42.0.1",
            ]
        );
    }
}
