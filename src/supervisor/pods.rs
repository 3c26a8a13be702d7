//! Pods whose network is exchanged for another: ended, and what it has set up for them taken down, so that the kubelet makes
//! them anew in the other. Two networks at once would give one address to two pods.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::paths::Paths;
use super::process;
use super::remedies::{Network, Wired};
use super::shutdown;
use crate::bounded;
use crate::cni;
use crate::intercept::Interceptor;
use crate::mounts::points::points;

/// Where containerd keeps the network namespaces of pods.
const NAMESPACES: &str = "/run/netns";
/// How their names begin.
const PREFIX: &str = "cni-";
/// Links that flannel and its plugin leave behind, and the leases: what k3s's own k3s-killall.sh removes.
const FLANNEL_LINKS: [&str; 3] = ["cni0", "flannel.1", "flannel-wg"];
const FLANNEL_LEASES: &str = "/var/lib/cni/networks/cbr0";
/// Below our directory for our plugin: what it remembers.
const STATE: &str = "state";
const LEAST: Duration = Duration::from_secs(20);
const PER_POD: Duration = Duration::from_secs(1);

/// Ends every pod with a network of its own, while k3s is down; `old` is what their network was, `own` our directory for
/// ours. Returns how many processes there were, or what is left of the network.
pub fn rewire(interceptor: &Interceptor, old: Network, own: &Path) -> Result<usize, String> {
    let ended = shutdown::kill_until_gone(in_pods);
    clear(interceptor, old, own).map(|()| ended)
}

/// All processes in network namespaces of pods. Those of host-network pods are not among them, and live on.
fn in_pods() -> HashSet<u32> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    let of_pods = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let namespaces: HashSet<_> = of_pods.filter_map(|entry| identity(&entry.path())).collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside = processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        namespaces.contains(&identity(&entry.path().join("ns/net"))?).then_some(pid)
    });
    inside.collect()
}

/// Takes down what a network without pods has set up.
pub fn clear(interceptor: &Interceptor, old: Network, own: &Path) -> Result<(), String> {
    // Whose children the tracer alone hears of.
    clear_by(old, own, |gc| {
        let input = bounded::input(gc.request.as_bytes()).map_err(|error| error.to_string())?;
        let environment = gc.environment.map(|(name, value)| (name.into(), value)).into();
        let argv = [gc.program.into_os_string()];
        process::answer(interceptor, &argv, environment, Some(input.into()), gc.limit)
            .map(drop)
            .ok_or_else(|| "it was refused or took too long".to_owned())
    })
}

/// Takes down what is on record in `own`, of a supervisor that is gone.
pub fn sweep(own: &Path) -> Result<(), String> {
    let mut wired = Wired::load(Paths::wired(own));
    for old in wired.end() {
        clear_by(old, own, |gc| {
            let mut command = Command::new(gc.program);
            let ran = bounded::run_with(command.envs(gc.environment), gc.request.as_bytes(), gc.limit);
            let ran = ran.map_err(|error| error.to_string())?;
            if ran.status.success() { Ok(()) } else { Err(ran.stdout) }
        })?;
        wired.cleared(old);
    }
    Ok(())
}

/// How long it can take: the plugin is run once, and runs host-local for each pod.
pub fn patience(own: &Path) -> Duration {
    let pods = u32::try_from(cni::attachments(&own.join(STATE))).unwrap_or(u32::MAX);
    (LEAST + PER_POD.saturating_mul(pods)).min(cni::LIMIT)
}

/// A call of our plugin that collects as garbage whatever it knows of.
struct Gc {
    program: PathBuf,
    environment: [(&'static str, OsString); 2],
    request: String,
    limit: Duration,
}

fn clear_by(old: Network, own: &Path, run: impl FnOnce(Gc) -> Result<(), String>) -> Result<(), String> {
    match old {
        Network::Bridge => {}
        Network::Flannel => return clear_flannel(),
        Network::HostOnly | Network::Upstream | Network::Off => return Ok(()),
    }
    let bin = own.join("bin");
    let gc = Gc {
        program: bin.join(cni::NAME),
        environment: [("CNI_COMMAND", "GC".into()), ("CNI_PATH", bin.into_os_string())],
        request: cni::collect_all(&own.join(STATE)).to_string(),
        limit: patience(own),
    };
    // Where it never was, it has set up nothing.
    if !gc.program.exists() {
        return Ok(());
    }
    run(gc).map_err(|why| format!("the pod network is not cleared: sandbar-cni's GC failed: {}", why.trim()))
}

/// Removes the files that containerd has made to mount network namespaces of pods on, where nothing is mounted any more. What
/// is mounted, here or in the mount namespace that we came from, is somebody's.
pub fn forget_namespaces() {
    let tables = ["/proc/self/mountinfo", "/proc/1/mountinfo"].map(fs::read_to_string);
    let [Ok(own), Ok(outer)] = tables else { return };
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        let empty = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() == 0);
        if empty && ![&own, &outer].iter().any(|table| is_mounted(table, &path)) {
            // Somebody else may have been faster.
            let _ = fs::remove_file(path);
        }
    }
}

fn is_mounted(table: &str, path: &Path) -> bool {
    points(table).any(|point| Path::new(&point) == path)
}

fn clear_flannel() -> Result<(), String> {
    cni::remove_links(&FLANNEL_LINKS).map_err(|error| format!("flannel's links are still there: {error}"))?;
    match fs::remove_dir_all(FLANNEL_LEASES) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("flannel's leases are still in {FLANNEL_LEASES}: {error}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_clear_grows_with_the_pods_and_is_bounded() {
        let own = tempfile::tempdir().unwrap();
        let attachments = own.path().join("state/attachments");
        fs::create_dir_all(&attachments).unwrap();
        assert_eq!(patience(own.path()), LEAST);
        for pods in [30, 500] {
            for pod in 0..pods {
                let text =
                    format!(r#"{{"network":"sandbar","container":"{pod}","ifname":"eth0","netns":"/n"}}"#);
                fs::write(attachments.join(format!("{pod}.json")), text).unwrap();
            }
            assert_eq!(patience(own.path()), (LEAST + PER_POD * pods).min(cni::LIMIT));
        }
    }

    #[test]
    fn a_failed_sweep_stays_on_record_and_says_why() {
        let own = tempfile::tempdir().unwrap();
        let (bin, record) = (own.path().join("bin"), Paths::wired(own.path()));
        fs::create_dir_all(&bin).unwrap();
        fs::write(&record, "bridge\n").unwrap();
        let plugin = |script: &str| {
            let path = bin.join(cni::NAME);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        };
        plugin("echo no such luck; exit 1");
        assert!(sweep(own.path()).unwrap_err().contains("no such luck"));
        assert!(record.exists());
        plugin("[ $CNI_COMMAND = GC ] && grep -q valid-attachments");
        sweep(own.path()).unwrap();
        assert!(!record.exists());
    }

    #[test]
    fn a_mounted_namespace_is_somebodys() {
        let table = "31 16 0:4 net:[4026532281] /run/netns/cni-a rw - nsfs nsfs rw\n";
        assert!(is_mounted(table, Path::new("/run/netns/cni-a")));
        assert!(!is_mounted(table, Path::new("/run/netns/cni-b")));
    }

    #[test]
    fn nobody_of_this_machine_is_in_a_pod() {
        assert!(!in_pods().contains(&std::process::id()));
    }
}
