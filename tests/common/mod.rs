//! Shared by the tests that trace real programs: building the guests, running commands with a time limit, rule files.
#![allow(dead_code, unused_imports)] // Each test binary uses a part.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests, though no tests themselves.

pub mod answers;
pub mod build;
pub mod process;
pub mod transparent;

use std::path::PathBuf;
use std::process::Command;

pub use build::guest;
pub use process::{Ended, run, run_within};

/// The binary under test.
pub const SANDBAR: &str = env!("CARGO_BIN_EXE_sandbar");

/// `sandbar run` with these rules and this command, to be given further arguments.
pub fn traced(rules: Option<&str>, program: &str) -> Command {
    let mut command = Command::new(SANDBAR);
    command.arg("run");
    if let Some(rules) = rules {
        command.arg("-f").arg(rule_file(rules));
    }
    command.arg("--").arg(program);
    command
}

/// A SandboxConfig file with this `spec`, kept for the life of the test binary's directory.
pub fn rule_file(spec: &str) -> PathBuf {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: sandbar.dev/v1alpha1\nkind: SandboxConfig\nmetadata: {{name: test}}\nspec:\n{indented}"
    );
    let name = format!("{:08x}.yaml", crc32fast::hash(text.as_bytes()));
    let path = build::directory().join(name);
    build::write_if_changed(&path, text.as_bytes());
    path
}

/// Rules that no guest hits, of every kind; the glob makes the tracer resolve every path.
pub const UNRELATED: &str = "\
files:
- {path: /proc/sys/no/such/thing, value: '1', access: ReadWrite}
redirects:
- {from: '/sys/no/**/such*', to: /dev/null}
- {from: '/sys/no/*', sibling: other}
";

/// Root is needed to make namespaces and devices: without it the test says so, and fails where CI relies on it.
pub fn needs_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs root: run the tests as root");
        eprintln!("{test}: NOT RUN, it needs root");
    }
    root
}
