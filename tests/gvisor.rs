//! The same guests inside gVisor, in both generations: one sandbox each, in which this test binary runs its own
//! hidden test `inside`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::answers;
use common::transparent::{CASES, all_that_differ};

/// Set inside the sandbox.
const INSIDE: &str = "SANDBAR_TEST_INSIDE_GVISOR";

#[test]
fn guests_in_the_current_generation() {
    in_sandbox("current");
}

#[test]
fn guests_in_the_generation_that_reports_4_4() {
    in_sandbox("4.4");
}

/// Runs `inside` in a sandbox and wants its word that everything was run.
fn in_sandbox(generation: &str) {
    if !common::needs_root("the guests in gVisor") {
        return;
    }
    // One after the other: side by side they only take time from each other, and some guests have time limits.
    static ONE: Mutex<()> = Mutex::new(());
    let _turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    common::guest("ends"); // builds them all, outside
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/gvisor/run.sh");
    let myself = std::env::current_exe().unwrap();
    let mut command = Command::new(&runner);
    command.args(["--generation", generation, "--env", &format!("{INSIDE}={generation}"), "--cwd"]);
    command.arg(env!("CARGO_MANIFEST_DIR")).arg("--").arg(myself);
    command.args(["--ignored", "--exact", "--nocapture", "inside"]);
    // The first time run.sh builds runsc.
    let ended = common::run_within(&mut command, Duration::from_secs(300));
    print!("{}", ended.stdout);
    assert!(
        ended.ok()
            && ended.stdout.contains(&format!("{} guests compared", CASES.len()))
            && ended.stdout.contains(&format!("{} guests with rules", answers::CASES.len())),
        "{} --generation {generation}: {}\n{}",
        runner.display(),
        ended.how,
        ended.stderr
    );
}

#[test]
#[ignore = "run by the other tests, in a sandbox"]
fn inside() {
    let generation = std::env::var(INSIDE).unwrap_or_default();
    let mut wrong = all_that_differ(Some(&generation));
    println!("{} guests compared in gVisor {generation}, {} differ", CASES.len(), wrong.len());
    let failed = answers::all_that_fail(true);
    println!("{} guests with rules in gVisor {generation}, {} failed", answers::CASES.len(), failed.len());
    wrong.extend(failed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
