//! The CNI plugin, for kernels where the bridge and ptp plugins fail: what the binary is when it is called `sandbar-cni`.
//!
//! One call is one process: the command comes in environment variables, the configuration on stdin, the answer goes to stdout
//! (<https://www.cni.dev/docs/spec/>). Calls on one state directory take turns; none takes longer than a bound.

mod add;
mod antispoof;
mod call;
mod check;
pub mod config;
mod conflist;
pub mod egress;
mod error;
mod ipam;
mod iptables;
mod kinds;
mod links;
mod netlink;
mod netns;
mod plug;
mod ports;
mod remove;
mod result;
pub mod rules;
mod state;
pub mod userspace;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

pub use conflist::{FILE, collect_all, conflist};
pub use kinds::tried as kinds_of_links;

use call::{Call, Verb};
use config::{Config, NEWEST, VERSIONS, at_least};
use error::CniError;
use ipam::Ipam;
use state::Store;

/// The name that it is called by, and its `type` in a configuration.
pub const NAME: &str = "sandbar-cni";

/// A runtime gives a pod's set-up two to four minutes.
const LIMIT: Duration = Duration::from_secs(110);
/// For the calls before this one; the rest is for its own work.
const TURN: Duration = Duration::from_secs(60);
/// A larger configuration is none.
const LARGEST: u64 = 4 << 20;

type Answer = Result<Option<Value>, (CniError, String)>;

/// Whether pods can have a way out of this node, and host ports; why not, if they cannot.
pub fn way_out() -> Result<(), String> {
    iptables::Iptables::find().map(drop)
}

/// The network namespaces of the pods that are attached according to the state in this directory.
pub fn namespaces(state: &Path) -> Vec<PathBuf> {
    state::read_all(state).into_iter().map(|attachment| attachment.netns).collect()
}

/// Removes links of these names; none of a name is fine.
pub fn remove_links(names: &[&str]) -> io::Result<()> {
    let mut kernel = netlink::Netlink::open()?;
    names.iter().try_for_each(|name| kernel.remove(name))
}

/// The exit code, if the program was called by that name.
pub fn answer_to_name() -> Option<u8> {
    let name = std::env::args_os().next()?;
    (Path::new(&name).file_name()? == NAME).then(run)
}

/// Does what is asked on a thread of its own, so that the answer is in time even if the kernel's is not.
fn run() -> u8 {
    let (sender, receiver) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || sender.send(answer()));
    let answer = match started {
        Err(error) => Err((CniError::io("start a thread")(error), NEWEST.to_owned())),
        Ok(_) => receiver.recv_timeout(LIMIT).unwrap_or_else(|end| {
            let error = match end {
                mpsc::RecvTimeoutError::Timeout => CniError::TooSlow { seconds: LIMIT.as_secs() },
                mpsc::RecvTimeoutError::Disconnected => CniError::Broken,
            };
            Err((error, NEWEST.to_owned()))
        }),
    };
    let (code, document) = match answer {
        Ok(document) => (0, document),
        Err((error, version)) => (1, Some(error.document(&version))),
    };
    if let Some(document) = document {
        // Nobody to tell, should the runtime have gone.
        let _ = writeln!(io::stdout(), "{document}");
    }
    code
}

fn answer() -> Answer {
    let early = |error| (error, NEWEST.to_owned());
    let call = Call::read(|name| std::env::var(name).ok()).map_err(early)?;
    let mut text = Vec::new();
    let read = io::stdin().take(LARGEST).read_to_end(&mut text);
    read.map_err(CniError::io("read the configuration from stdin")).map_err(early)?;
    if call.verb == Verb::Version {
        let asked: Option<Value> = serde_json::from_slice(&text).ok();
        return Ok(Some(check::versions(asked.as_ref().and_then(|config| config["cniVersion"].as_str()))));
    }
    let config = Config::read(&text).map_err(early)?;
    perform(&call, &config, &text).map_err(|error| (error, config.cni_version.clone()))
}

fn perform(call: &Call, config: &Config, text: &[u8]) -> Result<Option<Value>, CniError> {
    let since = match call.verb {
        Verb::Check => "0.4.0",
        Verb::Gc | Verb::Status => "1.1.0",
        _ => VERSIONS[0],
    };
    if !at_least(&config.cni_version, since) {
        return Err(CniError::Version(format!("{} for this command", config.cni_version)));
    }
    let ipam = Ipam::find(call, config, text)?;
    if call.verb == Verb::Status {
        return check::status(&ipam).map(|()| None);
    }
    let store = Store::open(&config.state_dir, TURN)?;
    match call.verb {
        Verb::Add => {
            let outcome = add::add(call, config, &ipam, &store)?;
            return Ok(Some(outcome.document(&config.cni_version)));
        }
        Verb::Del => remove::del(call, config, &ipam, &store)?,
        Verb::Check => check::check(call, config, &ipam, &store)?,
        Verb::Gc => remove::gc(config, &ipam, &store)?,
        Verb::Status | Verb::Version => {}
    }
    Ok(None)
}
