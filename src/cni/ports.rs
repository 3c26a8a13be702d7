//! Host ports: ports of the node that lead to a pod, by the kernel's nat table or by the server in user space.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ipnet::IpNet;

use super::config::{Config, PortMapping, Protocol, Wanted};
use super::error::CniError;
use super::iptables::Iptables;
use super::netlink::Netlink;
use super::result::Outcome;
use super::rules::{Pod, Rule, host_port, to_itself};
use super::state::{Attachment, Store};
use super::userspace::{self, Forward};

/// Opens the ports that are asked for, having written down what will have to be removed.
pub fn open(
    config: &Config,
    store: &Store,
    node: &mut Netlink,
    outcome: &Outcome,
    attachment: &mut Attachment,
) -> Result<(), CniError> {
    if config.ports().next().is_none() {
        return Ok(());
    }
    let (address, _, gateway) =
        outcome.v4().ok_or_else(|| CniError::Rules("a host port needs a pod with an IPv4 address".into()))?;
    let addresses = node.addresses(None).map_err(CniError::network("read the node's addresses"))?;
    let pod = Pod { address, gateway };
    let (rules, itself) = (plan(config.ports(), pod, &addresses)?, to_itself(pod));
    let by_nat = match config.wanted() {
        Wanted::Userspace => Err("the network's configuration wants none".to_owned()),
        _ => Iptables::find(),
    };
    let iptables = match by_nat {
        Ok(iptables) => iptables,
        Err(why) => {
            userspace::serves_ports(&config.state_dir).map_err(|neither| {
                CniError::Rules(format!("host ports need the kernel's nat table: {why}; {neither}"))
            })?;
            attachment.userspace.forwards = forwards(config.ports(), pod, &addresses)?;
            return Ok(());
        }
    };
    attachment.iptables = Some(iptables.program().to_owned());
    attachment.rules = [rules.as_slice(), &itself].concat();
    store.save(attachment)?;
    iptables.ensure(&rules)?;
    iptables.ensure_first(&itself)
}

/// Closes the ports of an attachment.
pub fn close(attachment: &Attachment) -> Result<(), CniError> {
    let Some(program) = &attachment.iptables else { return Ok(()) };
    Iptables::at(program).remove(&attachment.rules)
}

fn forwards<'a>(
    ports: impl Iterator<Item = &'a PortMapping>,
    pod: Pod,
    addresses: &[IpNet],
) -> Result<Vec<Forward>, CniError> {
    let mut forwards = Vec::new();
    for port in ports {
        let to = SocketAddrV4::new(pod.address, port.container_port);
        let from = node_addresses(port, addresses)?.into_iter();
        let from = from.map(|own| SocketAddrV4::new(own, port.host_port));
        forwards.extend(from.map(|from| Forward { protocol: port.protocol, from, to }));
    }
    Ok(forwards)
}

fn plan<'a>(
    ports: impl Iterator<Item = &'a PortMapping>,
    pod: Pod,
    addresses: &[IpNet],
) -> Result<Vec<Rule>, CniError> {
    let mut rules = Vec::new();
    for port in ports {
        if port.protocol == Protocol::Sctp {
            return Err(CniError::Rules(format!("host port {}: SCTP is not supported", port.host_port)));
        }
        let node = node_addresses(port, addresses)?;
        rules.extend(host_port(port, pod, &node));
    }
    Ok(rules)
}

/// The addresses that a port is open on, which are the node's own: a rule for somebody else's would take from all pods what they
/// send there. Not the loopback: what comes from there may not leave it, and what listens there is meant for the node alone.
fn node_addresses(port: &PortMapping, addresses: &[IpNet]) -> Result<Vec<Ipv4Addr>, CniError> {
    let own = addresses.iter().filter_map(|net| match net.addr() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    });
    // The gateway's address is on many links.
    let mut own: Vec<_> = own.collect();
    own.sort_unstable();
    own.dedup();
    let wanted = port.host_ip.parse::<IpAddr>().ok().filter(|wanted| !wanted.is_unspecified());
    let Some(wanted) = wanted else { return Ok(own) };
    match wanted {
        IpAddr::V4(address) if own.contains(&address) => Ok(vec![address]),
        _ => {
            let why = match wanted {
                IpAddr::V6(_) => "is no IPv4 address",
                _ if wanted.is_loopback() => "is the node's loopback, which is not for pods",
                IpAddr::V4(_) => "is not an address of the node",
            };
            let own: Vec<_> = own.iter().map(Ipv4Addr::to_string).collect();
            Err(CniError::Rules(format!(
                "host port {}: hostIP {wanted} {why}; leave hostIP out, for all of the node's addresses, or give one of them: {}",
                port.host_port,
                own.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: &str, protocol: Protocol) -> PortMapping {
        PortMapping { host_port: 80, container_port: 8080, protocol, host_ip: host_ip.into() }
    }

    #[test]
    fn a_port_is_open_on_every_address_but_the_loopback() {
        let addresses: Vec<IpNet> =
            ["127.0.0.1/8", "198.18.0.2/24", "fe80::1/64", "10.42.0.1/32", "10.42.0.1/32"]
                .map(|text| text.parse().unwrap())
                .into();
        let open = |host_ip: &str| node_addresses(&port(host_ip, Protocol::Tcp), &addresses).unwrap();
        let all: [Ipv4Addr; 2] = ["10.42.0.1".parse().unwrap(), "198.18.0.2".parse().unwrap()];
        assert_eq!(open(""), all);
        assert_eq!(open("0.0.0.0"), all);
        assert_eq!(open("::"), all);
        assert_eq!(open("198.18.0.2"), ["198.18.0.2".parse::<Ipv4Addr>().unwrap()]);
        assert!(node_addresses(&port("2001:db8::1", Protocol::Tcp), &addresses).is_err());
    }

    #[test]
    fn a_port_of_an_address_that_is_not_the_nodes_or_of_its_loopback_is_refused() {
        let addresses: [IpNet; 2] = ["127.0.0.1/8".parse().unwrap(), "198.18.0.2/24".parse().unwrap()];
        let pod = Pod { address: "10.42.0.5".parse().unwrap(), gateway: "10.42.0.1".parse().unwrap() };
        for (host_ip, why) in [
            ("8.8.8.8", "not an address of the node"),
            ("198.18.0.3", "not an address of the node"),
            ("127.0.0.1", "loopback"),
            ("127.0.0.53", "loopback"),
            ("::ffff:127.0.0.1", "no IPv4 address"),
        ] {
            let by_nat = plan([port(host_ip, Protocol::Udp)].iter(), pod, &addresses).unwrap_err();
            let in_user_space = forwards([port(host_ip, Protocol::Udp)].iter(), pod, &addresses).unwrap_err();
            for error in [by_nat.to_string(), in_user_space.to_string()] {
                assert!(error.contains(why) && error.contains("give one of them: 198.18.0.2"), "{error}");
            }
        }
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let pod = Pod { address: "10.42.0.5".parse().unwrap(), gateway: "10.42.0.1".parse().unwrap() };
        let error = plan([port("", Protocol::Sctp)].iter(), pod, &[]).unwrap_err();
        assert!(error.to_string().contains("SCTP"), "{error}");
    }
}
