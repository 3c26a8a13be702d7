//! What the plugin must do, case by case, in any of the places.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};

use super::node::{GATEWAY, Node, address, answer, sh};
use super::talk::{ask_by_datagram, ask_from, datagrams, serve, within};

type Case = fn(&Node);

/// All of them.
pub const CASES: [(&str, Case); 24] = [
    ("pods talk with each other and with their node", pods_talk),
    ("a pod does not speak with another's address", own_address_only),
    ("a pod reaches outside with its node's address", egress),
    ("a host port answers everybody", host_port),
    ("a pod reaches outside by user space", egress_in_user_space),
    ("a host port in user space answers everybody", host_port_in_user_space),
    ("a host port of somebody else's address, or of the loopback, is refused", host_port_of_others),
    ("the server in user space ends and begins again", server_restarts),
    ("eight at once", eight_at_once),
    ("killed half-way, then DEL and ADD", killed_then_deleted),
    ("killed half-way, then ADD", killed_then_added),
    ("the host-local of a killed ADD is waited for", slow_lease),
    ("ADD again is the same, and repairs", add_again),
    ("a failed ADD leaves nothing", failed_add),
    ("a link of somebody else is left alone", foreign_link),
    ("the node's own namespace is refused", own_namespace),
    ("DEL of what is unknown or gone", del_of_nothing),
    ("DEL and GC go as far as they can without the nat table or the address plugin", removed_without),
    ("CHECK sees what is missing", check),
    ("GC removes what is not listed", gc),
    ("GC of all takes the way out down, too", gc_of_all),
    ("STATUS", status),
    ("VERSION", version),
    ("results and errors in the version asked for", versions),
];

fn ports(ports: &Value) -> Value {
    json!({ "runtimeConfig": { "portMappings": ports } })
}

fn pods_talk(node: &Node) {
    for name in ["a", "b"] {
        node.pod(name);
    }
    let (a, b) = (node.add("a", &json!({})).unwrap(), node.add("b", &json!({})).unwrap());
    serve(Some("a"), (a, 80).into());
    serve(None, (GATEWAY, 81).into());
    assert_eq!(ask_from(Some("b"), a, 80, "who").unwrap(), b.to_string());
    assert_eq!(ask_from(None, a, 80, "who").unwrap(), GATEWAY.to_string());
    assert_eq!(ask_from(Some("a"), GATEWAY, 81, "who").unwrap(), a.to_string());
    assert_eq!(datagrams("b", "a", a, 20), 20, "each datagram arrives once");
    assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    node.del("a");
    node.del("b");
    assert!(sh("ip -n a -o link").lines().count() == 1, "only lo is left in the pod");
}

