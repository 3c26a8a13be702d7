//! A k3s control plane, timed: to readiness, and doing API work for a client outside and one inside the trace.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbar::doctor::NodeAbilities;
use sandbar::rules::model::DesiredDocument;
use sandbar::supervisor::flags::{self, Mode};
use sandbar::supervisor::k3s_config::ConfigFile;

use crate::client::Outside;
use crate::stats;
use crate::up::Up;
use crate::variant::Variant;

/// What is measured of a cluster; seconds.
pub const MEASURES: [&str; 9] = [
    "ready",
    "create 1,000 (outside)",
    "get 1,000 (outside)",
    "get 1,000, 8 at a time (outside)",
    "list 1,000 x 100 (outside)",
    "create 1,000, 8 at a time (outside)",
    "create 1,000 (kubectl inside)",
    "get 1,000 (kubectl inside)",
    "list 1,000 x 5 (kubectl inside)",
];

const PORT: u16 = 26443;
const READY_WITHIN: Duration = Duration::from_secs(180);
const READY_POLL: Duration = Duration::from_millis(10);
const OBJECTS: usize = 1000;
/// How often each piece of API work is done in one cluster, if nothing else is said; the median counts, since single ones of a
/// second differ by a fifth.
pub const PASSES: usize = 3;

/// k3s's arguments, as `sandbar up` starts a control plane.
fn arguments() -> io::Result<Vec<String>> {
    let (document, kernel) = (DesiredDocument::default(), NodeAbilities::default());
    let built = flags::build(&document, &[], Mode::ControlPlane, &ConfigFile::default(), &kernel);
    Ok(flags::plain(&built.map_err(io::Error::other)?))
}

/// Starts k3s in a fresh directory under `variant` and measures; without any pass readiness alone.
pub fn measure(variant: Variant, passes: usize, k3s: &Path, config: &Path) -> io::Result<Vec<f64>> {
    let dir = tempfile::tempdir()?;
    let mut cluster = Cluster::start(variant, k3s, config, dir.path())?;
    let (client, ready) = cluster.wait_ready()?;
    cluster.settle()?;
    let passes = (0..passes).map(|pass| cluster.work(&client, pass)).collect::<io::Result<Vec<_>>>()?;
    cluster.stop()?;
    let measured = if passes.is_empty() { 1 } else { MEASURES.len() };
    let median =
        |measure: usize| stats::median(&passes.iter().map(|pass| pass[measure - 1]).collect::<Vec<_>>());
    Ok(std::iter::once(ready).chain((1..measured).map(median)).collect())
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn config_maps(name: &str) -> Vec<ConfigMap> {
    let object = |index| ConfigMap {
        metadata: ObjectMeta { name: Some(format!("{name}-{index}")), ..Default::default() },
        data: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])),
        ..Default::default()
    };
    (0..OBJECTS).map(object).collect()
}

/// One List: kubectl then talks over one connection.
fn manifest(items: &[ConfigMap]) -> io::Result<Vec<u8>> {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    serde_json::to_vec(&list).map_err(io::Error::other)
}

struct Cluster {
    variant: Variant,
    /// k3s, or `sandbar up`, which ends when the cluster is ready.
    child: Child,
    up: Option<Up>,
    kubeconfig: PathBuf,
    k3s: PathBuf,
    config: PathBuf,
    started: Instant,
}

impl Cluster {
    fn start(variant: Variant, k3s: &Path, config: &Path, dir: &Path) -> io::Result<Self> {
        let kubeconfig = dir.join("k3s.yaml");
        let (started, child, up);
        if variant == Variant::Sandbar {
            let cluster = Up::below(k3s, dir);
            started = Instant::now();
            child = cluster.begin(&["--mode", "control-plane"], &[])?;
            up = Some(cluster);
        } else {
            let log = std::fs::File::create(dir.join("log"))?;
            let mut command = variant.command(config, k3s);
            command
                .args(arguments()?)
                .arg(format!("--https-listen-port={PORT}"))
                .arg(format!("--data-dir={}", dir.join("data").display()))
                .arg(format!("--write-kubeconfig={}", kubeconfig.display()))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            started = Instant::now();
            child = command.spawn()?;
            up = None;
        }
        Ok(Self { variant, child, up, kubeconfig, k3s: k3s.to_owned(), config: config.to_owned(), started })
    }

    fn wait_ready(&mut self) -> io::Result<(Outside, f64)> {
        let mut client = None;
        while self.started.elapsed() < READY_WITHIN {
            // `sandbar up` may end well before the next look at the API server.
            let ended = self.child.try_wait()?;
            if let Some(status) = ended.filter(|status| self.up.is_none() || !status.success()) {
                return Err(io::Error::other(format!("k3s ended: {status}")));
            }
            if client.is_none() && self.kubeconfig.exists() {
                client = Outside::new(&self.kubeconfig).ok();
            }
            if let Some(ready) = client.take_if(|client| client.is_ready()) {
                return Ok((ready, self.started.elapsed().as_secs_f64()));
            }
            std::thread::sleep(READY_POLL);
        }
        Err(io::Error::other("k3s was not ready in time"))
    }

    /// Until `sandbar up` has done all that it does, and says that it is as it should be.
    fn settle(&mut self) -> io::Result<()> {
        let Some(up) = &self.up else { return Ok(()) };
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            io::Read::read_to_string(&mut stderr, &mut said)?;
        }
        if !self.child.wait()?.success() {
            return Err(io::Error::other(said));
        }
        up.check_means(self.variant)
    }

    /// Every measure but the first, once, in namespaces of this pass.
    fn work(&self, client: &Outside, pass: usize) -> io::Result<[f64; MEASURES.len() - 1]> {
        let (outside, inside) = (format!("outside-{pass}"), format!("inside-{pass}"));
        client.create_namespace(&outside)?;
        client.create_namespace(&inside)?;
        let (objects, together) = (config_maps("one"), config_maps("at-a-time"));
        let created = timed(|| client.create(&outside, &objects, 1))?;
        let got = timed(|| client.get(&outside, &objects, 1))?;
        let got_together = timed(|| client.get(&outside, &objects, 8))?;
        let listed = timed(|| client.list(&outside, 100))?;
        let created_together = timed(|| client.create(&outside, &together, 8))?;
        let objects = manifest(&objects)?;
        let create = ["create", "-n", &inside, "-f", "-", "-o", "name"];
        let created_inside = timed(|| self.kubectl(&create, Some(&objects)))?;
        // Of a file kubectl gets one after the other.
        let get = ["get", "-n", &inside, "-f", "-", "-o", "name"];
        let got_inside = timed(|| self.kubectl(&get, Some(&objects)))?;
        let list = ["get", "configmaps", "-n", &inside, "--no-headers"];
        let listed_inside = timed(|| (0..5).try_for_each(|_| self.kubectl(&list, None)))?;
        Ok([created, got, got_together, listed, created_together, created_inside, got_inside, listed_inside])
    }

    fn kubectl(&self, args: &[&str], input: Option<&[u8]>) -> io::Result<()> {
        let mut command = match &self.up {
            Some(up) => up.sandbar(&["exec", "--", &self.k3s.to_string_lossy()]),
            None => self.variant.command(&self.config, &self.k3s),
        };
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
        if self.up.is_some() {
            // It goes down as it is dropped.
            return Ok(());
        }
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
