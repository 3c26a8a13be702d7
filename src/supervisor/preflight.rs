//! What must hold before anything is started, each with the reason and what helps if it does not.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use super::files;
use super::k3s_config::{Places, values_of};
use super::paths::{self, Paths};
use crate::exit::{Exit, Failure};

/// Checks that we are root.
pub fn root() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let message = "not root: k3s, ptrace of its processes and the supervisor's files need it";
    Err(Failure::new(Exit::Unsupported, message).hint("run this as root, or with sudo"))
}

/// Makes the supervisor's directories and checks that they take what it will write.
pub fn directories(paths: &Paths) -> Result<(), Failure> {
    let made = files::own_directory(&paths.run, paths::ours_in_run)
        .and_then(|()| files::own_directory(&paths.state, paths::ours_in_state))
        .and_then(|()| files::private_directory(&paths.logs()));
    made.map_err(failure)?;
    [&paths.state, &paths.run]
        .into_iter()
        .try_for_each(|directory| files::probe_space(directory).map_err(failure))
}

/// A failed file operation as the user sees it.
pub fn failure(error: files::FileError) -> Failure {
    let failure = Failure::new(Exit::Failed, error.to_string());
    if error.disk_full() {
        failure.hint(format!("free some space: df -h {}", error.path.display()))
    } else if error.not_ours() {
        failure.hint("give sandbar a directory of its own: --run-dir, --state-dir")
    } else {
        failure
    }
}

/// Checks that the ports on which k3s will listen are free. A socket that is bound but does not listen yet counts as taken.
pub fn ports(places: &Places, flags: &[String]) -> Result<(), Failure> {
    let secure = |flag, default| component_port(flags, flag).unwrap_or(default);
    let wanted = [
        (Ipv4Addr::UNSPECIFIED, places.port, "the Kubernetes API (--https-listen-port)"),
        (Ipv4Addr::LOCALHOST, places.port.saturating_add(1), "the Kubernetes API behind k3s's own server"),
        (Ipv4Addr::LOCALHOST, secure("--kube-controller-manager-arg", 10257), "kube-controller-manager"),
        (Ipv4Addr::LOCALHOST, secure("--kube-scheduler-arg", 10259), "kube-scheduler"),
    ];
    for (address, port, what) in wanted {
        // An error other than "in use" is k3s's to meet.
        let taken = TcpListener::bind(SocketAddrV4::new(address, port));
        if taken.is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
            let message = format!("port {port} is taken by another process; k3s needs it for {what}");
            let hint = format!(
                "see whose it is: ss -ltnp 'sport = :{port}'; another port for the API: sandbar up -- --https-listen-port=7443"
            );
            return Err(Failure::new(Exit::Failed, message).hint(hint));
        }
    }
    Ok(())
}

/// A component's port as given by `--kube-…-arg=secure-port=N`.
fn component_port(flags: &[String], flag: &str) -> Option<u16> {
    let values = values_of(flags, &[flag]);
    values
        .iter()
        .rev()
        .find_map(|value| value.trim_start_matches('-').strip_prefix("secure-port=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let places = Places { port, kubeconfig: PathBuf::new(), data: PathBuf::new() };
        let failure = ports(&places, &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.contains(&format!("port {port} is taken")), "{failure}");
    }

    #[test]
    fn a_component_that_was_moved_elsewhere_is_looked_for_there() {
        let flags = ["--kube-scheduler-arg=v=2", "--kube-scheduler-arg", "secure-port=1"].map(str::to_owned);
        assert_eq!(component_port(&flags, "--kube-scheduler-arg"), Some(1));
        assert_eq!(component_port(&flags, "--kube-controller-manager-arg"), None);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let paths = Paths { state: "/proc/nowhere".into(), run: "/proc/nowhere/run".into() };
        let failure = directories(&paths).unwrap_err();
        assert!(failure.message.contains("/proc/nowhere"), "{failure}");
    }
}
