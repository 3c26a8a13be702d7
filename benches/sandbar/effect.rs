//! From `kubectl apply` to its effect: how long until a process that was already running reads a changed value.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::stats::{Summary, summarise};
use crate::up::{Up, succeed};

const PATH: &str = "/proc/sys/bench/effect";
/// Of the reader; the finest difference that is seen.
const PAUSE: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(10);

/// Milliseconds from the start of `kubectl apply`.
#[derive(serde::Serialize)]
pub struct Effect {
    /// Until kubectl has ended.
    pub apply: Summary,
    /// Until the reader has the new value.
    pub seen: Summary,
}

/// The reader, inside the trace: prints each value that it has not seen before.
pub fn guest() {
    let mut last = String::new();
    loop {
        let now = std::fs::read_to_string(PATH).unwrap_or_default();
        if now != last {
            println!("{}", now.trim_end());
            last = now;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Brings up a cluster of its own, changes a value `rounds` times, and takes the cluster down again.
pub fn measure(k3s: &Path, rounds: usize) -> io::Result<Effect> {
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::start(k3s, dir.path())?;
    cluster.apply("first")?;
    let (_reader, values) = cluster.read()?;
    await_value(&values, "first")?;
    let (mut applied, mut seen) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let value = format!("round-{round}");
        let started = Instant::now();
        let mut kubectl = cluster.begin_apply(&value)?;
        // The effect may come before kubectl has ended: each is waited for on a thread of its own.
        let (ended, arrived) = std::thread::scope(|scope| {
            let ended = scope.spawn(|| kubectl.wait().map(|status| (status.success(), started.elapsed())));
            let arrived = await_value(&values, &value).map(|()| started.elapsed());
            (ended.join(), arrived)
        });
        let (true, ended) = ended.map_err(|_| io::Error::other("the waiting thread ended"))?? else {
            return Err(io::Error::other("kubectl apply failed"));
        };
        applied.push(ended.as_secs_f64() * 1e3);
        seen.push(arrived?.as_secs_f64() * 1e3);
    }
    Ok(Effect { apply: summarise(&applied), seen: summarise(&seen) })
}

fn await_value(values: &Receiver<String>, wanted: &str) -> io::Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match values.recv_timeout(left) {
            Ok(value) if value == wanted => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err(io::Error::other(format!("{PATH} never became {wanted}"))),
        }
    }
}

/// The cluster, and how its value is changed and read.
struct Cluster {
    up: Up,
    k3s: PathBuf,
}

impl Cluster {
    fn start(k3s: &Path, dir: &Path) -> io::Result<Self> {
        let up = Up::below(k3s, dir);
        succeed(up.begin(&["--mode", "control-plane"], &[])?)?;
        Ok(Self { up, k3s: k3s.to_owned() })
    }

    fn begin_apply(&self, value: &str) -> io::Result<Child> {
        let object = format!(
            "apiVersion: sandbar.dev/v1alpha1\nkind: SandboxConfig\nmetadata: {{name: bench}}\n\
             spec: {{files: [{{path: {PATH}, value: {value}}}]}}\n"
        );
        let mut command = Command::new(&self.k3s);
        command.arg("kubectl").arg("--kubeconfig").arg(self.up.kubeconfig()).args(["apply", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(object.as_bytes())?;
        }
        Ok(child)
    }

    fn apply(&self, value: &str) -> io::Result<()> {
        let status = self.begin_apply(value)?.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kubectl apply: {status}"))) }
    }

    fn read(&self) -> io::Result<(Reader, Receiver<String>)> {
        let own = std::env::current_exe()?;
        let mut command = self.up.sandbar(&["exec", "--"]);
        let mut child = command.arg(own).arg("--reader").stdout(Stdio::piped()).spawn()?;
        let (send, values) = mpsc::channel();
        let stdout = child.stdout.take();
        std::thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|out| BufReader::new(out).lines());
            lines.map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Ok((Reader(child), values))
    }
}

struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
