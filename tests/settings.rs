//! k3s settings from SandboxConfigs: taken up, taken back, kept waiting, kept safe; with a real k3s and kubectl.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use std::time::Duration;

use machine::Machine;

/// Applies a SandboxConfig named `mine` with this `spec.k3s`.
fn apply(machine: &Machine, k3s: &str) {
    let object = format!(
        "apiVersion: sandbar.dev/v1alpha1\nkind: SandboxConfig\nmetadata: {{name: mine}}\n\
         spec: {{priority: 10, k3s: {k3s}}}\n"
    );
    machine.kubectl(&["apply", "-f", "-"], &object);
}

fn args(status: &serde_json::Value) -> Vec<&str> {
    status["k3s"]["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect()
}

/// Ready again with this flag, and since the last look restarted.
fn ready_with(machine: &Machine, flag: &str) -> serde_json::Value {
    let status = machine.wait_for(&format!("k3s to run with {flag}"), |status| {
        status["ready"] == true && args(status).contains(&flag)
    });
    let pid = &status["k3s"]["pid"];
    let line = machine.shell(&format!("tr '\\0' '\\n' < /proc/{pid}/cmdline"));
    assert_eq!(line.lines().skip(1).collect::<Vec<_>>(), args(&status), "the process runs with other flags");
    status
}

#[test]
fn settings_are_taken_up_and_bad_ones_taken_back_without_help() {
    let machine = Machine::new();
    machine.run(0, &["up"]);
    machine.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"], "");

    apply(&machine, "{snapshotter: native}");
    let status = ready_with(&machine, "--snapshotter=native");
    assert_eq!(status["k3s"]["restarts"], 1);
    let source = |status: &serde_json::Value, flag: &str| {
        let all = status["k3s"]["argSources"].as_array().unwrap().clone();
        all.into_iter().find(|arg| arg["arg"] == flag).unwrap()["source"].as_str().unwrap().to_owned()
    };
    assert_eq!(source(&status, "--snapshotter=native"), "mine");
    assert_eq!(source(&status, "--disable-agent"), "sandbar");

    // k3s looks for a CNI plugin with this one; sandbar's own answers.
    apply(&machine, "{snapshotter: native, flannelBackend: host-gw}");
    ready_with(&machine, "--flannel-backend=host-gw");

    apply(&machine, "{snapshotter: native, extraArgs: [--no-such-flag]}");
    let status = machine.wait_for("the roll-back", |status| {
        !status["k3s"]["rolledBack"].is_null() && status["ready"] == true
    });
    let error = status["k3s"]["rolledBack"]["error"].as_str().unwrap();
    assert!(error.contains("flag provided but not defined: -no-such-flag"), "{error}");
    assert!(!args(&status).contains(&"--no-such-flag"), "{status:#}");
    assert!(status["events"].to_string().contains("K3sSettingsRolledBack"));
    // Not tried again, not even on request.
    let restarts = status["k3s"]["restarts"].as_u64().unwrap();
    machine.run(0, &["restart"]);
    let status = machine.status();
    assert_eq!(status["k3s"]["restarts"], restarts + 1);
    assert!(!args(&status).contains(&"--no-such-flag") && !status["k3s"]["rolledBack"].is_null());
    assert!(machine.out(&["status"]).contains("settings taken back:"));

    apply(&machine, "{snapshotter: native, restartPolicy: Manual, extraArgs: [--debug]}");
    let status = machine.wait_for("the pending restart", |status| !status["k3s"]["restartPending"].is_null());
    assert!(status["k3s"]["restartPending"].as_str().unwrap().contains("+--debug"), "{status:#}");
    assert!(status["k3s"]["rolledBack"].is_null(), "the bad setting is gone, its report is not: {status:#}");
    machine.run(0, &["restart"]);
    let status = ready_with(&machine, "--debug");
    assert!(status["k3s"]["restartPending"].is_null());

    // Kept over a restart of everything, once proven.
    machine.wait_for("the settings to be proven", |_| {
        machine.shell("cat /var/lib/sandbar/last-good.json 2>/dev/null || true").contains("--debug")
    });
    machine.run(0, &["down"]);
    machine.run(0, &["up"]);
    let status = machine.status();
    assert_eq!(
        (&status["k3s"]["restarts"], args(&status).contains(&"--debug")),
        (&0.into(), true),
        "{status:#}"
    );
    assert!(machine.kubectl(&["get", "configmap", "kept"], "").contains("kept"));

    // Without saved and cluster settings, until the user says so.
    machine.run(0, &["down"]);
    machine.run(0, &["up", "--safe"]);
    let status = machine.status();
    assert!(!args(&status).contains(&"--debug"), "{status:#}");
    assert!(status["table"]["error"].as_str().unwrap().contains("--safe"), "{status:#}");
    machine.run(0, &["restart"]);
    ready_with(&machine, "--debug");

    // A damaged file is ignored, and said to be.
    machine.run(0, &["down"]);
    machine.shell("echo '{' > /var/lib/sandbar/last-good.json");
    let up = machine.run(0, &["up"]);
    let said = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(said.contains("last-good.json: damaged"), "{said}");
    // The settings of the cluster are Manual ones: they wait, as always.
    machine.wait_for("the pending restart", |status| !status["k3s"]["restartPending"].is_null());
}

#[test]
fn files_given_to_up_are_in_force_from_the_start_and_in_the_cluster() {
    let machine = Machine::new();
    machine.shell(
        "cat > /tmp/mine.yaml <<'X'
apiVersion: sandbar.dev/v1alpha1
kind: SandboxConfig
metadata: {name: from-file}
spec:
  priority: 5
  files: [{path: /proc/sys/kernel/panic, value: \"55\\n\"}]
  k3s: {snapshotter: native}
X",
    );
    machine.run(0, &["up", "-f", "/tmp/mine.yaml", "--", "--v=2"]);
    let status = ready_with(&machine, "--snapshotter=native");
    assert_eq!(status["k3s"]["restarts"], 0, "they were in force from the start: {status:#}");
    assert!(args(&status).contains(&"--v=2"));
    assert_eq!(machine.out(&["exec", "--", "cat", "/proc/sys/kernel/panic"]), "55\n");
    assert!(machine.kubectl(&["get", "sbx", "from-file", "-o", "name"], "").contains("from-file"));

    // Live, for a process that was already running.
    let mut reader = machine.sandbar(&[
        "exec",
        "--",
        "sh",
        "-c",
        "until grep -q 66 /proc/sys/kernel/panic; do sleep 0.05; done",
    ]);
    let mut reader = reader.spawn().unwrap();
    machine.kubectl(
        &[
            "patch",
            "sbx",
            "from-file",
            "--type=merge",
            "-p",
            "{\"spec\":{\"files\":[{\"path\":\"/proc/sys/kernel/panic\",\"value\":\"66\\n\"}]}}",
        ],
        "",
    );
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while reader.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < until, "a running process never saw the new value");
        std::thread::sleep(Duration::from_millis(20));
    }
    machine.kubectl(&["delete", "sbx", "from-file"], "");
    machine.wait_for("the profile's value", |_| {
        machine.out(&["exec", "--", "cat", "/proc/sys/kernel/panic"]) == "10\n"
    });

    // It stays away, although its end restarts k3s, and with the next controller.
    machine.wait_for("k3s without its flag", |status| {
        status["ready"] == true && !args(status).contains(&"--snapshotter=native")
    });
    let pid = &machine.status()["controller"]["pid"];
    machine.shell(&format!("kill -9 {pid}"));
    machine.wait_for("another controller", |status| {
        status["controller"]["restarts"] == 1 && status["controller"]["ready"] == true
    });
    let left = machine.kubectl(&["get", "sbx", "-o", "name"], "");
    assert!(left.contains("profile-") && !left.contains("from-file"), "{left}");
}