fn own_address_only(node: &Node) {
    let all = std::path::Path::new("/proc/sys/net/ipv4/conf/all/rp_filter");
    if !all.exists() {
        // gVisor checks no senders; that pods work all the same is what the other cases see.
        return;
    }
    // The higher one of both is in force, and 2 would be the weaker check.
    fs::write(all, "0").unwrap();
    for name in ["a", "b"] {
        node.pod(name);
    }
    let (a, b) = (node.add("a", &json!({})).unwrap(), node.add("b", &json!({})).unwrap());
    sh(&format!("ip -n a address add {b}/32 dev eth0"));
    let receiver = UdpSocket::bind((GATEWAY, 0)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let to = receiver.local_addr().unwrap();
    // Its own first: asking for the gateway's link address with the other's name would go unanswered already.
    for from in [a, b, a] {
        within(Some("a"), || UdpSocket::bind((from, 0)).unwrap().send_to(b"x", to).unwrap());
    }
    let heard: Vec<_> =
        std::iter::from_fn(|| receiver.recv_from(&mut [0; 8]).ok()).map(|(_, from)| from.ip()).collect();
    assert_eq!(heard, [a, a], "the pod's own address, and not the other's");
    node.del("a");
    node.del("b");
}

fn egress(node: &Node) {
    node.pod("a");
    let added = node.add("a", &json!({ "egress": if node.has_nat { "snat" } else { "auto" } }));
    added.unwrap();
    let seen = ask_from(Some("a"), node.outside.0, node.outside.1, "who").unwrap();
    assert_eq!(seen, node.address.to_string());
    let seen = ask_by_datagram(Some("a"), node.outside.0, node.outside.1).unwrap();
    assert_eq!(seen, node.address.to_string());
    node.del("a");
    if !node.has_nat {
        let refused = node.add("a", &json!({ "egress": "snat" })).unwrap_err();
        assert!(refused["msg"].as_str().unwrap().contains("no nat table"), "{refused}");
        assert_eq!(refused["code"], 102);
    }
}

fn in_user_space() -> Value {
    json!({ "egress": "userspace" })
}

fn egress_in_user_space(node: &Node) {
    node.pod("a");
    node.pod("b");
    let a = node.add("a", &in_user_space()).unwrap();
    let b = node.add("b", &in_user_space()).unwrap();
    let (outside, port) = node.outside;
    let who = || ask_from(Some("a"), outside, port, "who");
    assert_eq!(who().unwrap(), node.address.to_string());
    assert_eq!(ask_by_datagram(Some("a"), outside, port).unwrap(), node.address.to_string());
    // Much, many at once, and none: a port where nobody listens.
    let much = ask_from(Some("a"), outside, port, "bytes 8000000").unwrap();
    assert!(much.len() == 8_000_000 && much.bytes().all(|byte| byte == b'x'), "{} bytes", much.len());
    thread::scope(|scope| {
        let all: Vec<_> = (0..24).map(|_| scope.spawn(who)).collect();
        all.into_iter().for_each(|one| assert_eq!(one.join().unwrap().unwrap(), node.address.to_string()));
    });
    let refused = ask_from(Some("a"), outside, 9, "who").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // Pods are reached as ever, by the pod's own address; the node by the server.
    serve(Some("b"), (b, 80).into());
    serve(None, (node.address, 81).into());
    assert_eq!(ask_from(Some("a"), b, 80, "who").unwrap(), a.to_string());
    ask_from(Some("a"), node.address, 81, "who").unwrap();
    node.del("b");
    node.del("a");
    assert_eq!(sh("ip -n a -o link").lines().count(), 1, "only lo is left in the pod");
    usual(node);
}

/// Brings back the rules of the usual way out, which go when a pod wants another.
fn usual(node: &Node) {
    node.pod("usual");
    node.add("usual", &json!({})).unwrap();
    node.del("usual");
}

fn server_restarts(node: &Node) {
    node.pod("a");
    let mut more = ports(&json!([{"hostPort": 8085, "containerPort": 80}]));
    more["egress"] = json!("userspace");
    let previous = json!({ "prevResult": node.call("ADD", "a", &more).unwrap(), "egress": "userspace" });
    let own = address(&previous["prevResult"]);
    serve(Some("a"), (own, 80).into());
    let outside = || ask_from(Some("a"), node.outside.0, node.outside.1, "who");
    node.serve(false);
    outside().unwrap_err();
    ask_from(None, node.address, 8085, "who").unwrap_err();
    ask_from(None, own, 80, "who").unwrap();
    let different = node.call("CHECK", "a", &previous).unwrap_err();
    assert!(different["msg"].as_str().unwrap().contains("nobody serves"), "{different}");
    node.serve(true);
    node.call("CHECK", "a", &previous).unwrap();
    assert_eq!(outside().unwrap(), node.address.to_string());
    ask_from(None, node.address, 8085, "who").unwrap();
    // Without a server a pod that needs it does not start, and one that it has served can go.
    node.serve(false);
    node.del("a");
    let refused = node.add("a", &in_user_space()).unwrap_err();
    assert!(refused["msg"].as_str().unwrap().contains("nobody serves"), "{refused}");
    node.serve(true);
    ask_from(None, node.address, 8085, "who").unwrap_err();
    usual(node);
}

fn host_port(node: &Node) {
    let seen = |address: std::net::IpAddr| if node.has_nat { address } else { GATEWAY.into() };
    host_port_with(node, &json!({}), seen);
}

fn host_port_in_user_space(node: &Node) {
    host_port_with(node, &in_user_space(), |_| GATEWAY.into());
    // A port that somebody else has is refused, and left to them.
    let taken = serve(None, (node.address, 0).into());
    let mut more = ports(&json!([{"hostPort": taken.port(), "containerPort": 80}]));
    more["egress"] = json!("userspace");
    let refused = node.add("a", &more).unwrap_err();
    assert!(refused["msg"].as_str().unwrap().contains("host port"), "{refused}");
    ask_from(None, node.address, taken.port(), "who").unwrap();
    // Freed with its pod, again and again.
    more = ports(
        &json!([{"hostPort": 8086, "containerPort": 80}, {"hostPort": 8086, "containerPort": 80, "protocol": "udp"}]),
    );
    more["egress"] = json!("userspace");
    for _ in 0..4 {
        node.add("a", &more).unwrap();
        node.call("ADD", "a", &more).unwrap();
        node.del("a");
    }
    std::net::TcpListener::bind((node.address, 8086)).unwrap();
    usual(node);
}

fn host_port_of_others(node: &Node) {
    node.pod("a");
    for way in [json!({}), in_user_space()] {
        for (host_ip, why) in [("8.8.8.8", "not an address of the node"), ("127.0.0.1", "loopback")] {
            let mapping =
                json!([{"hostPort": 8053, "containerPort": 53, "protocol": "udp", "hostIP": host_ip}]);
            let mut more = ports(&mapping);
            way.as_object().unwrap().iter().for_each(|(key, value)| more[key] = value.clone());
            let refused = node.add("a", &more).unwrap_err();
            assert_eq!(refused["code"], 102, "{refused}");
            let said = refused["msg"].as_str().unwrap();
            assert!(said.contains(why) && said.contains("leave hostIP out"), "{said}");
            assert_eq!(sh("ip -n a -o link").lines().count(), 1, "only lo is left in the pod");
        }
    }
    usual(node);
    node.assert_nothing_is_left();
    // The node's own is one to ask for.
    let own = json!([{"hostPort": 8080, "containerPort": 80, "hostIP": node.address.to_string()}]);
    let address = node.add("a", &ports(&own)).unwrap();
    serve(Some("a"), (address, 80).into());
    ask_from(None, node.address, 8080, "who").unwrap();
    node.del("a");
}

fn host_port_with(node: &Node, config: &Value, seen: impl Fn(std::net::IpAddr) -> std::net::IpAddr) {
    node.pod("a");
    let mut mapping = ports(&json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}, {"hostPort": 8081, "containerPort": 80},
        {"hostPort": 8080, "containerPort": 80, "protocol": "udp"}
    ]));
    for (key, value) in config.as_object().unwrap() {
        mapping[key] = value.clone();
    }
    node.pod("b");
    // With the same way out: gVisor answers a pod from the node's own address by the route of that address, which leads outside.
    let (a, b) = (node.add("a", &mapping).unwrap(), node.add("b", config).unwrap());
    serve(Some("a"), ([0, 0, 0, 0], 80).into());
    for port in [8080, 8081] {
        let from_outside = ask_from(None, node.outside.0, node.outside.1, &format!("back {port}")).unwrap();
        assert_eq!(from_outside, seen(node.outside.0).to_string(), "from outside");
        let from_pod = ask_from(Some("b"), node.address, port, "who").unwrap();
        assert_eq!(from_pod, seen(b.into()).to_string(), "from a pod");
        assert_eq!(
            ask_from(Some("a"), node.address, port, "who").unwrap(),
            GATEWAY.to_string(),
            "from itself"
        );
        ask_from(None, node.address, port, "who").unwrap();
        ask_from(Some("b"), GATEWAY, port, "who").unwrap();
    }
    assert_eq!(ask_by_datagram(Some("b"), node.address, 8080).unwrap(), seen(b.into()).to_string());
    ask_by_datagram(None, node.address, 8080).unwrap();
    // Somebody else's port of that number stays theirs.
    serve(Some("b"), (b, 8080).into());
    assert_eq!(ask_from(Some("a"), b, 8080, "who").unwrap(), a.to_string());
    node.del("a");
    ask_from(Some("b"), node.address, 8080, "who").unwrap_err();
    node.del("b");
}

