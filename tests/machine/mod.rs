//! A machine of its own for a test: fresh mount, network and pid namespaces, with writable layers over the directories in
//! which sandbar and k3s keep their things. Nothing of it is left, nor seen from outside, when it is dropped.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SANDBAR: &str = env!("CARGO_BIN_EXE_sandbar");

/// Mounts the layers and stays, collecting orphans as an init does. `$1` is a directory outside for the layers.
const INIT: &str = r#"
set -e
mount -t tmpfs layers "$1"
for place in etc var run root tmp; do
  mkdir -p "$1/$place/upper" "$1/$place/work"
  mount -t overlay "$place" -o "lowerdir=/$place,upperdir=$1/$place/upper,workdir=$1/$place/work" "/$place"
done
rm -rf /var/lib/sandbar /run/sandbar /var/lib/rancher /etc/rancher /root/.kube
ip link set lo up
ip link add outside type veth peer name beyond
ip link set outside up
ip link set beyond up
ip addr add 10.99.0.1/24 dev outside
ip route add default via 10.99.0.2
echo up
while :; do sleep 1000; done
"#;

/// The namespaces, for as long as it lives.
pub struct Machine {
    init: Child,
    pid: u32,
    _layers: tempfile::TempDir,
}

impl Machine {
    /// A fresh one. Fails loudly where the test cannot run: being skipped would look like being passed.
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root: sudo make test");
        let layers = tempfile::Builder::new().prefix("sandbar-machine").tempdir_in("/dev/shm").unwrap();
        let mut init = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", INIT, "init"])
            .arg(layers.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(init.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n", "the namespaces of the test could not be made");
        let children = format!("/proc/{0}/task/{0}/children", init.id());
        let pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Self { init, pid, _layers: layers }
    }

    /// A command inside.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--mount", "--net", "--pid", "--wdns=/", "--"]);
        command.arg(program.as_ref());
        command.env_remove("KUBECONFIG").env("HOME", "/root").env("SANDBAR_K3S", k3s()).stdin(Stdio::null());
        command
    }

    /// Runs a shell script inside and returns its stdout; it must succeed.
    pub fn shell(&self, script: &str) -> String {
        let output = self.command("sh").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `sandbar` inside.
    pub fn sandbar(&self, args: &[&str]) -> Command {
        let mut command = self.command(SANDBAR);
        command.args(args);
        command
    }

    /// Runs `sandbar` inside; its exit code must be `code`.
    pub fn run(&self, code: i32, args: &[&str]) -> Output {
        let output = self.sandbar(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "sandbar {args:?}: {}", text(&output));
        output
    }

    /// stdout of a successful `sandbar`.
    pub fn out(&self, args: &[&str]) -> String {
        String::from_utf8(self.run(0, args).stdout).unwrap()
    }

    /// stderr of a `sandbar` that fails with `code`.
    pub fn error(&self, code: i32, args: &[&str]) -> String {
        String::from_utf8(self.run(code, args).stderr).unwrap()
    }

    /// `sandbar status -o json`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.out(&["status", "-o", "json"])).unwrap()
    }

    /// Waits until the status satisfies `wanted`, at most a minute.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < until, "waited for {what}; now {status:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kubectl` inside, with the administrator's kubeconfig and `input` on stdin.
    pub fn kubectl(&self, args: &[&str], input: &str) -> String {
        use std::io::Write;
        let mut command = self.command(k3s());
        command.arg("kubectl").args(args).env("KUBECONFIG", "/etc/rancher/k3s/k3s.yaml");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Command lines of what sandbar and k3s run inside; the dead that wait for their parent are left out.
    pub fn processes(&self) -> Vec<String> {
        let all = self.shell("ps -e -o stat= -o args=");
        let alive = all
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('Z') && !line.contains(" init /dev/shm/"));
        let ours = |line: &&str| ["sandbar", "k3s", "kine"].iter().any(|name| line.contains(name));
        alive.filter(ours).map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its init, the kernel ends every process of the pid namespace; mounts and interfaces go with the last.
        // `--kill-child` has that init end with unshare.
        let _ = self.init.kill();
        let _ = self.init.wait();
    }
}

/// The k3s to test with.
pub fn k3s() -> PathBuf {
    let named = std::env::var_os("SANDBAR_K3S").filter(|value| !value.is_empty());
    let path =
        PathBuf::from(named.expect("SANDBAR_K3S must name a k3s (or: export SANDBAR_K3S=$(hack/find-k3s))"));
    assert!(path.is_file(), "SANDBAR_K3S: no file {}", path.display());
    path
}

/// All that a command said.
pub fn text(output: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\nstdout: {out}\nstderr: {error}", output.status)
}
