//! What the kernel lets us do: interception, namespaces, mounts.

use super::{Tried, needed, tried};
use crate::doctor::abilities::Abilities;
use crate::doctor::node::NodeAbilities;
use crate::doctor::report::{Check, Findings, Mode};

/// What the interceptor needs.
pub fn interception(abilities: &Abilities) -> Vec<Check> {
    let allow = "allow ptrace and seccomp where the sandbox is started (docker: --cap-add SYS_PTRACE, or \
                 --security-opt seccomp=unconfined on old kernels)";
    let mut intercept = needed(
        Mode::ControlPlane,
        "ptrace-seccomp",
        "a child's system call can be stopped by seccomp RET_TRACE and answered through ptrace",
        &abilities.intercept,
    );
    if abilities.intercept.is_some() {
        intercept = intercept.hint(allow);
    }
    vec![
        intercept,
        needed(
            Mode::ControlPlane,
            "memfd-sealing",
            "sealed memory files, which carry the rule table",
            &abilities.memfd,
        ),
        tried("process-vm-readv", "process_vm_readv", &abilities.process_vm_read, |what| {
            Check::warning("process-vm-readv", what)
                .remedy("memory is read word by word instead, which is slower")
        }),
        informative("openat2", &abilities.openat2),
        informative("pidfd-open", &abilities.pidfd),
    ]
}

/// Newer calls that programs try first; that they are missing is no fault.
fn informative(name: &str, result: &Option<String>) -> Check {
    match result {
        None => Check::good(name, name),
        Some(reason) => Check::good(name, format!("{name}: {reason}; programs do without")),
    }
}

/// Namespaces and mounts: what a node needs, and what sandbar's other means, mounting, needs.
pub fn namespaces(found: &Findings) -> Vec<Check> {
    let abilities = &found.abilities;
    let mut checks = vec![root_filesystem(found)];
    let node = |name, what, result| needed(Mode::Node, name, what, result);
    checks.extend([
        node("mount-namespace", "mount namespaces", &abilities.mount_namespace),
        node("mount", "mounting in a private mount namespace", &abilities.mount_tmpfs),
        node("pid-namespace", "pid namespaces", &abilities.pid_namespace),
        node("net-namespace", "network namespaces", &abilities.net_namespace),
        node("ipc-uts-namespace", "IPC and UTS namespaces", &abilities.ipc_uts_namespace),
        tried("session-keyring", "joining a session keyring, as runc does", &abilities.session_keyring, |what| {
            Check::warning("session-keyring", what).remedy(
                "NoNewKeyring = true in spec.k3s.containerdConfig, as profile-gvisor has it, lets runc do without",
            )
        }),
        tried(
            "join-pid-namespace",
            "joining another process's pid namespace",
            &abilities.join_pid_namespace,
            |what| Check::warning("join-pid-namespace", what).limit("kubectl exec into pods will fail"),
        ),
        tried("cgroup-namespace", "cgroup namespaces", &abilities.cgroup_namespace, |what| {
            Check::good("cgroup-namespace", format!("{what}; with cgroup v1 none are asked for"))
        }),
        tried("user-namespace", "user namespaces", &abilities.user_namespace, |what| {
            Check::good("user-namespace", format!("{what}; only rootless tools need them"))
        }),
        tried("bind-over-proc", "binding a directory over one in /proc", &abilities.bind_over_proc, |what| {
            Check::warning("bind-over-proc", what).remedy("such files are served by interception alone")
        }),
        tried(
            "proc-root-inode",
            "the root of /proc has inode 1, which runc insists on",
            &abilities.proc_root_inode,
            |what| {
                Check::warning("proc-root-inode", what)
                    .remedy("the interceptor reports inode 1 for what the kernel says is procfs")
            },
        ),
    ]);
    checks.extend(snapshotters(&abilities.node));
    checks
}

/// What containers' roots can be made of, and which of it sandbar takes.
fn snapshotters(node: &NodeAbilities) -> Vec<Check> {
    let choice = node.snapshotter();
    let instead = format!("`snapshotter: auto` takes {}", choice.name);
    let overlay = node.overlay.as_ref().or(node.overlay_removal.as_ref()).cloned();
    let lacks = |name: &str, what: &str, result: &Tried| {
        tried(name, what, result, |what| Check::warning(name, what).remedy(instead.clone()))
    };
    let mut checks = vec![lacks("overlayfs", "overlayfs where k3s keeps its data", &overlay)];
    checks.push(match &node.fuse_overlayfs {
        // It is for kernels that lack the real one.
        Some(why) if overlay.is_none() => {
            Check::good("fuse-overlayfs", format!("fuse-overlayfs: {why}; overlayfs works"))
        }
        result => lacks("fuse-overlayfs", "fuse-overlayfs where k3s keeps its data", result),
    });
    checks.push(Check::good("snapshotter", format!("{instead}: {}", choice.why)));
    checks
}

fn root_filesystem(found: &Findings) -> Check {
    let Some(root) = &found.environment.root_filesystem else {
        return Check::warning("root-filesystem", "the type of the root filesystem is unknown");
    };
    let description = format!("root filesystem: {} ({})", root.kind, root.options.join(","));
    match root.kind.as_str() {
        _ if root.has_option("ro") => Check::warning("root-filesystem", format!("{description}, read-only"))
            .hint("mount a volume on /var/lib/rancher"),
        "9p" => Check::good(
            "root-filesystem",
            format!("{description}; the kubelet of Kubernetes 1.37 knows no 9p"),
        ),
        _ => Check::good("root-filesystem", description),
    }
}