fn eight_at_once(node: &Node) {
    let names: Vec<String> = (0..8).map(|n| format!("p{n}")).collect();
    names.iter().for_each(|name| node.pod(name));
    let calls: Vec<_> = names.iter().map(|name| node.start("ADD", name, &json!({}))).collect();
    let results: Vec<_> =
        calls.into_iter().map(|call| answer(&call.wait_with_output().unwrap()).unwrap()).collect();
    let mut addresses: Vec<_> = results.iter().map(address).collect();
    for (name, own) in names.iter().zip(&addresses) {
        serve(Some(name), (*own, 80).into());
    }
    for (name, own) in names.iter().zip(&addresses) {
        for other in addresses.iter().filter(|other| *other != own) {
            assert_eq!(ask_from(Some(name), *other, 80, "who").unwrap(), own.to_string());
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 8);
    let calls: Vec<_> = names.iter().map(|name| node.start("DEL", name, &json!({}))).collect();
    for call in calls {
        answer(&call.wait_with_output().unwrap()).unwrap();
    }
}

/// Kills an ADD after some time.
fn killed(node: &Node, millis: u64) {
    let mapping = ports(&json!([{"hostPort": 8080, "containerPort": 80}]));
    let mut call = node.start("ADD", "a", &mapping);
    thread::sleep(Duration::from_millis(millis));
    call.kill().unwrap();
    call.wait().unwrap();
}

/// Moments of a call's life: from before it has read its configuration until after it has answered.
const MOMENTS: [u64; 14] = [0, 2, 5, 8, 12, 16, 20, 30, 45, 60, 90, 120, 160, 220];

fn killed_then_deleted(node: &Node) {
    node.pod("a");
    for millis in MOMENTS {
        killed(node, millis);
        node.del("a");
        node.assert_nothing_is_left();
    }
    works(node);
}

fn killed_then_added(node: &Node) {
    node.pod("a");
    for millis in MOMENTS {
        killed(node, millis);
        works(node);
        node.assert_nothing_is_left();
    }
}

fn slow_lease(node: &Node) {
    node.pod("a");
    let slow = tempfile::tempdir().unwrap();
    let wrapper = slow.path().join("host-local");
    let real = node.plugins.join("host-local");
    fs::write(&wrapper, format!("#!/bin/sh\nsleep 1.5\nexec {}\n", real.display())).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut call = node.start("ADD", "a", &json!({ "path": slow.path() }));
    thread::sleep(Duration::from_millis(700));
    call.kill().unwrap();
    call.wait().unwrap();
    node.del("a");
    // A lease that it made after that would be there by now.
    thread::sleep(Duration::from_millis(1500));
    node.assert_nothing_is_left();
}

fn works(node: &Node) {
    let own = node.add("a", &json!({})).unwrap();
    let port = serve(Some("a"), (own, 0).into()).port();
    assert_eq!(ask_from(None, own, port, "who").unwrap(), GATEWAY.to_string());
    node.del("a");
}

fn add_again(node: &Node) {
    node.pod("a");
    let first = node.call("ADD", "a", &json!({})).unwrap();
    assert_eq!(node.call("ADD", "a", &json!({})).unwrap(), first);
    sh("ip -n a link del eth0");
    let own = node.add("a", &json!({})).unwrap();
    serve(Some("a"), (own, 80).into());
    ask_from(None, own, 80, "who").unwrap();
    node.del("a");
    node.del("a");
}

fn failed_add(node: &Node) {
    node.pod("a");
    let sctp = ports(&json!([{"hostPort": 8080, "containerPort": 80, "protocol": "sctp"}]));
    assert_eq!(node.add("a", &sctp).unwrap_err()["code"], 102);
    node.assert_nothing_is_left();
    // One address, and that is the network's own.
    let full = json!({"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.42.9.0/32"}]]}});
    assert!(node.add("a", &full).is_err());
    assert_eq!(sh("ip -n a -o link").lines().count(), 1);
}

