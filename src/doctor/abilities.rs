//! What can be done here, found out by doing it once: interception, namespaces, mounts, devices, loopback, inotify.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::node::NodeAbilities;
use crate::sys::probe::{self, Attempt, InterceptStep, Refusal};
use crate::sys::shared;

/// One thing tried: `null` in JSON is yes, a text says why not.
pub type Tried = Option<String>;

/// What was tried. Each field is `None` when it works, else the reason why not.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Abilities {
    /// seccomp `RET_TRACE` with ptrace, end to end.
    pub intercept: Tried,
    /// Sealed memory files.
    pub memfd: Tried,
    /// Reading another process's memory at once.
    pub process_vm_read: Tried,
    /// openat2 (informative).
    pub openat2: Tried,
    /// pidfd_open (informative).
    pub pidfd: Tried,
    /// User namespaces.
    pub user_namespace: Tried,
    /// Mount namespaces.
    pub mount_namespace: Tried,
    /// Pid namespaces.
    pub pid_namespace: Tried,
    /// Network namespaces.
    pub net_namespace: Tried,
    /// IPC and UTS namespaces.
    pub ipc_uts_namespace: Tried,
    /// Cgroup namespaces.
    pub cgroup_namespace: Tried,
    /// Joining another process's pid namespace, as `kubectl exec` does.
    pub join_pid_namespace: Tried,
    /// A tmpfs in a private mount namespace.
    pub mount_tmpfs: Tried,
    /// The same in a new user namespace, as rootless tools do it.
    pub mount_in_user_namespace: Tried,
    /// A directory bound over one in /proc.
    pub bind_over_proc: Tried,
    /// What k3s's settings for a node take.
    #[serde(flatten)]
    pub node: NodeAbilities,
    /// A session keyring, as runc joins one.
    pub session_keyring: Tried,
    /// Raw sockets, as iptables and ping use them.
    pub raw_socket: Tried,
    /// TCP over 127.0.0.1.
    pub loopback: Tried,
    /// Listening on the API server's port.
    pub port_6443: Tried,
    /// inotify events.
    pub inotify: Tried,
    /// Inode 1 for the root of /proc, which runc insists on.
    pub proc_root_inode: Tried,
    /// Device files, by path.
    pub devices: Vec<Device>,
}

/// A device file.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Its path.
    pub path: &'static str,
    /// Why it cannot be opened, `None` if it can.
    pub error: Tried,
}

const DEVICES: [&str; 7] = [
    "/dev/null",
    "/dev/kmsg",
    "/dev/fuse",
    "/dev/net/tun",
    "/dev/kvm",
    "/dev/loop-control",
    "/dev/mapper/control",
];

/// What the interceptor needs, tried; `up` asks for no more.
pub fn intercept() -> Tried {
    probe::intercept().err().map(|(step, refusal)| {
        let step = match step {
            InterceptStep::Trace => "ptrace(PTRACE_TRACEME)",
            InterceptStep::Options => "ptrace(PTRACE_SETOPTIONS)",
            InterceptStep::Filter => "installing a seccomp filter",
            InterceptStep::Stop => "stopping a call by seccomp RET_TRACE",
            InterceptStep::Answer => "answering a stopped call",
        };
        format!("{step}: {refusal}")
    })
}

/// Sealed memory files, which carry the rule table.
pub fn memfd() -> Tried {
    shared::sealed_memfd("sandbar:probe", 4096).err().map(|error| error.to_string())
}

/// TCP over 127.0.0.1: with `lo` down nothing that k3s starts finds anything else.
pub fn loopback() -> Tried {
    let connect = || -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(2)).map(drop)
    };
    connect().err().map(|error| error.to_string())
}

