//! A node in one of the ways to run it, and pods timed on it. A process of its own (`--node VARIANT`), so that it can have a
//! machine of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbar::supervisor::paths::{K3S_DATA_DIR, K3S_KUBECONFIG};
use sandbar::supervisor::remedies::{PAUSE_IMAGE, pause_archive};

use crate::build;
use crate::client::Outside;
use crate::stats::median;
use crate::up::{Up, succeed};
use crate::variant::Variant;

/// Seconds by measure.
pub type Figures = BTreeMap<String, f64>;

const PODS: usize = 5;
const GETS: usize = 500;
const WITHIN: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);
/// Of a k3s without a supervisor that would keep one.
const LOG: &str = "/tmp/sandbar-bench-k3s.log";
/// Where k3s looks for CNI plugins and their configuration when it has no flannel.
const NETWORK: &str = "/etc/cni/net.d/10-bench.conflist";
const DROP_IN: &str = "agent/etc/containerd/config-v3.toml.d/90-bench.toml";
/// The kubelet needs it where nothing is traced in gVisor, so it has it everywhere: see docs/means.md.
const KUBELET: &str = "--kubelet-arg=local-storage-capacity-isolation=false";
/// What a node does not need here, and what takes the machine's iptables.
const FLAGS: [&str; 4] = [
    "--flannel-backend=none",
    "--disable-kube-proxy",
    "--disable-network-policy",
    "--disable=traefik,servicelb,metrics-server,local-storage,coredns",
];

/// Starts the node, measures, prints the figures as JSON, and stops it.
pub fn guest(variant: Variant, k3s: &Path, images: &Path) -> io::Result<()> {
    let node = Node::start(variant, k3s, images)?;
    let client = node.wait_ready()?;
    let figures = measure(&client, variant)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

fn measure(client: &Outside, variant: Variant) -> io::Result<Figures> {
    // The first unpacks images, and is told apart.
    let first = start(client, "first")?;
    let mut figures = Figures::from([
        ("pod ready, the node's first".to_owned(), first),
        (format!("pod ready, median of {PODS} more"), median_start(client)?),
        (format!("get one object {GETS} times"), gets(client)?),
    ]);
    let workload =
        pod("build", &serde_json::json!({"command": ["/bench", "--build", "/"], "volumeMounts": [mount()]}))?;
    let log = client.run_pod(&workload, WITHIN)?;
    let report: build::Report =
        serde_json::from_str(&log).map_err(|error| io::Error::other(format!("{error} in {log:?}")))?;
    if report.filtered != (variant == Variant::Trace) {
        return Err(io::Error::other(format!("{}: traced in the pod: {}", variant.name(), report.filtered)));
    }
    figures.extend(
        report.seconds.into_iter().map(|(step, seconds)| (format!("build in a pod: {step}"), seconds)),
    );
    let busy = pod("busy", &serde_json::json!({"command": ["/bench", "--busy"], "volumeMounts": [mount()]}))?;
    client.start_pod(&busy, WITHIN)?;
    figures.extend([
        ("beside a busy pod: pod ready".to_owned(), median_start(client)?),
        (format!("beside a busy pod: get one object {GETS} times"), gets(client)?),
    ]);
    Ok(figures)
}

/// Seconds from a pod's creation until it is ready; it is deleted then.
fn start(client: &Outside, name: &str) -> io::Result<f64> {
    let pod = pod(name, &serde_json::json!({"command": ["sleep", "100000"]}))?;
    let started = Instant::now();
    client.start_pod(&pod, WITHIN)?;
    let seconds = started.elapsed().as_secs_f64();
    client.delete_pod(name, WITHIN)?;
    Ok(seconds)
}

fn median_start(client: &Outside) -> io::Result<f64> {
    let starts: io::Result<Vec<f64>> =
        (0..PODS).map(|index| start(client, &format!("start-{index}"))).collect();
    Ok(median(&starts?))
}

/// Seconds for gets of what every namespace has, one after the other.
fn gets(client: &Outside) -> io::Result<f64> {
    let certificate = ConfigMap {
        metadata: ObjectMeta { name: Some("kube-root-ca.crt".to_owned()), ..Default::default() },
        ..Default::default()
    };
    let started = Instant::now();
    client.get("default", &vec![certificate; GETS], 1)?;
    Ok(started.elapsed().as_secs_f64())
}

/// Where a container has this program.
fn mount() -> serde_json::Value {
    serde_json::json!({"name": "bench", "mountPath": "/bench"})
}

/// A pod of one container, with this program at hand.
fn pod(name: &str, fields: &serde_json::Value) -> io::Result<Pod> {
    let mut container = serde_json::json!({"name": "main", "image": "localhost/busybox:1"});
    if let (Some(container), Some(fields)) = (container.as_object_mut(), fields.as_object()) {
        container.extend(fields.clone());
    }
    let pod = serde_json::json!({
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [{"name": "bench", "hostPath": {"path": std::env::current_exe()?, "type": "File"}}],
        },
    });
    Ok(serde_json::from_value(pod)?)
}

