//! What this place is and has: kind, cgroups, memory, devices.

use crate::doctor::abilities::Abilities;
use crate::doctor::environment::{Cgroups, Environment};
use crate::doctor::parse::cgroup::Version;
use crate::doctor::report::{Check, Mode};
use crate::doctor::resources::Resources;

const GIB: u64 = 1 << 30;
/// A control plane alone takes about half of this.
const MEMORY_FOR_CONTROL_PLANE: u64 = GIB;
const MEMORY_FOR_NODE: u64 = 2 * GIB;
const DISK: u64 = 2 * GIB;

/// What this place is.
pub fn sandbox(environment: &Environment) -> Vec<Check> {
    let identity = &environment.identity;
    let mut checks = vec![Check::good("kind", environment.describe())];
    if !identity.signs.is_empty() {
        checks.push(Check::good("signs", format!("told by: {}", identity.signs.join("; "))));
    }
    if let (Some(engine), true) = (identity.container, identity.gvisor.is_some()) {
        checks.push(Check::good("container", format!("inside a {engine} container")));
    }
    if let Some(hypervisor) = &identity.hypervisor {
        checks.push(Check::good("hypervisor", format!("hypervisor: {hypervisor}")));
    }
    checks.push(match environment.hosts.as_slice() {
        [] => Check::good("host", "no variable of a hosted environment is set"),
        hosts => {
            let names: Vec<_> = environment.variables.keys().map(String::as_str).collect();
            Check::good("host", format!("hosted by {} ({})", hosts.join(", "), names.join(" ")))
        }
    });
    checks
}

/// Control groups.
pub fn cgroups(cgroups: &Cgroups) -> Vec<Check> {
    let list = cgroups.controllers.join(" ");
    let mut checks = match cgroups.version {
        Version::None => {
            let hint = "mount cgroups where the sandbox is started, or: mount -t cgroup2 none /sys/fs/cgroup";
            return vec![Check::blocking(Mode::Node, "cgroup-version", "no cgroups are mounted").hint(hint)];
        }
        Version::V1 => vec![
            Check::good("cgroup-version", format!("cgroup v1: {list}"))
                .remedy("kubelet flag fail-cgroupv1=false, which Kubernetes 1.35 and later need"),
        ],
        Version::V2 => vec![Check::good("cgroup-version", format!("cgroup v2: {list}"))],
    };
    for controller in ["memory", "cpu", "cpuset", "pids"] {
        if !cgroups.has(controller) {
            let name = format!("cgroup-{controller}");
            let what = format!("the {controller} controller is missing");
            // k3s only warns about cpuset on v1.
            let tolerated = controller == "cpuset" && cgroups.version == Version::V1;
            checks.push(if tolerated {
                Check::warning(name, what)
            } else {
                Check::blocking(Mode::Node, name, what)
            });
        }
    }
    checks
}

/// Memory, CPUs, processes, disk, swap.
pub fn resources(resources: &Resources) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(memory) = resources.memory() {
        let limited = if resources.memory_limit.is_some() { " (limit of the sandbox)" } else { "" };
        let what = format!("memory: {}{limited}", gib(memory));
        checks.push(if memory < MEMORY_FOR_CONTROL_PLANE {
            Check::warning(
                "memory",
                format!("{what}; a control plane wants {}", gib(MEMORY_FOR_CONTROL_PLANE)),
            )
        } else if memory < MEMORY_FOR_NODE {
            Check::warning("memory", format!("{what}; a node wants {}", gib(MEMORY_FOR_NODE)))
        } else {
            Check::good("memory", what)
        });
    }
    let limit =
        resources.cpu_limit.map_or_else(String::new, |limit| format!(", limited to the time of {limit:.1}"));
    let count = resources.cpus.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    let what = format!("CPUs: {count}{limit}");
    checks.push(match resources.cpu_limit {
        Some(limit) if limit < 1.0 => Check::warning("cpu", format!("{what}; expect a slow start")),
        _ => Check::good("cpu", what),
    });
    match resources.pids_limit {
        Some(limit) if limit < 1000 => {
            checks.push(Check::warning("pids", format!("processes: at most {limit}")))
        }
        Some(limit) => checks.push(Check::good("pids", format!("processes: at most {limit}"))),
        None => {}
    }
    checks.push(match resources.swap_total {
        Some(swap) if swap > 0 => {
            Check::warning("swap", format!("swap: {}; the kubelet refuses it by default", gib(swap)))
                .remedy("kubelet flag --fail-swap-on=false, which k3s sets")
        }
        _ => Check::good("swap", "no swap"),
    });
    checks.push(match resources.disk_free {
        Some(free) if free < DISK => {
            Check::warning("disk", format!("disk: {} free for k3s's data, wants {}", gib(free), gib(DISK)))
                .hint("free space below /var/lib/rancher")
        }
        Some(free) => Check::good("disk", format!("disk: {} free for k3s's data", gib(free))),
        None => Check::good("disk", "disk: the filesystem does not tell its size"),
    });
    checks
}

/// Device files; /dev/kmsg is judged with the files that Kubernetes needs.
pub fn devices(abilities: &Abilities) -> Vec<Check> {
    let good: Vec<_> =
        abilities.devices.iter().filter(|device| device.error.is_none()).map(|device| device.path).collect();
    let mut checks = vec![Check::good("devices", format!("usable: {}", good.join(" ")))];
    checks.extend(abilities.devices.iter().filter_map(|device| {
        let reason = device.error.as_ref()?;
        let used = match device.path {
            "/dev/null" => {
                return Some(Check::blocking(Mode::ControlPlane, "dev-null", format!("/dev/null: {reason}")));
            }
            "/dev/kmsg" => return None,
            "/dev/fuse" => "fuse-overlayfs",
            "/dev/net/tun" => "tunnels and VPNs",
            "/dev/kvm" => "virtual machines",
            _ => "block-device images",
        };
        let name = device.path.trim_start_matches('/').replace('/', "-");
        Some(Check::good(name, format!("{}: {reason}; only {used} would need it", device.path)))
    }));
    checks
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / GIB as f64)
}
