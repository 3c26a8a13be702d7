//! `sandbar doctor` and `sandbar setup`, run as a user runs them, on whatever machine this is.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn sandbar(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandbar")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn doctor_prints_one_json_document_whose_verdict_is_the_exit_code() {
    let ran = sandbar(&["doctor", "-o", "json", "--no-network"]);
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let works = report["modes"]["control-plane"]["works"].as_bool().unwrap();
    assert_eq!(report["success"].as_bool(), Some(works));
    assert_eq!(ran.status.code(), Some(if works { 0 } else { 5 }), "{}", report["modes"]);
    assert_eq!(report["modes"]["control-plane"]["why"].as_array().unwrap().is_empty(), works);
    let files = report["environment"]["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["path"] == "/proc/sys/kernel/panic"));
    assert!(report["environment"]["egress"].is_null(), "--no-network asked the network");
}

#[test]
fn doctor_ends_in_time_and_colours_nothing_in_a_pipe() {
    let start = Instant::now();
    let ran = sandbar(&["doctor"]);
    // Both ptrace and names may each use up their two seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let report = text(&ran.stdout);
    assert!(!report.contains('\x1b'), "escapes in a pipe");
    for part in ["sandbox\n-------\n", "control-plane mode will", "node mode will"] {
        assert!(report.contains(part), "{part} is missing:\n{report}");
    }
}

#[test]
fn doctor_leaves_nothing_behind() {
    sandbar(&["doctor", "--no-network"]);
    for dir in ["/var/lib", "/var/lib/rancher", "/tmp"] {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        // Others may be at work beside us; only what a finished one left would stay for long.
        let left: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.display().to_string().contains(".sandbar-probe-"))
            .filter(|path| !alive(path))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn alive(scratch: &Path) -> bool {
    let pid = scratch.display().to_string().rsplit('-').next().map(str::to_owned);
    pid.is_some_and(|pid| Path::new("/proc").join(pid).exists())
}

#[test]
fn setup_writes_a_hook_once_and_refuses_a_malformed_file() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().to_str().unwrap();
    let arguments = ["setup", "--session-hook", "claude", "--project", project];
    let first = sandbar(&arguments);
    assert!(first.status.success() && text(&first.stdout).contains("settings.json: written"), "{first:?}");
    let second = sandbar(&arguments);
    assert!(text(&second.stdout).contains("settings.json: already as it should be"), "{second:?}");

    let settings = dir.path().join(".claude/settings.json");
    std::fs::write(&settings, "{ not json").unwrap();
    let refused = sandbar(&arguments);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("line 1: a name in quotes is missing"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), "{ not json");
}

#[test]
fn setup_knows_its_tools() {
    assert!(text(&sandbar(&["setup", "--with", "list"]).stdout).contains("kubectl"));
    let unknown = sandbar(&["setup", "--check", "--only", "emacs"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("hint: sandbar setup --with list"));
}