enum Node {
    /// k3s alone. What it leaves ends with the machine that it was given.
    Alone(Child),
    /// It goes down as this is dropped.
    Up { _up: Up },
}

impl Node {
    fn start(variant: Variant, k3s: &Path, images: &Path) -> io::Result<Self> {
        if variant == Variant::Plain {
            return Self::alone(k3s, images).map(Self::Alone);
        }
        let interception = if variant == Variant::Mount { "Mount" } else { "Trace" };
        let config = PathBuf::from(format!("/tmp/sandbar-bench-{}.yaml", variant.name()));
        let object = format!(
            "apiVersion: sandbar.dev/v1alpha1\nkind: SandboxConfig\nmetadata: {{name: bench}}\n\
             spec: {{interception: {interception}, k3s: {{extraArgs: [{KUBELET}]}}}}\n"
        );
        fs::write(&config, object)?;
        let up = Up::usual(k3s);
        let (config, images) = (config.to_string_lossy(), images.to_string_lossy());
        succeed(up.begin(&["--mode", "node", "-f", &config, "--images", &images], &FLAGS)?)?;
        up.check_means(variant)?;
        Ok(Self::Up { _up: up })
    }

    /// Gives k3s itself what `sandbar up` would: images, and a pod network (upstream's bridge, as flannel has it).
    fn alone(k3s: &Path, images: &Path) -> io::Result<Child> {
        let data = Path::new(K3S_DATA_DIR);
        let place = data.join("agent/images");
        fs::create_dir_all(&place)?;
        fs::copy(images, place.join("bench.tar"))?;
        fs::write(place.join("pause.tar"), pause_archive()?)?;
        let network = serde_json::json!({"cniVersion": "1.0.0", "name": "bench", "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.42.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }]});
        write(Path::new(NETWORK), &network.to_string())?;
        // As sandbar's profile has it for machines whose root may not lower that score; elsewhere it changes nothing.
        let plugins = format!(
            "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  restrict_oom_score_adj = true\n\
             [plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dirs = [{:?}]\n",
            data.join("data/cni")
        );
        write(&data.join(DROP_IN), &plugins)?;
        let log = File::create(LOG)?;
        let mut command = Command::new(k3s);
        command.arg("server").args(FLAGS).arg(KUBELET).arg(format!("--pause-image={PAUSE_IMAGE}"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    fn wait_ready(&self) -> io::Result<Outside> {
        let started = Instant::now();
        while started.elapsed() < WITHIN {
            let client = Path::new(K3S_KUBECONFIG).exists().then(|| Outside::new(Path::new(K3S_KUBECONFIG)));
            if let Some(Ok(client)) = client
                && client.takes_pods()
            {
                return Ok(client);
            }
            std::thread::sleep(POLL);
        }
        let log = fs::read_to_string(LOG).unwrap_or_default();
        let last = log.lines().rev().take(15).collect::<Vec<_>>().join("\n");
        Err(io::Error::other(format!("the node was not ready in time; last lines, newest first:\n{last}")))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Self::Alone(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
}