fn foreign_link(node: &Node) {
    node.pod("a");
    node.pod("b");
    // Made as ours are: gVisor makes no other links.
    node.add("a", &json!({"name": "others"})).unwrap();
    let refused = node.add("a", &json!({})).unwrap_err();
    assert!(refused["msg"].as_str().unwrap().contains("eth0 already"), "{refused}");
    node.del("a");
    assert!(sh("ip -n a -o link").contains("eth0"), "it is the other network's");
    node.call("DEL", "a", &json!({"name": "others"})).unwrap();
    forget_network(node, "others");
}

/// Removes what belongs to all pods of a network that only one case knows.
fn forget_network(node: &Node, name: &str) {
    let config = node.config(&json!({}));
    let state = config["stateDir"].as_str().unwrap();
    fs::remove_file(format!("{state}/egress-{name}.json")).unwrap();
    let leases = config["ipam"]["dataDir"].as_str().unwrap();
    fs::remove_dir_all(format!("{leases}/{name}")).unwrap();
}

fn own_namespace(node: &Node) {
    sh("ln -s /proc/self/ns/net /run/netns/own");
    let refused = node.add("own", &json!({})).unwrap_err();
    fs::remove_file("/run/netns/own").unwrap();
    assert!(refused["msg"].as_str().unwrap().contains("own network namespace"), "{refused}");
}

