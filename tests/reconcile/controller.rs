//! `sandbar controller` as the supervisor starts it, with a thread that answers in the supervisor's place.

use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbar::rules::model::{Action, DesiredDocument};
use sandbar::rules::observed::{
    Observed, ObservedDocument, ObservedRule, RefusedTable, Scalar, create_observed,
};
use sandbar::rules::table::{DesiredReader, create_desired};
use sandbar::sys::shared::read_only;

use super::cluster::{Cluster, within};

/// What the answering thread and the tests share.
pub struct Shared {
    pub observed: Observed,
    pub reader: DesiredReader,
    pub state: Mutex<ObservedDocument>,
    /// When each generation was seen.
    pub seen: Mutex<Vec<(u64, Instant)>>,
    /// While set, nothing is answered.
    pub mute: AtomicBool,
    /// While set, every table is refused.
    pub refuse: AtomicBool,
    bell: EventFd,
    stop: AtomicBool,
}

/// The supervisor's part: tables, bells, the answering thread.
pub struct Supervisor {
    pub shared: Arc<Shared>,
    desired: OwnedFd,
    observed: OwnedFd,
    desired_bell: OwnedFd,
    observed_bell: OwnedFd,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A running controller; killed when dropped.
pub struct Controller {
    pub child: Child,
    /// Dropping it is the supervisor's end.
    pub lifeline: Option<UnixStream>,
    pub port: u16,
    log: tempfile::NamedTempFile,
}

impl Supervisor {
    pub fn start() -> Self {
        let (desired, observed) = (create_desired().unwrap(), create_observed().unwrap());
        let desired_bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
        let observed_bell = bell.as_fd().try_clone_to_owned().unwrap();
        let shared = Arc::new(Shared {
            observed: Observed::open(&observed, true).unwrap(),
            reader: DesiredReader::open(&desired).unwrap(),
            state: Mutex::default(),
            seen: Mutex::default(),
            mute: AtomicBool::new(false),
            refuse: AtomicBool::new(false),
            bell,
            stop: AtomicBool::new(false),
        });
        shared.report(|state| state.k3s.phase = "Ready".into());
        let answering = shared.clone();
        Self {
            thread: Some(std::thread::spawn(move || answering.answer())),
            observed: read_only(&observed).unwrap(),
            desired,
            desired_bell: desired_bell.into(),
            observed_bell,
            shared,
        }
    }

    /// Starts `sandbar controller` on these tables.
    pub fn controller(&self, kubeconfig: &Path) -> Controller {
        self.controller_with(kubeconfig, "")
    }

    /// The same with files to be applied, joined by `:`.
    pub fn controller_with(&self, kubeconfig: &Path, files: &str) -> Controller {
        self.controller_after(kubeconfig, files, 0)
    }

    /// The same after one that has told the events up to `told`.
    pub fn controller_after(&self, kubeconfig: &Path, files: &str, told: u64) -> Controller {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = theirs.into();
        let fds = [&self.desired, &self.observed, &self.desired_bell, &self.observed_bell, &theirs];
        let fds = fds.map(|fd| {
            let fd = fd.try_clone().unwrap();
            fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            fd
        });
        let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sandbar"))
            .args([
                "controller",
                "--node-name",
                "test-node",
                "--metrics-address",
                &format!("127.0.0.1:{port}"),
            ])
            .env("SANDBAR_FDS", numbers.join(","))
            .env("KUBECONFIG", kubeconfig)
            .env("SANDBAR_CONFIG_FILES", files)
            .env("SANDBAR_TOLD_EVENTS", told.to_string())
            .env("RUST_LOG", "info,sandbar=debug")
            .stderr(Stdio::from(log.reopen().unwrap()))
            .spawn()
            .unwrap();
        Controller { child, lifeline: Some(ours), port, log }
    }

    /// The document published last.
    pub fn document(&self) -> DesiredDocument {
        self.shared.reader.read().map(|(_, document)| document).unwrap_or_default()
    }

