//! A control plane for all tests of this binary, one test at a time. It ends when the test process does, however that
//! ends: a shell that reads our pipe sees the end of it.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use sandbar::api::{SandboxConfig, profiles};
use serde_json::Value;

pub struct Cluster {
    k3s: PathBuf,
    dir: PathBuf,
    ports: [u16; 3],
    keeper: Child,
}

static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();

/// The cluster, for one test at a time.
pub fn cluster() -> MutexGuard<'static, Cluster> {
    CLUSTER
        .get_or_init(|| Mutex::new(Cluster::start()))
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Tries until `attempt` gives something; panics with `what` after `limit`.
pub fn within<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn k3s() -> PathBuf {
    let path = std::env::var_os("SANDBAR_K3S").map(PathBuf::from).unwrap_or_else(|| {
        panic!("SANDBAR_K3S is not set; try: SANDBAR_K3S=$(hack/k3s/build.sh) cargo test --test reconcile")
    });
    assert!(path.is_file(), "SANDBAR_K3S={} is no file", path.display());
    path
}

fn free_ports() -> [u16; 3] {
    // All three are held until all are known, so that they differ.
    let held = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

impl Cluster {
    fn start() -> Self {
        let (k3s, dir, ports) = (k3s(), tempfile::tempdir().unwrap().keep(), free_ports());
        let keeper = launch(&k3s, &dir, ports);
        let cluster = Self { k3s, dir, ports, keeper };
        cluster.await_ready();
        cluster
    }

    fn await_ready(&self) {
        let log = self.dir.join("k3s.log");
        within(Duration::from_secs(120), &format!("k3s ready; see {}", log.display()), || {
            (self.kubeconfig().is_file()
                && self.try_kubectl(&["get", "--raw", "/readyz"], "").status.success())
            .then_some(())
        });
    }

    /// Ends k3s; the data stays.
    pub fn stop(&mut self) {
        self.keeper.stdin.as_mut().unwrap().write_all(b"keep\n").unwrap();
        self.keeper.wait().unwrap();
    }

    /// Starts k3s again after [`Self::stop`].
    pub fn resume(&mut self) {
        self.keeper = launch(&self.k3s, &self.dir, self.ports);
        self.await_ready();
    }

    /// Moves the API server to another port; for between [`Self::stop`] and [`Self::resume`].
    pub fn move_port(&mut self) {
        self.ports[0] = free_ports()[0];
    }

    /// Has k3s make new certificate authorities; for between [`Self::stop`] and [`Self::resume`].
    pub fn forget_authorities(&self) {
        std::fs::remove_dir_all(self.dir.join("data/server/tls")).unwrap();
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("k3s.yaml")
    }

    /// Runs kubectl with `input` on stdin.
    pub fn try_kubectl(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.k3s)
            .arg("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // kubectl may end before it has read everything; what it says then is worth more than our error.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// The same, and it must succeed.
    pub fn kubectl(&self, args: &[&str], input: &str) -> String {
        let output = self.try_kubectl(args, input);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {stderr}\n{input}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Applies a SandboxConfig.
    pub fn apply(&self, name: &str, spec: &str) {
        self.kubectl(&["apply", "-f", "-"], &manifest(name, spec));
    }

    /// Deletes a SandboxConfig.
    pub fn delete(&self, name: &str) {
        self.kubectl(&["delete", "sbx", name, "--ignore-not-found"], "");
    }

    /// A SandboxConfig as JSON.
    pub fn get(&self, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", "sbx", name, "-o", "json"], "")).unwrap()
    }

    /// Waits until the conditions of `name` are about its present generation and `want` holds for them.
    pub fn await_status(&self, name: &str, what: &str, want: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        // A table of thousands of rules takes a debug build on a busy machine that long.
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            last = self.get(name);
            if last["status"]["observedGeneration"] == last["metadata"]["generation"] && want(&last["status"])
            {
                return last;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{name}: not {what}: {:#}", last["status"]);
    }

    /// Waits until condition `type_` has `status` (and, where given, `reason`); returns its message.
    pub fn await_condition(&self, name: &str, type_: &str, status: &str) -> (String, String) {
        let found = self.await_status(name, &format!("{type_}={status}"), |now| {
            condition(now, type_)["status"] == status
        });
        let condition = condition(&found["status"], type_);
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        (text("reason"), text("message"))
    }

    /// The Events of all cluster-scoped objects.
    pub fn all_events(&self) -> Vec<Value> {
        let args = ["get", "events.events.k8s.io", "-n", "default", "-o", "json"];
        let list: Value = serde_json::from_str(&self.kubectl(&args, "")).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The reasons and notes of the Events about the SandboxConfig `name`.
    pub fn events(&self, name: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = self.all_events().into_iter().filter(|event| event["regarding"]["name"] == name);
        about.map(|event| (text(&event["reason"]), text(&event["note"]))).collect()
    }
}

/// The built-in profile of this environment: Linux's, or gVisor's.
pub fn builtin() -> SandboxConfig {
    profiles::builtin(profiles::Environment::here()).unwrap().remove(0)
}

/// Its name.
pub fn profile() -> String {
    builtin().metadata.name.unwrap()
}

/// How many rules it has.
pub fn profile_rules() -> usize {
    sandbar::api::convert::rules(&builtin()).unwrap().len()
}

/// The condition of a status, or null.
pub fn condition(status: &Value, type_: &str) -> Value {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default()
}

/// A SandboxConfig in YAML; `spec` in flow style.
pub fn manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: sandbar.dev/v1alpha1\nkind: SandboxConfig\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn launch(k3s: &std::path::Path, dir: &std::path::Path, [api, manager, scheduler]: [u16; 3]) -> Child {
    // A line on stdin ends k3s and keeps its data; the end of stdin, which is our own end, removes them too.
    let script = r#"
        k3s=$1 dir=$2; shift 2
        "$k3s" server --data-dir "$dir/data" --write-kubeconfig "$dir/k3s.yaml" "$@" >>"$dir/k3s.log" 2>&1 </dev/null &
        keep=; read -r keep
        kill $!; wait $!
        [ -n "$keep" ] || rm -rf "$dir"
    "#;
    Command::new("bash")
        .args(["-c", script, "keeper"])
        .arg(k3s)
        .arg(dir)
        .args(["--disable-agent", "--flannel-backend=none", &format!("--https-listen-port={api}")])
        .arg(format!("--kube-controller-manager-arg=secure-port={manager}"))
        .arg(format!("--kube-scheduler-arg=secure-port={scheduler}"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}