fn del_of_nothing(node: &Node) {
    node.del("never-seen");
    node.pod("a");
    node.del("a");
    node.add("a", &json!({})).unwrap();
    sh("ip netns del a");
    node.del("a");
    node.assert_nothing_is_left();
    // The path may be there without being a namespace any more.
    node.pod("a");
    node.add("a", &json!({})).unwrap();
    sh("ip netns del a; touch /run/netns/a");
    node.del("a");
    fs::remove_file("/run/netns/a").unwrap();
}

fn check(node: &Node) {
    node.pod("a");
    let more = ports(&json!([{"hostPort": 8080, "containerPort": 80}]));
    let result = node.call("ADD", "a", &more);
    let previous = json!({ "prevResult": result.unwrap() });
    node.call("CHECK", "a", &previous).unwrap();
    assert_eq!(node.call("CHECK", "a", &json!({})).unwrap_err()["code"], 7, "without prevResult");
    if node.has_nat {
        let number = sh("iptables-legacy -t nat -S OUTPUT | grep -c ^-A").trim().to_owned();
        sh(&format!("iptables-legacy -t nat -D OUTPUT {number}"));
        let different = node.call("CHECK", "a", &previous).unwrap_err();
        assert!(different["msg"].as_str().unwrap().contains("rule is gone: OUTPUT"), "{different}");
    }
    sh(&format!("ip -n a route del default via {GATEWAY} dev eth0"));
    let different = node.call("CHECK", "a", &previous).unwrap_err();
    assert!(different["msg"].as_str().unwrap().contains("route to 0.0.0.0/0"), "{different}");
    sh("ip -n a link del eth0");
    assert_eq!(node.call("CHECK", "a", &previous).unwrap_err()["code"], 103);
    node.del("a");
    assert!(node.call("CHECK", "a", &previous).is_err());
}

fn gc(node: &Node) {
    for name in ["a", "b", "c"] {
        node.pod(name);
        node.add(name, &json!({})).unwrap();
    }
    // One of which nothing is remembered: its link and its lease are found all the same.
    let state = node.config(&json!({}))["stateDir"].as_str().unwrap().to_owned();
    for entry in fs::read_dir(format!("{state}/attachments")).unwrap().map(|entry| entry.unwrap().path()) {
        if fs::read_to_string(&entry).unwrap().contains(r#""container":"c""#) {
            fs::remove_file(entry).unwrap();
        }
    }
    assert_eq!(node.call("GC", "", &json!({})).unwrap_err()["code"], 7, "without a list nothing is removed");
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]});
    node.call("GC", "", &valid).unwrap();
    let own = sh("ip -n a -4 -o address show dev eth0 | awk '{print $4}'");
    let own: std::net::Ipv4Addr = own.trim().trim_end_matches("/32").parse().unwrap();
    serve(Some("a"), (own, 80).into());
    ask_from(None, own, 80, "who").unwrap();
    for gone in ["b", "c"] {
        assert_eq!(sh(&format!("ip -n {gone} -o link")).lines().count(), 1, "{gone}");
    }
    node.call("GC", "", &json!({"cni.dev/valid-attachments": []})).unwrap();
    usual(node);
}