/// Tries everything; `data` is k3s's data directory. Call it before starting threads: it forks.
pub fn try_all(data: &Path) -> Abilities {
    let tried = |attempt: Attempt| attempt.err().map(|refusal| refusal.to_string());
    let namespace = |flags| tried(probe::unshare(flags));
    let scratch = scratch();
    let scratch = scratch.as_ref();
    Abilities {
        intercept: intercept(),
        memfd: memfd(),
        process_vm_read: tried(probe::process_vm_read()),
        openat2: tried(probe::openat2()),
        pidfd: tried(probe::pidfd_open()),
        user_namespace: namespace(libc::CLONE_NEWUSER),
        mount_namespace: namespace(libc::CLONE_NEWNS),
        pid_namespace: namespace(libc::CLONE_NEWPID),
        net_namespace: namespace(libc::CLONE_NEWNET),
        ipc_uts_namespace: namespace(libc::CLONE_NEWIPC | libc::CLONE_NEWUTS),
        cgroup_namespace: tried(probe::cgroup_namespace()),
        join_pid_namespace: tried(probe::join_pid_namespace()),
        mount_tmpfs: on_scratch(scratch, |scratch| probe::tmpfs(&scratch.c("target")?, false)),
        mount_in_user_namespace: on_scratch(scratch, |scratch| probe::tmpfs(&scratch.c("target")?, true)),
        bind_over_proc: on_scratch(scratch, |scratch| {
            probe::bind(&scratch.c("lower")?, c"/proc/sys/vm", c"/proc/sys/vm/witness")
        }),
        node: NodeAbilities::try_in(data),
        session_keyring: tried(probe::session_keyring()),
        raw_socket: tried(probe::raw_socket()),
        loopback: loopback(),
        port_6443: TcpListener::bind("0.0.0.0:6443").err().map(|error| error.to_string()),
        inotify: on_scratch(scratch, |scratch| {
            probe::inotify(&scratch.c("target")?, || fs::write(scratch.dir.join("target/event"), ""))
        }),
        proc_root_inode: match fs::metadata("/proc").map(|meta| meta.ino()) {
            Ok(1) => None,
            Ok(inode) => Some(format!("inode {inode}")),
            Err(error) => Some(error.to_string()),
        },
        devices: DEVICES.iter().map(|path| Device { path, error: device(path) }).collect(),
    }
}

fn device(path: &str) -> Tried {
    // Reading is enough to see the driver, and does nothing; O_NONBLOCK, for /dev/kmsg would wait for messages.
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    open.err().map(|error| error.to_string())
}

/// A directory with a filled `lower` and an empty `target`, where k3s would keep its data if we may write there; removed at
/// the end.
struct Scratch {
    dir: std::path::PathBuf,
}

fn scratch() -> io::Result<Scratch> {
    let bases = ["/var/lib/rancher", "/var/lib", "/tmp"];
    let mut result = Err(io::Error::from(io::ErrorKind::NotFound));
    for base in bases.iter().filter(|base| Path::new(base).is_dir()) {
        let dir = Path::new(base).join(format!(".sandbar-probe-{}", std::process::id()));
        result = fs::create_dir(&dir).map(|()| Scratch { dir });
        if result.is_ok() {
            break;
        }
    }
    let scratch = result?;
    for name in ["lower", "target"] {
        fs::create_dir(scratch.dir.join(name))?;
    }
    fs::write(scratch.dir.join("lower/witness"), "")?;
    Ok(scratch)
}

fn on_scratch(scratch: Result<&Scratch, &io::Error>, attempt: impl FnOnce(&Scratch) -> Attempt) -> Tried {
    match scratch {
        Ok(scratch) => attempt(scratch).err().map(|refusal| refusal.to_string()),
        Err(error) => Some(format!("no place to try it: {error}")),
    }
}

impl Scratch {
    fn c(&self, name: &str) -> Result<CString, Refusal> {
        let path = self.dir.join(name);
        CString::new(path.as_os_str().as_bytes()).map_err(|_| Refusal::Errno(libc::EINVAL))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What was mounted was so only in namespaces that are gone.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
