//! The supervisor with a real k3s: up, exec, crashes, refusals, down. Each test has a machine of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use machine::Machine;

fn pid_of(status: &serde_json::Value, component: &str) -> u64 {
    status[component]["pid"].as_u64().unwrap_or_else(|| panic!("no pid of {component} in {status:#}"))
}

#[test]
fn a_cluster_comes_up_is_adopted_and_leaves_nothing_behind() {
    let machine = Machine::new();
    let mounts = machine.shell("cat /proc/mounts");
    // A descriptor that a careless caller leaves open must not reach the daemon.
    let leak = File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let up = machine.run(0, &["up"]);
    assert!(
        String::from_utf8_lossy(&up.stdout)
            .contains("export KUBECONFIG=/etc/rancher/k3s/k3s.yaml\nkubectl get ns")
    );
    let status = machine.status();
    assert_eq!((&status["ready"], &status["mode"]), (&true.into(), &"control-plane".into()), "{status:#}");
    assert_eq!(status["interceptor"]["backend"], "seccomp-trace");
    assert!(status["k3s"]["version"].as_str().unwrap().starts_with("v1."), "{status:#}");

    let supervisor = pid_of(&status, "supervisor");
    let seen = machine.shell(&format!(
        "readlink /proc/{supervisor}/cwd /proc/{supervisor}/fd/0; ls -l /proc/{supervisor}/fd; \
         cut -d' ' -f5-7 /proc/{supervisor}/stat"
    ));
    assert!(seen.starts_with("/\n/dev/null\n"), "{seen}");
    assert_eq!(seen.matches("/dev/null").count(), 2, "an inherited descriptor {}: {seen}", leak.as_raw_fd());
    assert!(seen.trim_end().ends_with(" 0"), "it has a controlling terminal: {seen}");
    assert_eq!(
        machine.shell("stat -c %a /run/sandbar /run/sandbar/control.sock /var/lib/sandbar"),
        "700\n600\n700\n"
    );

    let again = machine.run(0, &["up", "--", "--debug"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("Already running") && said.contains("other flags"), "{said}");
    assert_eq!(machine.status()["supervisor"], status["supervisor"]);

    assert!(machine.out(&["kubeconfig"]).contains("certificate-authority-data"));
    machine.out(&["kubeconfig", "--merge"]);
    assert_eq!(machine.shell("stat -c %a /root/.kube/config"), "600\n");
    assert!(machine.out(&["logs", "k3s", "--tail", "5"]).lines().count() == 5);
    assert!(machine.out(&["logs"]).contains("==> supervisor <=="));
    assert!(machine.out(&["rules"]).contains("/proc/sys/kernel/panic"));

    machine.run(0, &["down"]);
    assert_eq!(machine.processes(), [""; 0]);
    assert_eq!(
        machine.shell("ls -d /run/sandbar 2>&1 || true"),
        "ls: cannot access '/run/sandbar': No such file or directory\n"
    );
    assert_eq!(machine.shell("cat /proc/mounts"), mounts);
    assert!(machine.error(3, &["status"]).contains("sandbar up"));
    assert_eq!(machine.out(&["down"]), "not running\n");
    let purged = machine.out(&["down", "--purge"]);
    for removed in ["/var/lib/rancher/k3s", "/etc/rancher", "/var/lib/sandbar"] {
        assert!(purged.contains(&format!("removed {removed}\n")), "{purged}");
    }
}

#[test]
fn exec_passes_stdio_directory_environment_signals_and_terminal_through() {
    let machine = Machine::new();
    machine.run(0, &["up"]);
    let exec = |args: &[&str]| machine.sandbar(&[&["exec", "--"], args].concat());
    let output = exec(&["sh", "-c", "cat /proc/sys/kernel/panic; pwd; echo $WORD >&2; exit 7"])
        .env("WORD", "hello")
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), &*output.stdout, &*output.stderr),
        (Some(7), &b"10\n/\n"[..], &b"hello\n"[..])
    );

    let mut cat = exec(&["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through");

    assert_eq!(exec(&["sh", "-c", "kill -KILL $$"]).status().unwrap().code(), Some(137));
    let missing = exec(&["no-such-command"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(127), "{}", machine::text(&missing));

    // What the supervisor did to its own signals is not inherited.
    let mask = exec(&["grep", "SigBlk", "/proc/self/status"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&mask), "SigBlk:\t0000000000000000\n");

    // A signal to the client reaches the command, and its answer comes back.
    let trap = "trap 'echo got; exit 3' USR1; echo on; while :; do sleep 0.05; done";
    let mut trapping = exec(&["sh", "-c", trap]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = trapping.stdout.take().unwrap();
    let mut first = [0; 3];
    out.read_exact(&mut first).unwrap();
    machine.shell("pkill -USR1 -f '^[^ ]*sandbar exec'");
    assert_eq!(trapping.wait().unwrap().code(), Some(3));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got\n");

    // A client that is killed takes its command with it.
    let mut killed = exec(&["sleep", "4242"]).spawn().unwrap();
    wait_until(|| machine.shell("pgrep -fc '^sleep 4242' || true").trim() == "1");
    machine.shell("pkill -KILL -f '^[^ ]*sandbar exec'");
    killed.wait().unwrap();
    wait_until(|| machine.shell("pgrep -fc '^sleep 4242' || true").trim() == "0");

    // With a terminal: script(1) gives the client one.
    let script = format!(
        "stty rows 33 cols 77 2>/dev/null; script -qec \"stty rows 33 cols 77; {} exec -- sh -c 'tty; stty size; exit 5'\" /dev/null",
        env!("CARGO_BIN_EXE_sandbar")
    );
    let terminal = machine.command("sh").args(["-c", &script]).output().unwrap();
    let seen = String::from_utf8_lossy(&terminal.stdout).replace('\r', "");
    assert_eq!(terminal.status.code(), Some(5), "{}", machine::text(&terminal));
    assert!(seen.contains("/dev/pts/") && seen.contains("33 77"), "{seen}");
}

#[test]
fn what_is_killed_comes_back_with_its_data() {
    let machine = Machine::new();
    machine.run(0, &["up"]);
    machine.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"], "");
    let before = machine.status();

    machine.shell(&format!("kill -9 {}", pid_of(&before, "k3s")));
    let after = machine
        .wait_for("k3s to be restarted", |status| status["ready"] == true && status["k3s"]["restarts"] == 1);
    assert_ne!(after["k3s"]["pid"], before["k3s"]["pid"]);
    assert!(after["events"].to_string().contains("killed by signal 9"), "{after:#}");
    assert_eq!(after["controller"]["pid"], before["controller"]["pid"]);

    let killed_at = Instant::now();
    machine.shell(&format!("kill -9 {}", pid_of(&before, "controller")));
    assert_eq!(machine.out(&["exec", "--", "cat", "/proc/sys/kernel/panic"]), "10\n");
    machine.wait_for("the controller to be back", |status| {
        status["ready"] == true && status["controller"]["restarts"] == 1
    });
    assert!(killed_at.elapsed() < Duration::from_secs(15));

    machine.shell(&format!("kill -9 {}", pid_of(&before, "supervisor")));
    wait_until(|| machine.processes().is_empty());
    assert!(machine.error(3, &["exec", "--", "true"]).contains("no supervisor"));
    machine.run(0, &["up"]);
    assert!(machine.kubectl(&["get", "configmap", "kept"], "").contains("kept"));
    let memory = memory_of(&machine, &["supervisor", "controller"]);
    println!("supervisor and controller: {memory} kB");

    machine.shell(&format!("kill -9 {}", pid_of(&machine.status(), "supervisor")));
    wait_until(|| machine.processes().is_empty());
    assert_eq!(machine.out(&["down"]), "not running\n");
    assert!(machine.shell("ls /run").lines().all(|name| name != "sandbar"));
}

fn memory_of(machine: &Machine, components: &[&str]) -> u64 {
    let status = machine.status();
    let rss = |component: &&str| {
        let pid = pid_of(&status, component);
        machine
            .shell(&format!("awk '/^VmRSS/ {{print $2}}' /proc/{pid}/status"))
            .trim()
            .parse::<u64>()
            .unwrap()
    };
    components.iter().map(rss).sum()
}

#[test]
fn what_cannot_work_is_refused_with_reason_code_and_hint() {
    let machine = Machine::new();
    assert!(machine.error(1, &["up", "--k3s", "/no/such/k3s"]).contains("/no/such/k3s"));
    assert!(machine.error(2, &["up", "--timeout", "soon"]).contains("not a duration"));
    assert!(machine.error(1, &["up", "--", "agent"]).contains("not a flag"));
    assert!(machine.error(1, &["up", "-f", "/no/such/file.yaml"]).contains("/no/such/file.yaml"));
    let unprivileged = machine
        .command("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "sh", "-c"])
        .arg(format!("exec {} up", env!("CARGO_BIN_EXE_sandbar")))
        .output();
    let unprivileged = unprivileged.unwrap();
    assert_eq!(unprivileged.status.code(), Some(5), "{}", machine::text(&unprivileged));

    let output = machine.run(6, &["up", "--", "--no-such-flag"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("flag provided but not defined: -no-such-flag"), "{said}");
    assert_eq!(machine.processes(), [""; 0], "a failed start left something running");

    machine.shell("mkdir -p /var/lib/sandbar && mount -t tmpfs -o size=16k,mode=700 full /var/lib/sandbar");
    assert!(machine.error(1, &["up"]).contains("No space left on device"));
    machine.shell("umount /var/lib/sandbar");

    // The port is taken by something that listens.
    let mut listener = machine
        .command("python3")
        .args(["-c", "import socket,sys; s=socket.socket(); s.bind(('0.0.0.0',6443)); s.listen(); print('on', flush=True); sys.stdin.read()"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open: a Python that cannot finish its line ends.
    let mut said = listener.stdout.take().unwrap();
    said.read_exact(&mut [0; 3]).unwrap();
    let said = machine.error(1, &["up"]);
    assert!(said.contains("port 6443 is taken") && said.contains("hint: "), "{said}");
    drop(listener.stdin.take());
    listener.wait().unwrap();

    let said = machine.error(4, &["up", "--timeout", "1s"]);
    assert!(said.contains("timed out after 1.0s waiting for k3s to become ready"), "{said}");
    machine.run(0, &["up"]);
}

#[test]
fn clients_that_misbehave_hurt_nobody() {
    let machine = Machine::new();
    machine.run(0, &["up"]);
    let abuse = "
import socket, struct
def connect():
    s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect('/run/sandbar/control.sock'); return s
def frame(text):
    return struct.pack('>I', len(text)) + text
for data in [b'', b'x', b'GET / HTTP/1.1\\r\\n\\r\\n', struct.pack('>I', 2**32-1), struct.pack('>I', 100) + b'{', frame(b'null'),
             frame(b'{\"Exec\":{}}'), frame(b'[' * 200000), frame(b'{\"Exec\":{\"argv\":[],\"env\":[],\"cwd\":\"/\",\"terminal\":false}}')]:
    s = connect(); s.sendall(data); s.shutdown(socket.SHUT_WR)
    try: print(len(s.recv(100000)), end=' ')
    except OSError as error: print(error)
held = [connect() for _ in range(200)]
import subprocess, sys
assert subprocess.run([sys.argv[1], 'status'], stdout=subprocess.DEVNULL, timeout=20).returncode == 0
many = [connect() for _ in range(400)]
print('done')
";
    let output =
        machine.command("python3").args(["-c", abuse, env!("CARGO_BIN_EXE_sandbar")]).output().unwrap();
    assert!(output.status.success(), "{}", machine::text(&output));
    wait_until(|| machine.sandbar(&["status"]).output().unwrap().status.success());
    assert_eq!(machine.status()["ready"], true);
    machine.run(0, &["down"]);
}

#[test]
fn a_supervisor_in_the_foreground_serves_an_init_system() {
    let machine = Machine::new();
    let mut supervisor = machine.sandbar(&["supervise"]).stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| machine.sandbar(&["status"]).output().unwrap().status.success());
    machine.run(0, &["status", "--wait"]);
    let second = machine.error(1, &["supervise"]);
    assert!(second.contains("another supervisor"), "{second}");
    let stopped_at = Instant::now();
    machine.shell(&format!("kill -TERM {}", pid_of(&machine.status(), "supervisor")));
    assert_eq!(supervisor.wait().unwrap().code(), Some(0));
    assert!(stopped_at.elapsed() < Duration::from_secs(20));
    assert_eq!(machine.processes(), [""; 0]);
}

fn wait_until(reached: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !reached() {
        assert!(Instant::now() < until, "waited in vain");
        std::thread::sleep(Duration::from_millis(50));
    }
}
