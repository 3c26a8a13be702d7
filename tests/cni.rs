//! The CNI plugin with the real host-local, on Linux in namespaces of its own, and inside gVisor in both generations and the
//! stricter sandbox: this test binary runs its own hidden test `inside` there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cni/cases.rs"]
mod cases;
mod common;
#[path = "cni/node.rs"]
mod node;
#[path = "cni/talk.rs"]
mod talk;

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Set for `inside`: where it is.
const PLACE: &str = "SANDBAR_TEST_CNI_PLACE";
/// The directory of host-local.
const PLUGINS: &str = "SANDBAR_TEST_CNI_PLUGINS";
/// The port of a server outside the sandbox, for gVisor.
const OUTSIDE: &str = "SANDBAR_TEST_CNI_OUTSIDE";

#[test]
fn on_linux() {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "--"]);
    in_place("linux", command, &[]);
}

#[test]
fn in_the_current_gvisor() {
    in_gvisor("gvisor", &["--generation", "current"]);
}

#[test]
fn in_the_gvisor_that_reports_4_4() {
    in_gvisor("gvisor", &["--generation", "4.4"]);
}

#[test]
fn in_the_stricter_sandbox() {
    in_gvisor("strict", &["--generation", "current", "--strict"]);
}

fn in_gvisor(place: &str, options: &[&str]) {
    // The sandboxes reach each other's slots; side by side they only take time from each other.
    static ONE: Mutex<()> = Mutex::new(());
    let _turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let outside = talk::serve(None, "0.0.0.0:0".parse().unwrap()).port().to_string();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/gvisor/run.sh"));
    command.args(options).args(["--cwd", env!("CARGO_MANIFEST_DIR")]);
    in_place(place, command, &[(OUTSIDE, &outside)]);
}

/// Runs `inside` by `command` and wants its word that every case was run.
fn in_place(place: &str, mut command: Command, more: &[(&str, &str)]) {
    assert!(nix::unistd::geteuid().is_root(), "pods need network namespaces: run the tests as root");
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/cni/build.sh");
    let plugins = common::run_within(&mut Command::new(plugins), Duration::from_secs(300));
    assert!(plugins.ok(), "{plugins:?}");
    let variables = [(PLACE, place), (PLUGINS, plugins.stdout.trim())];
    for (name, value) in variables.iter().chain(more) {
        if place == "linux" {
            command.env(name, value);
        } else {
            command.args(["--env", &format!("{name}={value}")]);
        }
    }
    if place != "linux" {
        command.arg("--");
    }
    command.arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "inside"]);
    // The first time run.sh builds runsc.
    let ended = common::run_within(&mut command, Duration::from_secs(420));
    print!("{}", ended.stdout);
    let word = format!("{} cases of the CNI plugin, 0 failed", cases::CASES.len());
    assert!(ended.ok() && ended.stdout.contains(&word), "{command:?}: {}\n{}", ended.how, ended.stderr);
}

#[test]
#[ignore = "run by the other tests, in a place of its own"]
fn inside() {
    let place = std::env::var(PLACE).unwrap();
    let outside = std::env::var(OUTSIDE).ok().map(|port| port.parse().unwrap());
    let node = node::Node::prepare(&place, Path::new(&std::env::var(PLUGINS).unwrap()), outside);
    let mut failed = Vec::new();
    for (name, case) in cases::CASES {
        let done = std::panic::catch_unwind(|| {
            case(&node);
            node.assert_nothing_is_left();
        });
        println!("{place}: {name}: {}", if done.is_ok() { "ok" } else { "FAILED" });
        if done.is_err() {
            failed.push(name);
        }
        node.clean();
    }
    println!("{place}: {} cases of the CNI plugin, {} failed {failed:?}", cases::CASES.len(), failed.len());
    assert!(failed.is_empty());
}
