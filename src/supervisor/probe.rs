//! Whether k3s is ready: its API server's `/readyz`, asked over HTTPS with the certificates of k3s's own kubeconfig.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use super::kubeconfig::{self, Access, KubeconfigError};
use super::log::lock;

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
        let mut response = self.agent.get(format!("{}/readyz", self.server)).call()?;
        // Read to its end, so that the connection is used again.
        response.body_mut().with_config().limit(64 << 10).read_to_vec()?;
        match response.status().as_u16() {
            200 => Ok(()),
            status => Err(ProbeError::Status { status }),
        }
    }
}

/// A run of k3s to be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Target {
    pub run: u64,
    pub port: u16,
}

/// A change of readiness of one run of k3s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Change {
    pub run: u64,
    pub ready: bool,
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
            let watch = std::panic::AssertUnwindSafe(|| watching.watch(target, &kubeconfig, &tell));
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
            match *target {
                Some(target) => return target,
                None => target = self.0.changed.wait(target).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn watch(&self, target: Target, kubeconfig: &Path, tell: &impl Fn(Change)) {
        let connect = || Client::new(&kubeconfig::read(kubeconfig).ok()?, target.port).ok();
        let (mut client, mut ready, mut failures) = (None, false, 0);
        while *lock(&self.0.target) == Some(target) {
            // A new k3s may have written a new kubeconfig, so a client that fails is made anew.
            client = client.or_else(connect);
            let good = client.as_ref().is_some_and(|client| client.ready().is_ok());
            if good {
                failures = 0;
            } else {
                failures += 1;
                client = None;
            }
            if good != ready && (good || failures >= FAILURES) {
                ready = good;
                tell(Change { run: target.run, ready });
            }
            self.pause(target, if ready { WHILE_READY } else { WHILE_STARTING });
        }
    }

    fn pause(&self, target: Target, time: Duration) {
        let guard = lock(&self.0.target);
        // Whether it was the time or a new run that ended the wait makes no difference.
        let _ = self.0.changed.wait_timeout_while(guard, time, |now| *now == Some(target));
    }
}
