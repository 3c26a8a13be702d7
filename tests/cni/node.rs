//! A node to test on: its way outside, namespaces as pods, calls of the plugin, and what must be left of them.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::str::FromStr;
use std::sync::Mutex;

use sandbar::cni::userspace::Server;
use serde_json::{Value, json};

use super::{common::SANDBAR, talk};

/// Where pods live.
pub const SUBNET: &str = "10.42.7.0/24";
/// The node, as pods see it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 1);
/// The server outside listens here on Linux.
const OUTSIDE_PORT: u16 = 8099;

/// The node.
#[derive(Debug)]
pub struct Node {
    /// The stricter sandbox has no nat table.
    pub has_nat: bool,
    /// The server outside.
    pub outside: (IpAddr, u16),
    /// The node's own address.
    pub address: Ipv4Addr,
    dir: tempfile::TempDir,
    /// The directory of host-local.
    pub plugins: PathBuf,
    before: Vec<String>,
    server: Mutex<Option<Server>>,
}

/// Runs a shell script that must succeed; what it printed.
pub fn sh(script: &str) -> String {
    let ran = Command::new("sh").args(["-euc", script]).output().unwrap();
    assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

impl Node {
    /// Makes this place a node.
    pub fn prepare(place: &str, plugins: &Path, outside: Option<u16>) -> Self {
        let found = sh("command -v iptables-legacy || true");
        assert!(!found.is_empty(), "iptables-legacy is not installed: apt-get install iptables");
        sh("ip link set lo up");
        if place == "linux" {
            sh("mount -t tmpfs run /run
                ip netns add outside
                ip link add eth0 type veth peer name eth0 netns outside
                ip address add 192.0.2.2/24 dev eth0; ip link set eth0 up; ip route add default via 192.0.2.1
                ip -n outside link set lo up; ip -n outside link set eth0 up
                ip -n outside address add 192.0.2.1/24 dev eth0");
            talk::serve(Some("outside"), ([192, 0, 2, 1], OUTSIDE_PORT).into());
        }
        let gateway = sh("ip route show default | awk '{print $3}'");
        let address = sh("ip -4 -o address show dev eth0 | awk '{print $4}'");
        let mut node = Self {
            has_nat: place != "strict",
            outside: (IpAddr::from_str(gateway.trim()).unwrap(), outside.unwrap_or(OUTSIDE_PORT)),
            address: address.trim().split('/').next().unwrap().parse().unwrap(),
            dir: tempfile::tempdir_in("/run").unwrap(),
            plugins: plugins.to_owned(),
            before: Vec::new(),
            server: Mutex::default(),
        };
        node.serve(true);
        // What belongs to all pods comes with the first one and stays.
        node.pod("first");
        node.add("first", &json!({})).unwrap();
        node.clean();
        node.before = node.traces();
        node
    }

    /// Starts the server in user space anew, or ends it.
    pub fn serve(&self, on: bool) {
        let state = self.dir.path().join("state");
        let mut server = self.server.lock().unwrap();
        drop(server.take());
        *server = on.then(|| Server::start(&state).unwrap());
    }

    /// Makes a namespace.
    pub fn pod(&self, name: &str) {
        sh(&format!("ip netns add {name}; ip -n {name} link set lo up"));
    }

    /// A configuration: the usual one with `more` in it.
    pub fn config(&self, more: &Value) -> Value {
        let mut config = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "sandbar-cni", "stateDir": self.dir.path().join("state"),
            "ipam": {"type": "host-local", "ranges": [[{"subnet": SUBNET}]], "dataDir": self.dir.path().join("leases")},
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    /// Starts a call for the pod of that name.
    pub fn start(&self, verb: &str, pod: &str, more: &Value) -> Child {
        let mut command = Command::new(SANDBAR);
        command
            .arg0("sandbar-cni")
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", pod)
            .env("CNI_IFNAME", "eth0");
        command.env("CNI_NETNS", format!("/run/netns/{pod}")).env("CNI_PATH", &self.plugins);
        if let Some(path) = more.get("path") {
            command.env("CNI_PATH", path.as_str().unwrap());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let config = self.config(more).to_string();
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        child
    }

    /// Makes a call; its answer, or its error document.
    pub fn call(&self, verb: &str, pod: &str, more: &Value) -> Result<Value, Value> {
        answer(&self.start(verb, pod, more).wait_with_output().unwrap())
    }

    /// ADD; the pod's address.
    pub fn add(&self, pod: &str, more: &Value) -> Result<Ipv4Addr, Value> {
        self.call("ADD", pod, more).map(|result| address(&result))
    }

    /// DEL, which must succeed.
    pub fn del(&self, pod: &str) {
        self.call("DEL", pod, &json!({})).unwrap();
    }

    /// What there is on the node: links, routes, rules, leases, files.
    pub fn traces(&self) -> Vec<String> {
        let mut found = Vec::new();
        let links = sh("ip -o link | cut -d: -f2 | cut -d@ -f1; ip route; ip -6 route");
        found.extend(links.lines().map(|line| line.trim().to_owned()).filter(|line| !line.contains("fe80")));
        if self.has_nat {
            found.extend(sh("iptables-legacy -t nat -S").lines().map(str::to_owned));
        }
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    dirs.push(entry);
                } else {
                    found.push(entry.display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    /// Compares with what there was before any pod.
    pub fn assert_nothing_is_left(&self) {
        assert_eq!(self.traces(), self.before, "left and right: now, and as it was before");
    }

    /// Removes the pods, whatever a case has left.
    pub fn clean(&self) {
        let pods = sh("ip netns list | cut -d' ' -f1");
        for pod in pods.lines().filter(|name| *name != "outside") {
            let _ = self.call("DEL", pod, &json!({}));
            sh(&format!("ip netns del {pod}"));
        }
    }
}

/// The address in a result.
pub fn address(result: &Value) -> Ipv4Addr {
    result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()
}

/// What a call said.
pub fn answer(ran: &Output) -> Result<Value, Value> {
    let said = String::from_utf8_lossy(&ran.stdout);
    let document = serde_json::from_str(&said).unwrap_or(Value::Null);
    if ran.status.success() {
        return Ok(document);
    }
    assert!(document["code"].is_u64(), "{ran:?}");
    Err(document)
}