fn gc_of_all(node: &Node) {
    node.pod("a");
    let mapping = ports(&json!([{"hostPort": 8080, "containerPort": 80}]));
    node.add("a", &mapping).unwrap();
    node.call("GC", "", &json!({"cni.dev/valid-attachments": []})).unwrap();
    let left = node.traces();
    let ours = |line: &&String| {
        line.contains("10.42.7")
            || line.contains("sbr")
            || line.contains("egress-")
            || line.contains("attachments/")
    };
    assert_eq!(left.iter().find(ours), None, "{left:#?}");
    usual(node);
}

fn removed_without(node: &Node) {
    node.pod("a");
    node.add("a", &ports(&json!([{"hostPort": 8080, "containerPort": 80}]))).unwrap();
    let lost = json!({"path": "/nowhere"});
    for verb in ["DEL", "GC"] {
        let all = json!({"path": "/nowhere", "cni.dev/valid-attachments": []});
        let refused = node.call(verb, "a", if verb == "GC" { &all } else { &lost }).unwrap_err();
        assert_eq!(refused["code"], 50, "{refused}");
        assert_eq!(sh("ip -n a -o link").lines().count(), 1, "{verb}: only lo is left in the pod");
        assert!(!node.traces().iter().any(|line| line.contains("--dport 8080")), "{verb}");
    }
    // What was not done is done when it can be.
    node.del("a");
    node.assert_nothing_is_left();
    if node.has_nat {
        node.add("a", &ports(&json!([{"hostPort": 8080, "containerPort": 80}]))).unwrap();
        // As if the program had gone since; its rules are removed by hand.
        let state = node.config(&json!({}))["stateDir"].as_str().unwrap().to_owned();
        sh(&format!(
            "sed -i 's,\"iptables\":\"[^\"]*\",\"iptables\":\"/nowhere/iptables\",' {state}/attachments/*.json"
        ));
        node.del("a");
        sh("iptables-legacy -t nat -F");
        fs::remove_file(format!("{state}/egress-pods.json")).unwrap();
        usual(node);
    }
}

fn status(node: &Node) {
    node.call("STATUS", "", &json!({})).unwrap();
    let lost = node.call("STATUS", "", &json!({"path": "/nowhere"})).unwrap_err();
    assert_eq!(lost["code"], 50, "{lost}");
    let by_snat = node.call("STATUS", "", &json!({"egress": "snat"}));
    assert_eq!(by_snat.map_err(|refused| refused["code"].clone()).err(), (!node.has_nat).then(|| json!(51)));
    node.call("STATUS", "", &json!({"egress": "userspace"})).unwrap();
    node.serve(false);
    let unserved = node.call("STATUS", "", &json!({"egress": "userspace"})).unwrap_err();
    assert_eq!(unserved["code"], 51, "{unserved}");
    node.serve(true);
}

fn version(node: &Node) {
    let known = node.call("VERSION", "", &json!({"cniVersion": "1.0.0"})).unwrap();
    assert_eq!(known["cniVersion"], "1.0.0");
    assert!(known["supportedVersions"].as_array().unwrap().contains(&json!("1.1.0")));
}

fn versions(node: &Node) {
    node.pod("a");
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let result = node.call("ADD", "a", &json!({ "cniVersion": version })).unwrap();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["ips"][0]["version"].as_str(), (version < "1").then_some("4"));
        assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/a");
        node.call("DEL", "a", &json!({ "cniVersion": version })).unwrap();
    }
    assert_eq!(node.call("ADD", "a", &json!({"cniVersion": "9.0.0"})).unwrap_err()["code"], 1);
    assert_eq!(node.call("STATUS", "a", &json!({"cniVersion": "1.0.0"})).unwrap_err()["code"], 1);
    assert_eq!(node.call("ADD", "../a", &json!({})).unwrap_err()["code"], 4);
}
