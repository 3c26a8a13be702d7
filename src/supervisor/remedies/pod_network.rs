//! The pod network: CNI plugins as real files and their configuration, in a directory of ours of which containerd is told.
//!
//! Symlinks would not do: in a sandbox whose root is served from outside they may lead out of what containerd sees.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, io};

use super::State;
use super::containerd;
use crate::cni;
use crate::cni::userspace::{self, Server};
use crate::rules::observed::K3sArg;
use crate::supervisor::files;
use crate::supervisor::flags;
use crate::supervisor::k3s_config::value_of;
use crate::supervisor::process;

/// Where the upstream plugins may be, beside PATH; below k3s's data directory first.
const IN_DATA: [&str; 2] = ["data/current/bin", "data/cni"];
const ELSEWHERE: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
/// Upstream plugins that ours works with.
const UPSTREAM: [&str; 2] = ["host-local", "loopback"];
const OURS: &str = "sandbar-cni";
const DROP_IN: &str = "91-sandbar-cni.toml";
/// k3s's `--cluster-cidr`, of which the first node gets the first /24.
const CLUSTER_CIDR: &str = "10.42.0.0/16";

/// What the network of pods is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Network {
    /// Our own plugin's.
    Bridge,
    /// That of the host alone.
    HostOnly,
    /// That of k3s's flannel.
    Flannel,
    /// The user's.
    Upstream,
    /// As k3s makes it: this remedy is off.
    Off,
}

/// What it is to be with `spec.network.cni` and these arguments of k3s.
pub fn wanted(cni: Option<&str>, args: &[K3sArg]) -> Network {
    chosen(cni, &flags::plain(args))
}

/// Takes it from containerd again. The plugins stay: pods that were made with them are taken down by them.
pub fn withdraw(data: &Path) -> Result<(), String> {
    containerd::drop_in(data, DROP_IN, None)
}

/// Sets it up, as far as what it takes is there; `way_out` is whether the kernel lets pods reach outside.
pub fn supply(
    data: &Path,
    own: &Path,
    wanted: Network,
    args: &[K3sArg],
    way_out: &Result<(), String>,
    server: &Mutex<Option<Server>>,
) -> Result<State, String> {
    let args = flags::plain(args);
    let not_ours = match wanted {
        Network::Flannel => Some("k3s's flannel is the pod network"),
        Network::Upstream => Some("spec.network.cni is upstream: plugins and configuration are the user's"),
        Network::Bridge | Network::HostOnly | Network::Off => None,
    };
    if let Some(why) = not_ours {
        withdraw(data)?;
        return Ok(State::NotNeeded(why.to_owned()));
    }
    let (bin, configuration) = (own.join("bin"), own.join("net.d"));
    containerd::drop_in(data, DROP_IN, Some(&told(&bin, &configuration)))?;
    let searched = searched(data);
    for plugin in UPSTREAM {
        let Some(found) = find(plugin, &searched) else {
            let places = searched.iter().map(|place| place.display().to_string()).collect::<Vec<_>>();
            return Ok(State::Waiting(format!("no CNI plugin {plugin} in {} yet", places.join(", "))));
        };
        place(&found, &bin.join(plugin))
            .map_err(|error| format!("cannot copy {}: {error}", found.display()))?;
    }
    place_ourselves(&bin.join(OURS))?;
    let text = match wanted {
        Network::Bridge => cni::conflist(&subnet(&args)?, &own.join("state")),
        _ => host_only(),
    };
    fs::create_dir_all(&configuration).map_err(|error| error.to_string())?;
    files::write_atomically(&configuration.join(cni::FILE), text.as_bytes())
        .map_err(|error| error.to_string())?;
    Ok(State::Applied(match wanted {
        Network::Bridge => {
            let outside = match way_out {
                Ok(()) => String::new(),
                Err(no_nat) => {
                    format!(", {} (no nat table: {no_nat})", in_user_space(&own.join("state"), server))
                }
            };
            format!("{OURS} with pods in {}{outside}", subnet(&args)?)
        }
        _ => "pods with the network of the host only".to_owned(),
    }))
}

/// Starts to serve what the kernel does not, once; what that is.
fn in_user_space(state: &Path, server: &Mutex<Option<Server>>) -> String {
    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
    if server.is_none() {
        match Server::start(state) {
            Ok(started) => *server = Some(started),
            Err(error) => return format!("without a way out or host ports: {error}"),
        }
    }
    match userspace::usable() {
        Ok(()) => "the way out and host ports in user space".to_owned(),
        Err(why) => format!("host ports in user space, without a way out: {why}"),
    }
}

fn chosen(cni: Option<&str>, args: &[String]) -> Network {
    let flannel = value_of(args, &["--flannel-backend"]).unwrap_or_else(|| "vxlan".to_owned());
    match cni {
        Some("none") => Network::HostOnly,
        Some("bridge") => Network::Bridge,
        Some("upstream") => Network::Upstream,
        _ if flannel == "none" => Network::Bridge,
        _ => Network::Flannel,
    }
}

/// A network in which every pod with one of its own would be alone: what makes the kubelet call the node ready.
fn host_only() -> String {
    serde_json::json!({"cniVersion": "1.0.0", "name": "sandbar", "plugins": [{"type": "loopback"}]})
        .to_string()
}

/// The first /24 of the cluster's range, whose host bits do not count, as with k3s.
fn subnet(args: &[String]) -> Result<String, String> {
    let range = value_of(args, &["--cluster-cidr"]).unwrap_or_else(|| CLUSTER_CIDR.to_owned());
    let first = range.split(',').next().unwrap_or_default();
    let parsed = first.split_once('/').and_then(|(address, length)| {
        let address: Ipv4Addr = address.parse().ok()?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 24)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        Some(format!("{}/24", Ipv4Addr::from_bits(address.to_bits() & mask)))
    });
    parsed.ok_or_else(|| format!("--cluster-cidr={range}: not an IPv4 range of at least a /24"))
}