    /// The value that the published rules give to `path`, if any.
    pub fn value(&self, path: &str) -> Option<String> {
        self.document().rules.iter().find_map(|rule| match &rule.action {
            Action::File { path: known, value, .. } if known == path => Some(value.clone()),
            _ => None,
        })
    }

    /// Waits until the published rules give `value` to `path`; returns when the table was seen.
    pub fn await_value(&self, path: &str, value: Option<&str>) -> Instant {
        within(Duration::from_secs(10), &format!("{path} = {value:?} in the table"), || {
            (self.value(path).as_deref() == value).then_some(())
        });
        let generation = self.shared.reader.generation();
        within(Duration::from_secs(1), "the generation is seen", || {
            let seen = self.shared.seen.lock().unwrap();
            seen.iter().find(|(number, _)| *number == generation).map(|(_, at)| *at)
        })
    }
}

impl Shared {
    /// Changes and publishes the reported state.
    pub fn report(&self, change: impl FnOnce(&mut ObservedDocument)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        self.observed.publish(&state).unwrap();
        drop(state);
        self.ring();
    }

    fn ring(&self) {
        self.bell.write(1).unwrap();
    }

    fn answer(&self) {
        let mut known = 0;
        while !self.stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
            let generation = self.reader.generation();
            if generation == known || self.mute.load(Ordering::SeqCst) {
                continue;
            }
            known = generation;
            self.seen.lock().unwrap().push((generation, Instant::now()));
            let refuse = self.refuse.load(Ordering::SeqCst);
            let rules = self.reader.read().map(|(_, document)| document.rules).unwrap_or_default();
            self.report(|state| {
                state.published = generation;
                if refuse {
                    state.refused = Some(RefusedTable { generation, reason: "refused for the test".into() });
                    return;
                }
                state.applied = generation;
                state.refused = None;
                let observed = |(slot, rule): (usize, &sandbar::rules::model::Rule)| ObservedRule {
                    source: rule.source.clone(),
                    kind: rule.action.kind().into(),
                    pattern: rule.action.pattern().into(),
                    means: "trace".into(),
                    reason: None,
                    slot,
                };
                state.rules = rules.iter().enumerate().map(observed).collect();
            });
            if !refuse {
                self.observed.set(Scalar::Applied, generation);
            }
            self.observed.set(Scalar::Acknowledged, generation);
            self.ring();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Controller {
    pub fn kill(&mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL).unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it says that it is ready.
    pub fn await_ready(&mut self) {
        let mut lifeline = self.lifeline.as_ref().unwrap();
        lifeline.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut said = [0; 14];
        lifeline.read_exact(&mut said).expect("`applied` and `ready` on the lifeline");
        assert_eq!(&said, b"applied\nready\n");
    }

    /// The next line that it says on the lifeline.
    pub fn says(&self) -> String {
        let mut lifeline = self.lifeline.as_ref().unwrap();
        lifeline.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (mut line, mut byte) = (Vec::new(), [0]);
        loop {
            lifeline.read_exact(&mut byte).expect("a line on the lifeline");
            match byte[0] {
                b'\n' => return String::from_utf8(line).unwrap(),
                other => line.push(other),
            }
        }
    }

    /// Resident memory in KiB.
    pub fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How the resident memory is made up, for people.
    pub fn memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("Rss"));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        File::open(self.log.path()).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Status line and body of a GET.
    pub fn get(&self, path: &str) -> (String, String) {
        use std::io::Write;
        let mut stream = within(Duration::from_secs(10), "the metrics port is open", || {
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the controller\n{}", self.log());
        }
    }
}

/// A fresh supervisor and controller on the cluster, with nothing but the profile in force.
pub fn started(cluster: &Cluster) -> (Supervisor, Controller) {
    // Before the first test there is no such resource yet.
    cluster.try_kubectl(&["delete", "sbx", "--all"], "");
    let supervisor = Supervisor::start();
    let controller = supervisor.controller(&cluster.kubeconfig());
    supervisor.await_value("/proc/sys/kernel/panic", Some("10\n"));
    (supervisor, controller)
}
