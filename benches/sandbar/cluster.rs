//! A k3s control plane, timed: to readiness, and doing API work for a client outside and one inside the trace.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::variant::Variant;

/// What is measured of a cluster; seconds.
pub const MEASURES: [&str; 5] = [
    "ready",
    "create 1,000 (outside)",
    "list 1,000 x 20 (outside)",
    "create 200 (kubectl inside)",
    "get x 10 (kubectl inside)",
];

const PORT: u16 = 26443;
const READY_WITHIN: Duration = Duration::from_secs(180);
const OBJECTS: usize = 1000;

/// Starts k3s in a fresh directory under `variant` and measures.
pub fn measure(variant: Variant, k3s: &Path, config: &Path) -> io::Result<[f64; 5]> {
    let dir = tempfile::tempdir()?;
    let mut cluster = Cluster::start(variant, k3s, config, dir.path())?;
    let ready = cluster.wait_ready()?;
    let objects = manifest(OBJECTS, "outside");
    let few = manifest(200, "inside");
    let created =
        timed(|| cluster.kubectl(Variant::Plain, &["create", "-f", "-", "-o", "name"], Some(&objects)))?;
    let listed =
        timed(|| (0..20).try_for_each(|_| cluster.kubectl(Variant::Plain, &["get", "--raw", LIST], None)))?;
    let created_inside =
        timed(|| cluster.kubectl(variant, &["create", "-f", "-", "-o", "name"], Some(&few)))?;
    let got_inside = timed(|| (0..10).try_for_each(|_| cluster.kubectl(variant, &["get", "ns"], None)))?;
    cluster.stop()?;
    Ok([ready, created, listed, created_inside, got_inside])
}

const LIST: &str = "/api/v1/namespaces/default/configmaps";

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// One List of ConfigMaps: kubectl then talks over one connection.
fn manifest(count: usize, name: &str) -> Vec<u8> {
    let items: Vec<_> = (0..count)
        .map(|index| {
            let metadata = BTreeMap::from([("name", format!("{name}-{index}"))]);
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "v"}})
        })
        .collect();
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string().into_bytes()
}

struct Cluster {
    child: Child,
    kubeconfig: PathBuf,
    k3s: PathBuf,
    config: PathBuf,
    started: Instant,
}

impl Cluster {
    fn start(variant: Variant, k3s: &Path, config: &Path, dir: &Path) -> io::Result<Self> {
        let kubeconfig = dir.join("k3s.yaml");
        let log = std::fs::File::create(dir.join("log"))?;
        let started = Instant::now();
        let child = variant
            .command(config, k3s)
            .args(["server", "--disable-agent", "--flannel-backend=none", "--egress-selector-mode=disabled"])
            .arg("--disable=traefik,servicelb,metrics-server,local-storage,coredns")
            .arg(format!("--https-listen-port={PORT}"))
            .arg(format!("--data-dir={}", dir.join("data").display()))
            .arg(format!("--write-kubeconfig={}", kubeconfig.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, kubeconfig, k3s: k3s.to_owned(), config: config.to_owned(), started })
    }

    fn wait_ready(&mut self) -> io::Result<f64> {
        while self.started.elapsed() < READY_WITHIN {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("k3s ended: {status}")));
            }
            if self.kubeconfig.exists()
                && self.kubectl(Variant::Plain, &["get", "--raw", "/readyz"], None).is_ok()
            {
                return Ok(self.started.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(io::Error::other("k3s was not ready in time"))
    }

    fn kubectl(&self, variant: Variant, args: &[&str], input: Option<&[u8]>) -> io::Result<()> {
        let mut command: Command = variant.command(&self.config, &self.k3s);
        command.arg("kubectl").arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        if let (Some(bytes), Some(mut stdin)) = (input, child.stdin.take()) {
            io::Write::write_all(&mut stdin, bytes)?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    fn stop(mut self) -> io::Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait().map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // After a failure only: a stopped one has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
