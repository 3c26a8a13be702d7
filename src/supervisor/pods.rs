//! Pods whose network is exchanged for another: ended, and what it has set up for them taken down, so that the kubelet makes
//! them anew in the other. Two networks at once would give one address to two pods.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::process;
use super::remedies::Network;
use super::shutdown;
use crate::bounded;
use crate::cni;
use crate::intercept::Interceptor;

/// Where containerd keeps the network namespaces of pods.
const NAMESPACES: &str = "/run/netns";
/// How their names begin.
const PREFIX: &str = "cni-";
/// Links that flannel and its plugin leave behind, and the leases: what k3s's own k3s-killall.sh removes.
const FLANNEL_LINKS: [&str; 3] = ["cni0", "flannel.1", "flannel-wg"];
const FLANNEL_LEASES: &str = "/var/lib/cni/networks/cbr0";
const LIMIT: Duration = Duration::from_secs(20);

/// Ends every pod with a network of its own, while k3s is down; `old` is what their network was, `own` our directory for
/// ours. Returns how many processes there were, or what is left of the network.
pub fn rewire(interceptor: &Interceptor, old: Network, own: &Path) -> Result<usize, String> {
    let ended = shutdown::kill_until_gone(in_pods);
    match old {
        Network::Bridge => clear(interceptor, own)?,
        Network::Flannel => clear_flannel()?,
        Network::HostOnly | Network::Upstream | Network::Off => {}
    }
    Ok(ended)
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

/// Has our plugin collect as garbage whatever it knows of.
fn clear(interceptor: &Interceptor, own: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the old pod network is not cleared: {error}");
    let list = own.join("net.d").join(cni::FILE);
    let request = match fs::read_to_string(&list) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => {
            cni::collect_all(&read.map_err(failed)?).ok_or("the pod network's configuration is damaged")?
        }
    };
    let bin = own.join("bin");
    let environment = vec![("CNI_COMMAND".into(), "GC".into()), ("CNI_PATH".into(), bin.clone().into())];
    let input = bounded::input(request.as_bytes()).map_err(failed)?;
    let argv = [bin.join(cni::NAME).into()];
    match process::answer(interceptor, &argv, environment, Some(input.into()), LIMIT) {
        Some(_) => Ok(()),
        None => Err("the old pod network is not cleared: sandbar-cni's GC failed".to_owned()),
    }
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
    fn nobody_of_this_machine_is_in_a_pod() {
        assert!(!in_pods().contains(&std::process::id()));
    }
}
