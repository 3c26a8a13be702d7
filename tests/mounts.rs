//! Rules that mounts serve: seen, live, by k3s, which is not traced; nor is anything else with `interception: Mount`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use std::time::Duration;

use machine::Machine;

const PANIC: &str = "/proc/sys/kernel/panic";
const ABSENT: &str = "/proc/sys/kernel/sandbar_test/absent";

/// Applies a SandboxConfig with this spec.
fn apply(machine: &Machine, name: &str, spec: &str) {
    let object = format!(
        "apiVersion: sandbar.dev/v1alpha1\nkind: SandboxConfig\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    );
    machine.kubectl(&["apply", "-f", "-"], &object);
}

/// The rule for a path, as status shows it.
fn rule(status: &serde_json::Value, pattern: &str) -> Option<serde_json::Value> {
    let rules = status["table"]["rules"].as_array().unwrap();
    rules.iter().find(|rule| rule["pattern"] == pattern).cloned()
}

fn means(status: &serde_json::Value, pattern: &str) -> String {
    rule(status, pattern).map_or("no rule".into(), |rule| rule["means"].as_str().unwrap().to_owned())
}

/// Waits until a program that has run all the while reads this.
fn seen(machine: &Machine, expected: &str) {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let last = machine.shell("tail -n 1 /tmp/seen");
        if last.trim() == expected {
            return;
        }
        assert!(std::time::Instant::now() < until, "waited for {expected:?}, last seen {last:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn tracers(machine: &Machine) -> String {
    machine.shell("grep -h TracerPid /proc/[0-9]*/status 2>/dev/null | sort -u | tr -d '\\n'")
}

#[test]
fn rules_are_mounted_live_and_nothing_is_traced() {
    let machine = Machine::new();
    let kernels = machine.shell(&format!("cat {PANIC}"));
    let before = machine.shell("cat /proc/self/mountinfo");
    machine.shell("mkdir -p /var/lib/sandbar/files; echo over > /var/lib/sandbar/files/over");
    machine.shell(
        "cat > /tmp/mount.yaml <<'X'
apiVersion: sandbar.dev/v1alpha1
kind: SandboxConfig
metadata: {name: mount}
spec: {interception: Mount}
X",
    );
    machine.run(0, &["up", "-f", "/tmp/mount.yaml"]);
    let status = machine.status();
    assert_eq!(means(&status, PANIC), "mount", "{status:#}");
    assert_eq!(status["interceptor"]["backend"], "", "{status:#}");
    assert_eq!(tracers(&machine), "TracerPid:\t0");
    assert_eq!(machine.out(&["exec", "--", "cat", PANIC]), "10\n");
    assert_eq!(machine.shell(&format!("cat {PANIC}")), kernels, "the machine's own has changed");
    let pid = &status["k3s"]["pid"];
    assert_eq!(machine.shell(&format!("cat /proc/{pid}/root{PANIC}")), "10\n", "k3s sees something else");
    // As a pod gets a directory of the node.
    let pod = "mkdir /tmp/pod; mount --rbind /run /tmp/pod; ls -A /tmp/pod/sandbar/mounts";
    let seen_by_pod = machine.out(&["exec", "--", "unshare", "--mount", "sh", "-c", pod]);
    assert_eq!(seen_by_pod, "", "a pod would get what is mounted for k3s");

    // One process that runs throughout.
    let watch = format!(
        "while :; do read -r panic < {PANIC}; absent=-; if [ -e {ABSENT} ]; then read -r absent < {ABSENT}; fi; \
         echo \"$panic $absent $(cat /proc/sys/kernel/ostype)\" >> /tmp/seen; sleep 0.05; done"
    );
    let mut watcher = machine.sandbar(&["exec", "--", "bash", "-c", &watch]).spawn().unwrap();
    machine.shell("until [ -s /tmp/seen ]; do sleep 0.1; done");
    seen(&machine, "10 - Linux");
    let files = |panic: &str| {
        format!(
            "{{files: [{{path: {PANIC}, value: \"{panic}\\n\"}}, {{path: {ABSENT}, value: \"new\\n\", access: ReadWrite}}], \
             redirects: [{{from: /proc/sys/kernel/ostype, to: /var/lib/sandbar/files/over}}, \
             {{from: \"/proc/sys/kernel/*\", to: /dev/null}}, {{from: /proc/nowhere, to: /dev/null}}]}}"
        )
    };
    apply(&machine, "mine", &files("42"));
    seen(&machine, "42 new over");
    apply(&machine, "mine", &files("5"));
    seen(&machine, "5 new over");
    machine.run(0, &["exec", "--", "sh", "-c", &format!("echo written > {ABSENT}")]);
    seen(&machine, "5 written over");
    let refused =
        machine.sandbar(&["exec", "--", "sh", "-c", &format!("echo 1 > {PANIC}")]).output().unwrap();
    assert!(!refused.status.success(), "a read-only file takes writes");

    // What mounts cannot serve is told, everywhere.
    let status = machine.status();
    for (pattern, reason) in [("/proc/sys/kernel/*", "a pattern"), ("/proc/nowhere", "come and go")] {
        assert_eq!(means(&status, pattern), "none", "{status:#}");
        let told = rule(&status, pattern).unwrap()["reason"].as_str().unwrap().to_owned();
        assert!(told.contains(reason), "{told}");
    }
    assert!(machine.out(&["rules"]).contains("not served: /proc/nowhere: "));
    assert!(status["events"].to_string().contains("RuleNotServed"), "{status:#}");
    let condition = "jsonpath={.status.conditions[?(@.type==\"RulesProgrammed\")].message}";
    machine.kubectl(&["wait", "--for=condition=RulesProgrammed=False", "sbx/mine", "--timeout=20s"], "");
    let message = machine.kubectl(&["get", "sbx", "mine", "-o", condition], "");
    assert!(message.contains("2 of 5 rules not served") && message.contains("a pattern"), "{message}");

    // Gone with their object, live too.
    machine.kubectl(&["delete", "sbx", "mine"], "");
    seen(&machine, "10 - Linux");
    assert_eq!(tracers(&machine), "TracerPid:\t0");

    // Traced again, and back: each takes a restart of k3s, which is automatic.
    apply(&machine, "mount", "{interception: Trace}");
    machine.wait_for("k3s to be traced", |status| status["ready"] == true && means(status, PANIC) == "trace");
    assert_eq!(machine.out(&["exec", "--", "cat", PANIC]), "10\n");
    assert_ne!(tracers(&machine), "TracerPid:\t0");
    apply(&machine, "mount", "{interception: Mount, k3s: {restartPolicy: Manual}}");
    let status = machine.wait_for("the pending restart", |status| !status["k3s"]["restartPending"].is_null());
    assert!(status["k3s"]["restartPending"].as_str().unwrap().contains("mounts"), "{status:#}");
    assert_eq!(means(&status, PANIC), "trace");
    machine.run(0, &["restart"]);
    machine
        .wait_for("k3s to be untraced", |status| status["ready"] == true && means(status, PANIC) == "mount");
    let status = machine.status();
    assert_eq!(status["k3s"]["restarts"], 2, "{status:#}");

    machine.run(0, &["down"]);
    let _ = watcher.wait();
    assert_eq!(machine.processes(), [] as [String; 0]);
    assert_eq!(machine.shell("cat /proc/self/mountinfo"), before, "a mount is left");
    assert_eq!(machine.shell("ls /run/sandbar 2>/dev/null || true"), "");
}

#[test]
fn by_itself_a_control_plane_is_not_traced_and_what_is_run_in_it_is() {
    let machine = Machine::new();
    machine.run(0, &["up"]);
    let status = machine.status();
    let pid = status["k3s"]["pid"].as_u64().unwrap();
    let of_k3s = |what: &str| machine.shell(&format!("cat /proc/{pid}/root{what}"));
    assert_eq!(status["interceptor"]["traced"], "Commands", "{status:#}");
    assert_eq!(machine.shell(&format!("grep TracerPid /proc/{pid}/status")), "TracerPid:\t0\n");
    assert_ne!(machine.out(&["exec", "--", "grep", "TracerPid", "/proc/self/status"]), "TracerPid:\t0\n");
    assert_eq!((of_k3s(PANIC), machine.out(&["exec", "--", "cat", PANIC])), ("10\n".into(), "10\n".into()));

    // One process that runs throughout: a rule for which there is no mount needs no restart to reach it.
    let watch = format!(
        "while :; do read -r panic < {PANIC}; echo \"$panic $(stat -f -c %T /)\" >> /tmp/seen; sleep 0.05; done"
    );
    let mut watcher = machine.sandbar(&["exec", "--", "bash", "-c", &watch]).spawn().unwrap();
    machine.shell("until [ -s /tmp/seen ]; do sleep 0.1; done");
    let files = format!("files: [{{path: {PANIC}, value: \"42\\n\"}}]");
    apply(&machine, "mine", &format!("{{{files}, filesystems: [{{path: /, reportAs: btrfs}}]}}"));
    seen(&machine, "42 btrfs");
    assert_eq!(of_k3s(PANIC), "42\n");
    let status = machine.status();
    assert_eq!((means(&status, PANIC), means(&status, "/")), ("mount".into(), "trace".into()), "{status:#}");
    assert!(rule(&status, PANIC).unwrap()["hits"].as_u64() > Some(0), "{status:#}");
    assert_eq!(status["k3s"]["restarts"], 0, "{status:#}");
    machine.kubectl(&["delete", "sbx", "mine"], "");
    seen(&machine, &format!("10 {}", machine.shell("stat -f -c %T /").trim()));

    machine.run(0, &["down"]);
    let _ = watcher.wait();
    assert_eq!(machine.processes(), [] as [String; 0]);
}

#[test]
fn nothing_is_left_of_a_supervisor_that_was_killed() {
    let machine = Machine::new();
    // As in a sandbox: no such device, in a directory that takes names.
    machine.shell(
        "mount -t tmpfs dev /mnt; touch /mnt/null; mount --bind /dev/null /mnt/null; mount --rbind /mnt /dev",
    );
    let before = machine.shell("ls /dev; cat /proc/self/mountinfo");
    machine.shell(
        "cat > /tmp/mount.yaml <<'X'
apiVersion: sandbar.dev/v1alpha1
kind: SandboxConfig
metadata: {name: mount}
spec: {interception: Mount, redirects: [{from: /dev/kmsg, to: /dev/null}]}
X",
    );
    machine.run(0, &["up", "-f", "/tmp/mount.yaml"]);
    let status = machine.status();
    assert_eq!(means(&status, "/dev/kmsg"), "mount", "{status:#}");
    assert_eq!(
        machine.out(&["exec", "--", "sh", "-c", "cat /dev/kmsg; [ -c /dev/kmsg ] && echo device"]),
        "device\n"
    );
    machine.shell(&format!("kill -9 {}", status["supervisor"]["pid"]));
    machine.run(0, &["down"]);
    assert_eq!(machine.shell("ls /dev; cat /proc/self/mountinfo"), before);
    // The kernel may still be at ending k3s.
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while !machine.processes().is_empty() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(machine.processes(), [] as [String; 0]);
}
