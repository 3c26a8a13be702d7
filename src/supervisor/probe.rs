//! Whether k3s is ready: its API server's `/readyz`, and on a node what that server says of the node, asked over HTTPS
//! with the certificates of k3s's own kubeconfig.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use super::kubeconfig::{self, Access, KubeconfigError};
use super::log::lock;
use super::node_ready;

const WHILE_STARTING: Duration = Duration::from_millis(150);
const WHILE_READY: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Failures in a row after which a ready k3s is called not ready: one slow answer on a busy machine is none.
const FAILURES: u32 = 3;

/// Why the API server is not ready.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProbeError {
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error("API server: {0}")]
    Http(#[from] ureq::Error),
    #[error("API server answers {status}")]
    Status { status: u16 },
    #[error("node {name}: {why}")]
    Node { name: String, why: String },
}

/// A client of one API server.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    server: String,
}

impl Client {
    /// Talks to `port` on this machine, and trusts only what `access` names. The address in a kubeconfig may be that of an
    /// earlier k3s, which another process may have taken since.
    pub fn new(access: &Access, port: u16) -> Result<Self, ProbeError> {
        let certificate = Certificate::from_pem(&access.certificate)?;
        let identity = ClientCert::new_with_certs(&[certificate], PrivateKey::from_pem(&access.key)?);
        let authority = Certificate::from_pem(&access.authority)?;
        let tls = TlsConfig::builder()
            .client_cert(Some(identity))
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .build();
        // A proxy from the environment has no business between us and a server on this machine.
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_idle_connections(1)
            .build();
        Ok(Self { agent: config.into(), server: format!("https://127.0.0.1:{port}") })
    }

    /// `Ok` if the API server says that it is ready.
    pub fn ready(&self) -> Result<(), ProbeError> {
        self.get("/readyz").map(drop)
    }

    /// `Ok` if the API server calls this node ready, by a report since then, and pods can be made.
    pub fn node_ready(&self, name: &str, since: Timestamp) -> Result<(), ProbeError> {
        let failed = |why: String| ProbeError::Node { name: name.to_owned(), why };
        let node = self.get(&format!("/api/v1/nodes/{name}")).map_err(|error| match error {
            ProbeError::Status { status: 404 } => failed("not registered yet".to_owned()),
            other => other,
        })?;
        let node = serde_json::from_slice(&node).map_err(|error| failed(error.to_string()))?;
        node_ready::ready(&node, since).map_err(failed)?;
        // Without it no pod is admitted; the controller-manager makes it some seconds after the start.
        self.get("/api/v1/namespaces/default/serviceaccounts/default").map(drop).map_err(
            |error| match error {
                ProbeError::Status { status: 404 } => {
                    failed("the default service account is not there yet".to_owned())
                }
                other => other,
            },
        )
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, ProbeError> {
        let mut response = self.agent.get(format!("{}{path}", self.server)).call()?;
        // Read to its end, so that the connection is used again.
        let body = response.body_mut().with_config().limit(1 << 20).read_to_vec()?;
        match response.status().as_u16() {
            200 => Ok(body),
            status => Err(ProbeError::Status { status }),
        }
    }
}

/// A run of k3s to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which.
    pub run: u64,
    /// Of the API server.
    pub port: u16,
    /// The node that must be ready too, if it is to be one.
    pub node: Option<String>,
    /// When it was started.
    pub since: Timestamp,
}

/// How far k3s is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Nobody answers.
    #[default]
    Down,
    /// The API server does; why the node is not ready.
    Api(String),
    /// All is ready.
    Ready,
}

/// A change of readiness of one run of k3s.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Change {
    pub run: u64,
    pub level: Level,
}

/// The thread that keeps asking.
#[derive(Clone, Debug, Default)]
pub struct Prober(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    target: Mutex<Option<Target>>,
    changed: Condvar,
}

impl Prober {
    /// Starts the thread; `tell` gets every change of readiness.
    pub fn start(kubeconfig: PathBuf, tell: impl Fn(Change) + Send + 'static) -> std::io::Result<Self> {
        let prober = Self::default();
        let watching = prober.clone();
        let forever = move || loop {
            let target = watching.next();
            // A panic in a library must not end the watch.
            let watch = std::panic::AssertUnwindSafe(|| watching.watch(&target, &kubeconfig, &tell));
            if std::panic::catch_unwind(watch).is_err() {
                std::thread::sleep(WHILE_READY);
            }
        };
        std::thread::Builder::new().name("readiness".into()).stack_size(512 << 10).spawn(forever)?;
        Ok(prober)
    }

    /// Which run to ask; none while k3s is down.
    pub fn set(&self, target: Option<Target>) {
        *lock(&self.0.target) = target;
        self.0.changed.notify_all();
    }

    /// Waits until there is something to ask.
    fn next(&self) -> Target {
        let mut target = lock(&self.0.target);
        loop {
            match &*target {
                Some(target) => return target.clone(),
                None => target = self.0.changed.wait(target).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn watch(&self, target: &Target, kubeconfig: &Path, tell: &impl Fn(Change)) {
        let connect = || Client::new(&kubeconfig::read(kubeconfig).ok()?, target.port).ok();
        let (mut client, mut told, mut failures) = (None, Level::Down, 0);
        while lock(&self.0.target).as_ref() == Some(target) {
            // A new k3s may have written a new kubeconfig, so a client that fails is made anew.
            client = client.or_else(connect);
            let level = client.as_ref().map_or(Level::Down, |client| client.level(target));
            if level == Level::Down {
                client = None;
            }
            failures = if level == Level::Ready { 0 } else { failures + 1 };
            // What was ready is given the benefit of the doubt for a while.
            if level != told && (told != Level::Ready || failures >= FAILURES) {
                told = level;
                tell(Change { run: target.run, level: told.clone() });
            }
            self.pause(target, if told == Level::Ready { WHILE_READY } else { WHILE_STARTING });
        }
    }

    fn pause(&self, target: &Target, time: Duration) {
        let guard = lock(&self.0.target);
        // Whether it was the time or a new run that ended the wait makes no difference.
        let _ = self.0.changed.wait_timeout_while(guard, time, |now| now.as_ref() == Some(target));
    }
}

impl Client {
    fn level(&self, target: &Target) -> Level {
        if self.ready().is_err() {
            return Level::Down;
        }
        match target.node.as_ref().map(|name| self.node_ready(name, target.since)) {
            Some(Err(error)) => Level::Api(error.to_string()),
            _ => Level::Ready,
        }
    }
}
