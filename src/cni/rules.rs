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

/// Rules, and those that serve in their place where the kernel does not know all of their words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Choice {
    pub preferred: Vec<Rule>,
    pub otherwise: Vec<Rule>,
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

/// What leaves by `link` gets the node's address. One set for all pods. What stays among them is taken out first: a gVisor of
/// early 2025 does not look at `-o` there.
pub fn way_out(subnet: Ipv4Net, link: &str, address: Ipv4Addr) -> Choice {
    let out = |protocols: &[&str]| {
        let stays = rule("POSTROUTING", &format!("-s {subnet} -d {subnet} -j ACCEPT"));
        let leaves = protocols.iter().map(|protocol| {
            rule("POSTROUTING", &format!("-s {subnet} -o {link} {protocol} -j SNAT --to-source {address}"))
        });
        std::iter::once(stays).chain(leaves).collect()
    };
    Choice { preferred: out(&[""]), otherwise: out(&["-p tcp", "-p udp"]) }
}

/// A host port, for each of the node's addresses: without them what a pod sends to that port of anyone would come here too.
pub fn host_port(port: &PortMapping, pod: Pod, node: &[Ipv4Addr]) -> Vec<Rule> {
    let name = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let (from, to, address) = (port.host_port, port.container_port, pod.address);
    let mut rules = Vec::new();
    for own in node {
        for chain in ["PREROUTING", "OUTPUT"] {
            let spec = format!(
                "-d {own}/32 -p {name} -m {name} --dport {from} -j DNAT --to-destination {address}:{to}"
            );
            rules.push(rule(chain, &spec));
        }
    }
    rules
}

/// Lets a pod reach itself by its host ports: it would get what it sent with its own address as the sender's. To come before
/// the rules of the way out, which take what stays among pods out.
pub fn to_itself(pod: Pod) -> Vec<Rule> {
    let Pod { address, gateway } = pod;
    let one = |name: &&str| {
        let spec = format!("-s {address}/32 -d {address}/32 -p {name} -j SNAT --to-source {gateway}");
        rule("POSTROUTING", &spec)
    };
    ["tcp", "udp"].iter().map(one).collect()
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
            choice.preferred.iter().map(shown).collect::<Vec<_>>(),
            [
                "POSTROUTING -s 10.42.0.0/24 -d 10.42.0.0/24 -j ACCEPT",
                "POSTROUTING -s 10.42.0.0/24 -o eth0 -j SNAT --to-source 198.18.0.2",
            ]
        );
        assert_eq!(
            choice.otherwise.iter().map(shown).collect::<Vec<_>>(),
            [
                "POSTROUTING -s 10.42.0.0/24 -d 10.42.0.0/24 -j ACCEPT",
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
            ]
        );
        let itself = "POSTROUTING -s 10.42.0.5/32 -d 10.42.0.5/32 -p tcp -j SNAT --to-source 10.42.0.1";
        assert_eq!(shown(&to_itself(pod)[0]), itself);
    }
}
