//! What this environment is, told from its signs.

use serde::Serialize;

use super::parse::mountinfo;
use super::raw::Raw;

/// The date that every gVisor reports as its kernel's build date.
const GVISOR_DATE: &str = "Sun Jan 10 15:06:54 PST 2016";

/// What kind of place this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxKind {
    /// A kernel in user space.
    Gvisor,
    /// Windows Subsystem for Linux.
    Wsl,
    /// A container on a real kernel.
    Container,
    /// A micro-VM (Firecracker, Cloud Hypervisor, …).
    MicroVm,
    /// A virtual machine.
    VirtualMachine,
    /// Linux, nothing else known.
    #[default]
    Linux,
}

/// gVisor before and after it changed the kernel version that it reports (April 2026).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Generation {
    /// Reports 4.4.0.
    #[serde(rename = "4.4")]
    Old,
    /// Reports 4.19.0-gvisor or later.
    #[serde(rename = "current")]
    Current,
}

/// The answer, with its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// What kind of place this is.
    pub kind: SandboxKind,
    /// Which gVisor.
    pub gvisor: Option<Generation>,
    /// The container engine, inside which this may be gVisor too.
    pub container: Option<&'static str>,
    /// The hypervisor below, as far as it shows.
    pub hypervisor: Option<String>,
    /// What the answer rests on.
    pub signs: Vec<String>,
}

impl Identity {
    /// For people: `gVisor (4.19.0-gvisor)`, `Docker container`, …
    pub fn describe(&self, release: &str) -> String {
        let name = match self.kind {
            SandboxKind::Gvisor => "gVisor".to_owned(),
            SandboxKind::Wsl => "Windows Subsystem for Linux".to_owned(),
            SandboxKind::Container => format!("{} container", self.container.unwrap_or("a")),
            SandboxKind::MicroVm => "micro-VM".to_owned(),
            SandboxKind::VirtualMachine => {
                format!("virtual machine ({})", self.hypervisor.as_deref().unwrap_or("unknown"))
            }
            SandboxKind::Linux => "Linux".to_owned(),
        };
        format!("{name}, kernel {release}")
    }
}

/// Tells what this is.
pub fn identify(raw: &Raw) -> Identity {
    let mut signs = gvisor_signs(raw);
    let gvisor = (!signs.is_empty()).then(|| generation(&raw.release));
    let container = container(raw, &mut signs);
    let (hypervisor, micro) = hypervisor(raw, &mut signs);
    let wsl = raw.version.to_ascii_lowercase().contains("microsoft");
    if wsl {
        signs.push("/proc/version names Microsoft".to_owned());
    }
    // gVisor passes the CPU's flag through; that alone names nothing.
    let hypervisor = hypervisor.filter(|name| gvisor.is_none() || name != "unknown");
    let kind = match () {
        () if gvisor.is_some() => SandboxKind::Gvisor,
        // An image unpacked onto a disk keeps its engine's marks; a container's root is no block device of a micro-VM.
        () if micro && on_block_device(raw) => SandboxKind::MicroVm,
        () if container.is_some() => SandboxKind::Container,
        () if wsl => SandboxKind::Wsl,
        () if micro => SandboxKind::MicroVm,
        () if hypervisor.is_some() => SandboxKind::VirtualMachine,
        () => SandboxKind::Linux,
    };
    Identity { kind, gvisor, container, hypervisor, signs }
}

/// The name comes with newer releases; the date is older than any of them, and no real kernel of that day lacks the
/// compiler's name in /proc/version.
fn gvisor_signs(raw: &Raw) -> Vec<String> {
    let mut signs = Vec::new();
    let mut sign = |holds: bool, text: &str| {
        if holds {
            signs.push(text.to_owned());
        }
    };
    sign(raw.version.contains("gvisor"), "/proc/version names gVisor");
    sign(raw.version.contains(GVISOR_DATE), "/proc/version carries gVisor's build date");
    sign(raw.cmdline.contains("-gvisor"), "/proc/cmdline names gVisor");
    sign(raw.kernel_log.contains("Starting gVisor"), "the kernel log says \"Starting gVisor\"");
    sign(raw.has_mark("/proc/sentry-meminfo"), "/proc/sentry-meminfo is there");
    signs
}

fn generation(release: &str) -> Generation {
    if release.starts_with("4.4.") || release == "4.4" { Generation::Old } else { Generation::Current }
}

fn on_block_device(raw: &Raw) -> bool {
    let mounts = mountinfo::parse(&raw.mountinfo);
    mountinfo::mount_of(&mounts, "/").is_some_and(|root| root.source.starts_with("/dev/"))
}

