//! What k3s's own configuration file and flags say about things that sandbar must know: port, kubeconfig, data.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::paths::{K3S_CONFIG, K3S_DATA_DIR, K3S_KUBECONFIG};

/// Where k3s is started.
pub const STARTED_IN: &str = "/";

/// k3s's configuration file: flags without dashes and their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigFile(BTreeMap<String, serde_json::Value>);

/// Where this k3s can be reached and where it keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Port of the API.
    pub port: u16,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Datastore, certificates, manifests.
    pub data: PathBuf,
}

impl ConfigFile {
    /// Reads the file that k3s will read with these arguments; nothing if it has none. A file that does not parse is k3s's
    /// to complain about.
    pub fn load(args: &[String]) -> Self {
        let named = value_of(args, &["--config", "-c"]).map(PathBuf::from);
        let from_environment = || std::env::var_os("K3S_CONFIG_FILE").map(PathBuf::from);
        let named = named.or_else(from_environment).unwrap_or_else(|| K3S_CONFIG.into());
        let path = Path::new(STARTED_IN).join(named);
        std::fs::read_to_string(path).map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    /// From the file's text.
    pub fn parse(text: &str) -> Self {
        Self(serde_saphyr::from_str(text).unwrap_or_default())
    }

    /// Whether the file sets this flag (written with its dashes).
    pub fn sets(&self, flag: &str) -> bool {
        let name = flag.trim_start_matches('-');
        self.0.contains_key(name) || self.0.contains_key(&format!("{name}+"))
    }

    fn text(&self, flag: &str) -> Option<String> {
        match self.0.get(flag.trim_start_matches('-'))? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

impl Places {
    /// As k3s itself decides: flag, then environment, then configuration file, then default.
    pub fn of(args: &[String], file: &ConfigFile) -> Self {
        let find = |names: &[&str], variable: &str| {
            let from_environment =
                || std::env::var_os(OsStr::new(variable)).and_then(|value| value.into_string().ok());
            value_of(args, names)
                .or_else(from_environment)
                .or_else(|| names.iter().find_map(|name| file.text(name)))
        };
        let port = value_of(args, &["--https-listen-port"]).or_else(|| file.text("--https-listen-port"));
        let kubeconfig = find(&["--write-kubeconfig", "-o"], "K3S_KUBECONFIG_OUTPUT");
        let data = find(&["--data-dir", "-d"], "K3S_DATA_DIR");
        Self {
            port: port.and_then(|port| port.parse().ok()).unwrap_or(6443),
            // What is relative in its environment and its file k3s takes from where it is started.
            kubeconfig: Path::new(STARTED_IN).join(kubeconfig.as_deref().unwrap_or(K3S_KUBECONFIG)),
            data: Path::new(STARTED_IN).join(data.as_deref().unwrap_or(K3S_DATA_DIR)),
        }
    }
}

/// The name under which k3s registers this machine.
pub fn node_name(args: &[String], file: &ConfigFile) -> String {
    let own = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let environment = || std::env::var("K3S_NODE_NAME").ok();
    let named = value_of(args, &["--node-name"]).or_else(environment).or_else(|| file.text("--node-name"));
    named.unwrap_or_else(own).to_lowercase()
}

/// The last value given to any of these names, as `--name=value` or `--name value`; one dash is as good as two.
pub fn value_of(args: &[String], names: &[&str]) -> Option<String> {
    values_of(args, names).pop()
}

/// All values given to any of these names, in order.
pub fn values_of(args: &[String], names: &[&str]) -> Vec<String> {
    let wanted = |flag: &str| {
        let name = flag.trim_start_matches('-');
        flag.starts_with('-') && names.iter().any(|known| known.trim_start_matches('-') == name)
    };
    let value = |(index, arg): (usize, &String)| match arg.split_once('=') {
        Some((flag, value)) => wanted(flag).then(|| value.to_owned()),
        None if wanted(arg) => args.get(index + 1).cloned(),
        None => None,
    };
    args.iter().enumerate().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_last_of_several_spellings_wins() {
        let line = args("--https-listen-port 1 -https-listen-port=2 --debug --write-kubeconfig /a -o /b");
        assert_eq!(value_of(&line, &["--https-listen-port"]).as_deref(), Some("2"));
        assert_eq!(value_of(&line, &["--write-kubeconfig", "-o"]).as_deref(), Some("/b"));
        assert_eq!(value_of(&line, &["--data-dir", "-d"]), None);
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = ConfigFile::parse("https-listen-port: 7443\nwrite-kubeconfig: /tmp/kc\ntls-san+: [a]\n");
        let places = Places::of(&args("--write-kubeconfig=/tmp/flag"), &file);
        assert_eq!((places.port, places.kubeconfig.as_path()), (7443, Path::new("/tmp/flag")));
        assert!(file.sets("--tls-san") && !file.sets("--flannel-backend"));
        assert_eq!(Places::of(&[], &ConfigFile::parse("[not a map")).port, 6443);
        let relative = Places::of(&[], &ConfigFile::parse("write-kubeconfig: kc\ndata-dir: srv/k3s\n"));
        assert_eq!((relative.kubeconfig, relative.data), ("/kc".into(), "/srv/k3s".into()));
    }
}
