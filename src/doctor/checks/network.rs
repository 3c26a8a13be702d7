//! Loopback, the API server's port, the outside.

use super::{needed, tried};
use crate::doctor::node::NodeAbilities;
use crate::doctor::report::{Check, Findings, Mode};

/// The whole category.
pub fn all(found: &Findings) -> Vec<Check> {
    let abilities = &found.abilities;
    let mut loopback = needed(Mode::ControlPlane, "loopback", "TCP over 127.0.0.1", &abilities.loopback);
    if abilities.loopback.is_some() {
        loopback = loopback.hint("ip link set lo up");
    }
    let mut checks = vec![
        loopback,
        tried("port-6443", "port 6443, for the API server", &abilities.port_6443, |what| {
            Check::warning("port-6443", what).hint("a cluster may be running already: sandbar status")
        }),
        tried("raw-socket", "raw sockets", &abilities.raw_socket, |what| {
            Check::warning("raw-socket", what)
                .limit("no ping, and no iptables: pods get egress and host ports in user space")
        }),
        tried("inotify", "inotify reports events", &abilities.inotify, |what| {
            Check::warning("inotify", what).limit("changed files are noticed late")
        }),
    ];
    checks.extend(inotify_limits());
    checks.extend(BACKENDS.map(|backend| flannel(backend, &abilities.node)));
    match &found.egress {
        None => checks.push(Check::good("egress", "egress was not tried (--no-network)")),
        Some(targets) => checks.extend(targets.iter().map(|reach| {
            let name = format!("egress-{}", reach.target.split(':').next().unwrap_or_default());
            let what = format!("{} ({})", reach.target, reach.purpose);
            tried(&name, &what, &reach.error, |what| {
                Check::warning(&name, what).hint(match reach.purpose.as_str() {
                    "k3s releases" => "bring a k3s (--k3s PATH), or name a mirror (SANDBAR_K3S_MIRROR)",
                    "images" => "bring images: sandbar up --images DIR",
                    "kubectl" => "k3s carries one: sandbar setup",
                    _ => "allow it in the sandbox's network settings",
                })
            })
        })),
    }
    checks
}

/// What `flannelBackend` can be besides `none`.
const BACKENDS: [&str; 3] = ["host-gw", "vxlan", "wireguard-native"];

fn flannel(backend: &str, node: &NodeAbilities) -> Check {
    let (name, what) = (format!("flannel-{backend}"), format!("flannel with {backend}"));
    tried(&name, &what, &node.lacks_backend(backend), |what| {
        Check::warning(&name, what).remedy("sandbar's own pod network, with `flannelBackend: none`")
    })
}

/// Clusters use up inotify instances quickly; 128 is the kernel's default, and a node takes more.
fn inotify_limits() -> Option<Check> {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let (instances, watches) = (read("max_user_instances")?, read("max_user_watches")?);
    let what = format!("inotify limits: {instances} instances, {watches} watches");
    Some(if instances < 128 || watches < 8192 {
        Check::warning("inotify-limits", what)
            .hint("sysctl -w fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=65536")
    } else {
        Check::good("inotify-limits", what)
    })
}
