//! Starts and ends that meet, and what they touch: two `up`, a `down` meanwhile, things of others. Each test has a machine of its
//! own, with a real k3s.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use machine::{Machine, text};

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn supervisors(machine: &Machine) -> Vec<String> {
    machine.processes().into_iter().filter(|line| line.contains("sandbar supervise")).collect()
}

fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !reached() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A k3s that first waits when its first argument is `on`.
fn slow_k3s(machine: &Machine, on: &str, seconds: u32) -> &'static str {
    let k3s = machine::k3s();
    machine.shell(&format!(
        "printf '#!/bin/sh\\n[ \"$1\" != {on} ] || sleep {seconds}\\nexec {} \"$@\"\\n' >/root/slow-k3s; chmod +x /root/slow-k3s",
        k3s.display()
    ));
    "/root/slow-k3s"
}

fn ended(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

#[test]
fn of_two_that_start_one_does_and_the_other_waits_for_it() {
    let machine = Machine::new();
    let ups: Vec<Child> = (0..3).map(|_| start(&mut machine.sandbar(&["up"]))).collect();
    for up in ups {
        let output = ended(up);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("export KUBECONFIG="), "{}", text(&output));
    }
    assert_eq!(supervisors(&machine).len(), 1);
    let status = machine.status();
    assert_eq!((&status["ready"], &status["k3s"]["restarts"]), (&true.into(), &0.into()), "{status:#}");

    // The same while another one ends.
    let downs: Vec<Child> = (0..2).map(|_| start(&mut machine.sandbar(&["down"]))).collect();
    let up = start(&mut machine.sandbar(&["up"]));
    for down in downs {
        let output = ended(down);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
    let output = ended(up);
    if output.status.success() {
        machine.run(0, &["down"]);
    }
    assert_eq!(machine.processes(), [""; 0]);
    assert!(machine.shell("ls /run").lines().all(|name| name != "sandbar"));
}

#[test]
fn a_start_that_takes_long_is_waited_for_and_can_be_stopped() {
    let machine = Machine::new();
    let slow = slow_k3s(&machine, "--version", 8);
    let up = start(machine.sandbar(&["up", "--k3s", slow]).env("SANDBAR_CACHE", "/root/cache"));
    // What a hook says, at once.
    let waiting = Instant::now();
    machine.run(0, &["status", "--wait"]);
    assert!(waiting.elapsed() > Duration::from_secs(5), "it was not slow, so nothing is shown");
    let output = ended(up);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    machine.run(0, &["down"]);

    // Nothing is starting.
    assert!(machine.error(3, &["status", "--wait"]).contains("no supervisor"));

    let mut up = start(machine.sandbar(&["up", "--k3s", slow]).env("SANDBAR_CACHE", "/root/other-cache"));
    wait_until("the lock", || machine.shell("cat /run/sandbar/lock 2>/dev/null || true").contains(" up\n"));
    machine.run(0, &["down"]);
    assert!(!up.wait().unwrap().success());
    assert_eq!(supervisors(&machine), [""; 0]);
}

#[test]
fn a_supervisor_that_dies_is_noticed_by_the_up_that_started_it() {
    let machine = Machine::new();
    let slow = slow_k3s(&machine, "server", 600);
    let up = start(&mut machine.sandbar(&["up", "--k3s", slow]));
    wait_until("the supervisor", || machine.sandbar(&["status"]).output().unwrap().status.success());
    let killed_at = Instant::now();
    machine.shell(&format!("kill -9 {}", machine.status()["supervisor"]["pid"]));
    let output = ended(up);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("the supervisor ended while waiting for k3s"), "{}", text(&output));
    assert!(killed_at.elapsed() < Duration::from_secs(10));
}

#[test]
fn down_touches_nothing_that_sandbar_did_not_make() {
    let machine = Machine::new();
    machine.shell(
        "mkdir -p /var/lib/kubelet/pods/theirs /var/lib/rancher/k3s/server /etc/rancher/k3s /srv/sb
         mount -t tmpfs theirs /var/lib/kubelet/pods/theirs
         echo mine >/var/lib/rancher/k3s/server/db",
    );
    let theirs = || machine.shell("grep -c ' /var/lib/kubelet/pods/theirs ' /proc/mounts || true");
    let purged = machine.run(0, &["down", "--purge"]);
    let said = text(&purged);
    assert!(said.contains("not running") && said.contains("no cluster is on record"), "{said}");
    assert_eq!((theirs().trim(), machine.shell("cat /var/lib/rancher/k3s/server/db").trim()), ("1", "mine"));

    // Another data directory and kubeconfig, by names that mean something where we are alone.
    machine.shell("echo 'tls-san: [here]' >/etc/rancher/k3s/config.yaml; echo mine >/srv/sb/mine");
    let up = ["up", "--", "--data-dir", "sb", "--write-kubeconfig=sb/kubeconfig"];
    let here = machine.command("env").args(["-C", "/srv", env!("CARGO_BIN_EXE_sandbar")]).args(up).output();
    let here = here.unwrap();
    assert!(
        here.status.success() && text(&here).contains("KUBECONFIG=/srv/sb/kubeconfig"),
        "{}",
        text(&here)
    );
    machine.shell("test -s /srv/sb/kubeconfig && test -d /srv/sb/server");
    machine.shell(&format!("kill -9 {}", machine.status()["supervisor"]["pid"]));
    wait_until("k3s's end", || machine.processes().is_empty());
    machine.run(0, &["down", "--purge"]);
    assert_eq!(machine.shell("ls /srv/sb"), "mine\n");
    assert_eq!(theirs().trim(), "1", "it was unmounted");
    assert_eq!(
        machine.shell("cat /var/lib/rancher/k3s/server/db /etc/rancher/k3s/config.yaml").lines().count(),
        2
    );
    machine.shell("test ! -e /var/lib/sandbar");
}

#[test]
fn a_directory_that_others_use_is_left_to_them() {
    let machine = Machine::new();
    for place in ["/tmp", "/var", "/run"] {
        let before = machine.shell(&format!("stat -c %a {place}"));
        for option in ["--run-dir", "--state-dir"] {
            let said = machine.error(1, &["up", option, place]);
            assert!(said.contains(&format!("cannot use {place}: others may enter it")), "{said}");
            assert!(said.contains("a directory of its own"), "{said}");
        }
        assert_eq!(machine.shell(&format!("stat -c %a {place}")), before);
    }
    // As an init system makes them.
    machine.shell("mkdir -m 755 /run/sandbar /var/lib/sandbar");
    machine.run(0, &["up"]);
    assert_eq!(machine.shell("stat -c %a /run/sandbar /var/lib/sandbar"), "700\n700\n");
}
