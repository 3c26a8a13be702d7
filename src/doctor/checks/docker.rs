//! Whether Docker is usable, what a daemon would meet here, and what it would change. sandbar needs none of it.

use crate::doctor::abilities::Abilities;
use crate::doctor::docker::{Daemon, Docker};
use crate::doctor::report::Check;

/// The whole category. What lacks is no fault: nothing here is needed.
pub fn all(docker: &Docker, abilities: &Abilities) -> Vec<Check> {
    let there = match (&docker.client, &docker.daemon) {
        (None, _) => "not usable: there is no client".to_owned(),
        (Some(client), None) => {
            let why = docker.error.as_deref().unwrap_or("it does not say why");
            format!("not usable: {} finds no daemon: {why}", client.display())
        }
        (Some(_), Some(Daemon { version, driver, cgroup })) => {
            format!("usable: daemon {version}, storage driver {driver}, cgroups {cgroup}")
        }
    };
    let mut checks = vec![Check::good("docker", there)];
    if docker.daemon.is_none() {
        checks.push(Check::good("docker-daemon", a_daemon_here(abilities)));
    }
    let changes = match docker.daemon {
        Some(_) => {
            "it would change nothing but where images come from: docker save, then sandbar up --images"
        }
        None => {
            "it would change nothing: k3s brings its own containerd, and images come with sandbar up --images"
        }
    };
    checks.push(Check::good("docker-changes", changes));
    checks
}

/// What a daemon would lack, as far as it was tried.
fn a_daemon_here(abilities: &Abilities) -> String {
    let needs = [
        ("mounts", &abilities.mount_tmpfs),
        ("network namespaces", &abilities.net_namespace),
        ("pid namespaces", &abilities.pid_namespace),
        ("session keyrings", &abilities.session_keyring),
        ("raw sockets, for iptables", &abilities.raw_socket),
        ("inode 1 of /proc, for runc", &abilities.proc_root_inode),
    ];
    let lacks: Vec<_> =
        needs.iter().filter_map(|(what, tried)| Some(format!("{what} ({})", tried.as_ref()?))).collect();
    let driver = match &abilities.node.overlay {
        None => "overlay2".to_owned(),
        Some(why) => format!("vfs, for no overlay can be mounted ({why})"),
    };
    match lacks.as_slice() {
        [] => format!("nothing that was tried stands in a daemon's way; storage driver {driver}"),
        lacks => format!("a daemon would lack {}; storage driver {driver}", lacks.join(", ")),
    }
}