fn searched(data: &Path) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_data = IN_DATA.iter().map(|place| data.join(place));
    in_data.chain(env::split_paths(&path)).chain(ELSEWHERE.iter().map(PathBuf::from)).collect()
}

fn find(plugin: &str, searched: &[PathBuf]) -> Option<PathBuf> {
    let own = process::named_at_start().ok()?;
    searched
        .iter()
        .filter_map(|place| fs::canonicalize(place.join(plugin)).ok())
        // Under one of these names sandbar itself answers, but only to those who look whether it is there.
        .find(|found| *found != own && found.is_file())
}

/// The running program, even if its file was replaced since.
fn place_ourselves(to: &Path) -> Result<(), String> {
    let program = process::executable().map_err(|error| format!("cannot find ourselves: {error}"))?;
    place(&program, to).map_err(|error| format!("cannot copy {}: {error}", program.display()))
}

/// A real file with what `from` holds: a second name of it where that is possible, else a copy.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    let same = |one: &fs::Metadata, other: &fs::Metadata| {
        use std::os::unix::fs::MetadataExt;
        one.len() == other.len() && one.mtime() == other.mtime()
    };
    let source = fs::metadata(from)?;
    if fs::symlink_metadata(to).is_ok_and(|there| there.is_file() && same(&source, &there)) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let temporary = to.with_extension("new");
    let _ = fs::remove_file(&temporary);
    if fs::hard_link(from, &temporary).is_err() {
        fs::copy(from, &temporary)?;
        fs::File::options().write(true).open(&temporary)?.set_modified(source.modified()?)?;
    }
    fs::rename(&temporary, to)
}

/// What tells containerd where both are.
fn told(bin: &Path, configuration: &Path) -> String {
    format!(
        "[plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dirs = [{:?}]\n  conf_dir = {:?}\n",
        bin.display().to_string(),
        configuration.display().to_string()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn ours_is_the_network_where_flannel_is_none() {
        for (cni, line, expected) in [
            (None, "--flannel-backend=none", Network::Bridge),
            (Some("auto"), "--flannel-backend none", Network::Bridge),
            (Some("bridge"), "--flannel-backend=none", Network::Bridge),
            (Some("none"), "--flannel-backend=none", Network::HostOnly),
            (None, "", Network::Flannel),
            (Some("auto"), "--flannel-backend=host-gw", Network::Flannel),
            (Some("upstream"), "", Network::Upstream),
        ] {
            assert_eq!(chosen(cni, &args(line)), expected, "{cni:?} {line}");
        }
    }

    #[test]
    fn pods_live_in_the_first_24_of_the_clusters_range() {
        assert_eq!(subnet(&[]), Ok("10.42.0.0/24".to_owned()));
        assert_eq!(subnet(&args("--cluster-cidr=10.7.0.0/16,fd00::/56")), Ok("10.7.0.0/24".to_owned()));
        assert_eq!(subnet(&args("--cluster-cidr=10.42.7.9/16")), Ok("10.42.0.0/24".to_owned()));
        assert_eq!(subnet(&args("--cluster-cidr=10.42.7.9/24")), Ok("10.42.7.0/24".to_owned()));
        assert_eq!(subnet(&args("--cluster-cidr=10.42.7.9/0")), Ok("0.0.0.0/24".to_owned()));
        assert!(subnet(&args("--cluster-cidr=10.7.0.0/28")).is_err());
        assert!(subnet(&args("--cluster-cidr=10.7.0.0/200")).is_err());
        assert!(subnet(&args("--cluster-cidr=fd00::/56")).is_err());
    }

    #[test]
    #[ignore = "run by the test below, from a file of its own"]
    fn replaced() {
        let own = process::named_at_start().unwrap();
        let (size, to) = (fs::metadata(&own).unwrap().len(), own.with_file_name("placed"));
        fs::remove_file(&own).unwrap();
        fs::write(&own, "a newer one").unwrap();
        place_ourselves(&to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().len(), size);
        std::os::unix::fs::symlink(&own, own.with_file_name("host-local")).unwrap();
        assert_eq!(find("host-local", &[own.parent().unwrap().to_owned()]), None, "it answers only to look");
    }

    #[test]
    fn the_running_program_is_placed_even_if_its_file_was_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        // By another process: a file that is open for writing here, and so in what other tests fork, cannot be executed.
        let copy = std::process::Command::new("cp").arg(env::current_exe().unwrap()).arg(&program).status();
        assert!(copy.unwrap().success());
        let status = std::process::Command::new(&program)
            .args(["--exact", "--ignored", "supervisor::remedies::pod_network::tests::replaced"])
            .status();
        assert!(status.unwrap().success());
    }

    #[test]
    fn a_plugin_behind_a_symlink_becomes_a_real_file() {
        let dir = tempfile::tempdir().unwrap();
        let (multi, link, to) =
            (dir.path().join("cni"), dir.path().join("host-local"), dir.path().join("bin/x"));
        fs::write(&multi, "plugins").unwrap();
        std::os::unix::fs::symlink("cni", &link).unwrap();
        let found = find("host-local", &[dir.path().to_owned()]).unwrap();
        for _ in 0..2 {
            place(&found, &to).unwrap();
            assert!(fs::symlink_metadata(&to).unwrap().is_file());
        }
        fs::write(&multi, "newer plugins").unwrap();
        place(&found, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "newer plugins");
    }
}
