//! What `down --purge` removes: what k3s and sandbar have written, by name, and the directories that are empty then.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::files::{self, FileError};
use super::k3s_process;
use super::kubeconfig;
use super::paths::{self, Component, Paths};
use super::record::Record;

/// Below a data directory that the user named: it may hold other things than k3s's.
const IN_DATA: [&str; 2] = ["server", "agent"];
/// Where k3s unpacks itself, below its data directory: its links, and directories that are called by a checksum.
const UNPACKED: &str = "data";
const UNPACKED_NAMES: [&str; 4] = [".lock", "cni", "current", "previous"];
/// Where k3s writes outside of its data directory, whatever it was told; and in there.
const CONFIGURATION: &str = "/etc/rancher";
const NODE_PASSWORD: &str = "node/password";
const EMPTIED: [&str; 2] = ["k3s", "node"];

/// One removal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// With all that is in it.
    Tree(PathBuf),
    File(PathBuf),
    /// If nobody else has put something into it.
    Empty(PathBuf),
}

/// Removes what was written for the cluster on record, if there is one, and sandbar's own state. Returns the outermost of what
/// is gone.
pub fn purge(paths: &Paths, record: Option<&Record>) -> Result<Vec<PathBuf>, FileError> {
    purge_with(paths, record, Path::new(CONFIGURATION))
}