fn container(raw: &Raw, signs: &mut Vec<String>) -> Option<&'static str> {
    let named = raw.variable("container").unwrap_or_default().to_owned();
    let cgroups = format!("{}{}", raw.cgroup, raw.init_cgroup);
    let found = [
        (
            "Kubernetes",
            raw.has_mark("/var/run/secrets/kubernetes.io/serviceaccount"),
            "a service account is mounted",
        ),
        ("Kubernetes", raw.variable("KUBERNETES_SERVICE_HOST").is_some(), "KUBERNETES_SERVICE_HOST is set"),
        ("Kubernetes", cgroups.contains("kubepods"), "the cgroup path names kubepods"),
        ("Podman", raw.has_mark("/run/.containerenv"), "/run/.containerenv is there"),
        ("Podman", named == "podman", "container=podman"),
        ("Docker", raw.has_mark("/.dockerenv"), "/.dockerenv is there"),
        ("Docker", cgroups.contains("/docker"), "the cgroup path names docker"),
        ("LXC", named.starts_with("lxc") || cgroups.contains("/lxc"), "LXC names itself"),
        ("systemd-nspawn", named == "systemd-nspawn", "container=systemd-nspawn"),
    ];
    let mut engine = None;
    for (name, _, sign) in found.iter().filter(|(_, holds, _)| *holds) {
        signs.push((*sign).to_owned());
        engine = engine.or(Some(*name));
    }
    engine
}

/// The hypervisor, and whether it is one of the small ones: those have no firmware tables and pass devices on the command
/// line.
fn hypervisor(raw: &Raw, signs: &mut Vec<String>) -> (Option<String>, bool) {
    let flagged = raw
        .cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
    let firecracker = raw.cmdline.contains("firecracker") || raw.release.contains("-fc");
    let micro = raw.dmi.is_empty()
        && (firecracker || raw.cmdline.contains("virtio_mmio.device=") || raw.cmdline.contains("pci=off"));
    if micro {
        signs.push("no firmware tables, and a micro-VM's kernel command line".to_owned());
    }
    let vendors =
        ["QEMU", "KVM", "VMware", "VirtualBox", "Microsoft", "Xen", "Amazon EC2", "Google", "Parallels"];
    let vendor = vendors.iter().find(|vendor| raw.dmi.contains(*vendor));
    let name = match (firecracker && micro, vendor) {
        (true, _) => Some("Firecracker".to_owned()),
        (false, Some(vendor)) => Some((*vendor).to_owned()),
        (false, None) if flagged || micro => Some("unknown".to_owned()),
        (false, None) => None,
    };
    if flagged {
        signs.push("the CPU's hypervisor flag is set".to_owned());
    }
    (name, micro)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::fixtures;

    fn raw(version: &str, release: &str) -> Raw {
        Raw { version: version.to_owned(), release: release.to_owned(), ..Raw::default() }
    }

    #[test]
    fn both_generations_of_gvisor() {
        let current = identify(&raw(fixtures::GVISOR_VERSION, "4.19.0-gvisor"));
        assert_eq!((current.kind, current.gvisor), (SandboxKind::Gvisor, Some(Generation::Current)));
        let old = identify(&raw(fixtures::GVISOR_OLD_VERSION, "4.4.0"));
        assert_eq!((old.kind, old.gvisor), (SandboxKind::Gvisor, Some(Generation::Old)));
        let hidden = Raw {
            kernel_log: fixtures::GVISOR_KERNEL_LOG.to_owned(),
            ..raw(fixtures::LINUX_VERSION, "6.8.0")
        };
        assert_eq!(identify(&hidden).kind, SandboxKind::Gvisor);
    }

    #[test]
    fn gvisor_below_docker_is_gvisor_first() {
        let mut both = raw(fixtures::GVISOR_VERSION, "4.19.0-gvisor");
        both.marks.push("/.dockerenv".to_owned());
        let identity = identify(&both);
        assert_eq!((identity.kind, identity.container), (SandboxKind::Gvisor, Some("Docker")));
    }

    #[test]
    fn containers_and_machines() {
        let linux = raw(fixtures::LINUX_VERSION, "6.8.0-49-generic");
        assert_eq!(identify(&linux).kind, SandboxKind::Linux);
        let pod = Raw { init_cgroup: "0::/kubepods/besteffort/x".to_owned(), ..linux.clone() };
        assert_eq!(identify(&pod).container, Some("Kubernetes"));
        let wsl = raw(fixtures::WSL_VERSION, "5.15.167.4-microsoft-standard-WSL2");
        assert_eq!(identify(&wsl).kind, SandboxKind::Wsl);
        let flags = "processor: 0\nflags\t\t: fpu vme hypervisor lahf_lm\n".to_owned();
        let cmdline = "console=ttyS0 reboot=k panic=1 pci=off virtio_mmio.device=4K@0xd0000000:5".to_owned();
        let micro = Raw { cpuinfo: flags.clone(), cmdline, ..linux.clone() };
        assert_eq!(identify(&micro).kind, SandboxKind::MicroVm);
        let mut unpacked = Raw { mountinfo: fixtures::LINUX_V1_MOUNTINFO.to_owned(), ..micro };
        unpacked.marks.push("/.dockerenv".to_owned());
        assert_eq!(identify(&unpacked).kind, SandboxKind::MicroVm);
        let qemu = Raw { cpuinfo: flags, dmi: "QEMU Standard PC (Q35 + ICH9, 2009)".to_owned(), ..linux };
        let machine = identify(&qemu);
        assert_eq!(
            (machine.kind, machine.hypervisor.as_deref()),
            (SandboxKind::VirtualMachine, Some("QEMU"))
        );
    }
}
