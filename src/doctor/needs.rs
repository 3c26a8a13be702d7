//! Every file of /proc, /sys and /dev that Kubernetes needs: who needs it, what for, and what sandbar does where it lacks.
//!
//! Data, not code. The sources are k3s, the kubelet, cAdvisor, kube-proxy, runc, containerd and the CNI plugins of the
//! Kubernetes 1.34 line. A control plane without an agent needs none of them.

use serde::Serialize;

/// What is done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Read; where an expected value is given and another one found, written.
    Read,
    /// Written without being read.
    Write,
    /// Looked at: is it there?
    Exists,
    /// Followed as a link.
    Link,
}

/// What breaks without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaks {
    /// The node: a component exits.
    Node,
    /// Pods, or their network.
    Pods,
    /// Nothing but a feature or a figure.
    Little,
}

/// What sandbar does where it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A rule can supply it: the built-in profile's if it has one, else one of the user's.
    Rule,
    /// containerd is told in the built-in profile not to ask for it, by this switch.
    Containerd(&'static str),
    /// A k3s flag or setting.
    Setting(&'static str),
    /// The one who needs it does without, and this is what is lost.
    Tolerated(&'static str),
    /// Nothing, and why.
    Nothing(&'static str),
}

/// One file that somebody needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its path; `@memory/x` lies below the mount of that cgroup v1 controller, and is no need with v2.
    pub path: &'static str,
    /// What is done with it.
    pub op: Op,
    /// The value that is wanted, if any will not do.
    pub expected: Option<&'static str>,
    /// Who needs it.
    pub by: &'static str,
    /// What breaks without it.
    pub breaks: Breaks,
    /// What sandbar does about it.
    pub remedy: Remedy,
}

const fn read(path: &'static str, by: &'static str, breaks: Breaks, remedy: Remedy) -> Need {
    Need { path, op: Op::Read, expected: None, by, breaks, remedy }
}

const fn sysctl(
    path: &'static str,
    value: &'static str,
    by: &'static str,
    breaks: Breaks,
    remedy: Remedy,
) -> Need {
    Need { path, op: Op::Read, expected: Some(value), by, breaks, remedy }
}

const fn look(op: Op, path: &'static str, by: &'static str, breaks: Breaks, remedy: Remedy) -> Need {
    Need { path, op, expected: None, by, breaks, remedy }
}

use Breaks::{Little, Node, Pods};
use Remedy::{Containerd, Nothing, Rule, Setting, Tolerated};

const KUBELET: &str = "kubelet";
const CADVISOR: &str = "kubelet (cAdvisor)";
const RUNC: &str = "runc";
const K3S: &str = "k3s agent";
const PROXY: &str = "kube-proxy";
const NO_PROXY: Remedy = Setting("k3s flag --disable-kube-proxy, where iptables lacks what it needs");
const LOGGED: Remedy = Tolerated("k3s logs it and goes on");
const FIGURES: Remedy = Tolerated("a figure is missing from the node's statistics");

/// The table.
pub const TABLE: &[Need] = &[
    // The kubelet's own start: setupKernelTunables reads each and exits if it cannot.
    sysctl("/proc/sys/vm/overcommit_memory", "1", KUBELET, Node, Rule),
    sysctl("/proc/sys/vm/panic_on_oom", "0", KUBELET, Node, Rule),
    sysctl("/proc/sys/kernel/panic", "10", KUBELET, Node, Rule),
    sysctl("/proc/sys/kernel/panic_on_oops", "1", KUBELET, Node, Rule),
    sysctl("/proc/sys/kernel/keys/root_maxkeys", "1000000", KUBELET, Node, Rule),
    sysctl("/proc/sys/kernel/keys/root_maxbytes", "25000000", KUBELET, Node, Rule),
    read("/dev/kmsg", "kubelet (OOM watcher)", Node, Rule),
    read("/proc/self/mountinfo", KUBELET, Node, Nothing("without it no cgroup is found")),
    read("/proc/self/cgroup", KUBELET, Node, Nothing("without it no cgroup is found")),
    read("/proc/stat", KUBELET, Little, Tolerated("the boot time is unknown")),
    read("/proc/sys/kernel/pid_max", KUBELET, Little, Tolerated("no limit on processes is reported")),
    read("/proc/sys/kernel/threads-max", KUBELET, Little, Tolerated("no limit on processes is reported")),
    read("/proc/loadavg", KUBELET, Little, Tolerated("the number of processes is not reported")),
    read("/proc/swaps", KUBELET, Little, Tolerated("swap counts as absent")),
    look(Op::Link, "/proc/1/ns/pid", KUBELET, Little, Tolerated("its own container is not recognised")),
    look(Op::Write, "/proc/self/oom_score_adj", "kubelet, containerd, runc", Pods, Rule),
    // cAdvisor, inside the kubelet: what it cannot read it cannot report, and some of that ends the kubelet.
    read("/proc/cpuinfo", CADVISOR, Node, Rule),
    read("/proc/meminfo", CADVISOR, Node, Rule),
    read("@cpuacct/cpuacct.usage_percpu", CADVISOR, Node, Rule),
    read("@cpuacct/cpuacct.usage_all", CADVISOR, Little, FIGURES),
    read("@memory/memory.stat", CADVISOR, Little, Tolerated("the memory of pods reads 0")),
    read("/proc/diskstats", CADVISOR, Little, FIGURES),
    read("/proc/vmstat", CADVISOR, Little, FIGURES),
    read("/proc/sys/kernel/random/boot_id", CADVISOR, Little, FIGURES),
    read("/etc/machine-id", CADVISOR, Little, FIGURES),
    look(
        Op::Exists,
        "/sys/devices/system/cpu/cpu0/topology/core_id",
        CADVISOR,
        Little,
        Tolerated("no CPU topology"),
    ),
    look(Op::Exists, "/sys/devices/system/node", CADVISOR, Little, Tolerated("no NUMA topology")),
    look(Op::Exists, "/sys/kernel/mm/hugepages", CADVISOR, Little, Tolerated("no huge pages")),
    look(Op::Exists, "/sys/block", CADVISOR, Little, FIGURES),
    look(Op::Exists, "/sys/class/net", CADVISOR, Little, FIGURES),
    look(Op::Exists, "/dev/disk/by-uuid", CADVISOR, Little, FIGURES),
    // The k3s agent, before it starts the kubelet. CFS and controllers are checked with the cgroups.
    look(Op::Exists, "@cpu/cpu.cfs_period_us", K3S, Little, Tolerated("k3s turns CPU quotas off")),
    look(Op::Exists, "/sys/module/overlay", K3S, Little, LOGGED),
    look(Op::Exists, "/sys/module/br_netfilter", K3S, Little, LOGGED),
    look(Op::Exists, "/sys/module/nf_conntrack", K3S, Little, LOGGED),
    sysctl("/proc/sys/net/ipv4/conf/all/forwarding", "1", K3S, Little, LOGGED),
    sysctl("/proc/sys/net/ipv4/conf/default/forwarding", "1", K3S, Little, LOGGED),
    sysctl("/proc/sys/net/ipv6/conf/all/forwarding", "1", K3S, Little, LOGGED),
    read("/proc/sys/net/bridge/bridge-nf-call-iptables", K3S, Little, LOGGED),
    read("/proc/sys/net/netfilter/nf_conntrack_max", "k3s agent, kube-proxy", Little, LOGGED),
    // kube-proxy.
    sysctl(
        "/proc/sys/net/ipv4/conf/all/route_localnet",
        "1",
        PROXY,
        Pods,
        Setting("k3s flag --kube-proxy-arg=iptables-localhost-nodeports=false"),
    ),
    read(
        "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal",
        PROXY,
        Little,
        Tolerated("kube-proxy asks if it is there"),
    ),
    look(Op::Exists, "/proc/net/ip_tables_names", PROXY, Pods, NO_PROXY),
    // CNI.
    sysctl("/proc/sys/net/ipv4/ip_forward", "1", "CNI bridge", Pods, Rule),
    look(Op::Link, "/proc/self/ns/net", "CNI, containerd", Pods, Nothing("pods need network namespaces")),
    // containerd and runc; runc reads these again inside the container, after pivot_root.
    read("/proc/sys/kernel/cap_last_cap", "containerd, runc", Pods, Rule),
    read(
        "/proc/sys/net/ipv4/ip_unprivileged_port_start",
        "runc (pods with their own network)",
        Pods,
        Containerd("enable_unprivileged_ports"),
    ),
    read(
        "/proc/sys/net/ipv4/ping_group_range",
        "runc (pods with their own network)",
        Pods,
        Containerd("enable_unprivileged_icmp"),
    ),
    look(Op::Link, "/proc/self/ns/mnt", RUNC, Pods, Nothing("containers need mount namespaces")),
    look(Op::Link, "/proc/self/ns/pid", RUNC, Pods, Nothing("containers need pid namespaces")),
    look(
        Op::Link,
        "/proc/self/ns/cgroup",
        RUNC,
        Little,
        Tolerated("pods get no cgroup namespace, as always with v1"),
    ),
    look(Op::Exists, "/proc/self/timens_offsets", RUNC, Little, Tolerated("no time namespaces")),
    look(Op::Exists, "/sys/kernel/security", "containerd (AppArmor)", Little, Tolerated("no AppArmor")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_stands_once_and_is_one_that_rules_may_name() {
        let mut paths: Vec<_> = TABLE.iter().map(|need| need.path).collect();
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count, "a path stands twice");
        for need in TABLE.iter().filter(|need| need.remedy == Rule) {
            let allowed =
                need.path.starts_with("/proc/") || need.path.starts_with('@') || need.path == "/dev/kmsg";
            assert!(allowed, "{} is outside of what rules may name", need.path);
        }
    }

    #[test]
    fn what_is_tolerated_breaks_little() {
        for need in TABLE {
            let tolerated = matches!(need.remedy, Tolerated(_));
            assert_eq!(tolerated, need.breaks == Little, "{}: {:?}", need.path, need.remedy);
        }
    }
}