fn purge_with(
    paths: &Paths,
    record: Option<&Record>,
    configuration: &Path,
) -> Result<Vec<PathBuf>, FileError> {
    if paths.state.exists() {
        files::own_directory(&paths.state, paths::ours_in_state)?;
    }
    let mut steps = found(paths, record);
    steps.extend(record.iter().flat_map(|record| cluster(record, configuration)));
    steps.extend(state(paths));
    let mut removed = Vec::new();
    for step in steps {
        let (Step::Tree(path) | Step::File(path) | Step::Empty(path)) = &step;
        match carry_out(&step) {
            Ok(()) => removed.push(path.clone()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Not empty, or a mount point: stays.
            Err(_) if matches!(step, Step::Empty(_)) => {}
            Err(error) => return Err(FileError::on("remove", path)(error)),
        }
    }
    Ok(outermost(&removed))
}

fn carry_out(step: &Step) -> io::Result<()> {
    match step {
        Step::Tree(path) => fs::remove_dir_all(path),
        Step::File(path) => fs::remove_file(path),
        Step::Empty(path) => fs::remove_dir(path),
    }
}

/// What has to be looked at before it is known to be ours.
fn found(paths: &Paths, record: Option<&Record>) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(record) = record {
        if fs::read_to_string(&record.kubeconfig).is_ok_and(|text| kubeconfig::is_k3ss(&text)) {
            steps.push(Step::File(record.kubeconfig.clone()));
        }
        let unpacked = record.data.join(UNPACKED);
        let names = names(&unpacked).into_iter().filter(|name| is_unpacked(name));
        steps.extend(names.map(|name| unpacked.join(name)).map(|path| {
            match path.is_symlink() || path.is_file() {
                true => Step::File(path),
                false => Step::Tree(path),
            }
        }));
    }
    let temporary = names(&paths.state).into_iter().filter(|name| paths::temporary(name));
    steps.extend(temporary.map(|name| Step::File(paths.state.join(name))));
    steps
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn is_unpacked(name: &str) -> bool {
    let checksum = name.len() == 64 && name.bytes().all(|one| one.is_ascii_hexdigit());
    checksum || UNPACKED_NAMES.contains(&name)
}

/// What k3s has written.
fn cluster(record: &Record, configuration: &Path) -> Vec<Step> {
    let data = &record.data;
    let mut steps = match data == Path::new(paths::K3S_DATA_DIR) {
        true => vec![Step::Tree(data.clone())],
        false => IN_DATA
            .iter()
            .map(|name| data.join(name))
            .filter(|path| paths::removable(path))
            .map(Step::Tree)
            .collect(),
    };
    steps.push(Step::Empty(data.join(UNPACKED)));
    steps.push(Step::Empty(data.clone()));
    steps.push(Step::File(configuration.join(NODE_PASSWORD)));
    steps.extend(EMPTIED.map(|name| Step::Empty(configuration.join(name))));
    steps.push(Step::Empty(configuration.to_owned()));
    steps
}

/// What sandbar itself has written. What users keep in `files` for their redirects is theirs.
fn state(paths: &Paths) -> Vec<Step> {
    let logs = Component::ALL.map(|component| paths.log(component));
    let set_aside = logs.clone().map(|log| log.with_extension("log.1"));
    let files = logs.into_iter().chain(set_aside).chain([
        paths.logs().join(paths::UP_LOG),
        paths.bin().join(k3s_process::HOST_LOCAL),
        paths.last_good(),
        paths.mode(),
        paths.record(),
    ]);
    let files = files.map(Step::File);
    let emptied = [paths.logs(), paths.bin(), paths.state.join("files"), paths.state.clone()];
    files.chain([Step::Tree(paths.cni())]).chain(emptied.map(Step::Empty)).collect()
}

/// Without what lies in something else of the list.
fn outermost(removed: &[PathBuf]) -> Vec<PathBuf> {
    let inside = |path: &PathBuf| removed.iter().any(|other| other != path && path.starts_with(other));
    removed.iter().filter(|path| !inside(path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: &Path, kubeconfig: &Path) -> Record {
        Record { data: data.into(), kubeconfig: kubeconfig.into(), mounts_outside: false }
    }

    const KUBECONFIG: &str =
        "clusters: [{name: default}]\nusers: [{name: default}]\ncontexts: [{name: default}]\n";

    #[test]
    fn what_was_written_goes_and_what_others_put_beside_it_stays() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        let paths = Paths { state: at("state"), run: at("run") };
        files::private_directory(&paths.state).unwrap();
        let checksum = "ab".repeat(32);
        let theirs =
            ["etc/k3s/config.yaml", "data/mine/x", "data/data/theirs", "state/files/x", "state/logs/x.log"];
        let ours = [
            "data/server/db",
            "data/agent/x",
            &format!("data/data/{checksum}/bin/k3s"),
            "data/data/.lock",
            "kubeconfig",
            "etc/node/password",
            "state/mode",
            "state/last-good.json",
            "state/last-good.json.7.tmp",
            "state/logs/k3s.log",
            "state/logs/k3s.log.1",
            "state/logs/up.log",
            "state/bin/host-local",
            "state/cni/net.d/x",
        ];
        for name in theirs.iter().chain(&ours) {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), KUBECONFIG).unwrap();
        }
        let record = record(&at("data"), &at("kubeconfig"));
        record.save(&paths.record()).unwrap();
        let etc = at("etc");
        let removed = purge_with(&paths, Some(&record), &etc).unwrap();
        for name in theirs {
            assert!(at(name).exists(), "{name} is gone: {removed:?}");
            fs::remove_file(at(name)).unwrap();
        }
        for name in ours {
            assert!(!at(name).exists(), "{name} is left: {removed:?}");
        }
        assert!(
            removed.contains(&at("data/server")) && !removed.contains(&at("data/server/db")),
            "{removed:?}"
        );
        for empty in ["data/mine", "data/data/theirs"] {
            let _ = fs::remove_dir(at(empty));
        }
        assert!(purge_with(&paths, Some(&record), &etc).unwrap().contains(&at("state")));
        assert!(!at("data").exists() && !paths.state.exists());
    }

    #[test]
    fn without_a_record_nothing_of_a_cluster_is_touched() {
        let top = tempfile::tempdir().unwrap();
        let paths = Paths { state: top.path().join("state"), run: top.path().join("run") };
        files::private_directory(&paths.state).unwrap();
        fs::write(paths.mode(), "node").unwrap();
        let within = |step: &Step| {
            let (Step::Tree(path) | Step::File(path) | Step::Empty(path)) = step;
            path.starts_with(&paths.state)
        };
        assert!(found(&paths, None).iter().chain(&state(&paths)).all(within));
        assert_eq!(purge(&paths, None).unwrap(), std::slice::from_ref(&paths.state));
    }

    #[test]
    fn a_kubeconfig_with_other_clusters_stays() {
        let top = tempfile::tempdir().unwrap();
        let paths = Paths { state: top.path().join("state"), run: top.path().join("run") };
        let kubeconfig = top.path().join("config");
        fs::write(&kubeconfig, KUBECONFIG.replace("clusters: [", "clusters: [{name: work}, ")).unwrap();
        let record = record(&top.path().join("data"), &kubeconfig);
        assert_eq!(found(&paths, Some(&record)), []);
        fs::write(&kubeconfig, KUBECONFIG).unwrap();
        assert_eq!(found(&paths, Some(&record)), [Step::File(kubeconfig)]);
    }

    #[test]
    fn k3ss_own_directory_goes_whole_and_of_another_its_part() {
        let tree = |data: &str| {
            cluster(&record(Path::new(data), Path::new("/kc")), Path::new("/etc/x"))
                .into_iter()
                .filter_map(|step| match step {
                    Step::Tree(path) => Some(path.display().to_string()),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(tree(paths::K3S_DATA_DIR), [paths::K3S_DATA_DIR]);
        assert_eq!(tree("/srv/mine"), ["/srv/mine/server", "/srv/mine/agent"]);
        assert_eq!(tree("/"), [""; 0], "a top-level directory");
    }
}
