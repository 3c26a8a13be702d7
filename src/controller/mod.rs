//! SandboxConfigs to rule table to status: dereference, validate, build, publish, await acknowledgement, tell.
//!
//! | module | does | pure |
//! |---|---|---|
//! | [`link`] | descriptors shared with the supervisor | |
//! | [`identity`], [`bootstrap`], [`profiles`] | what the administrator does at start | |
//! | [`api`] | keeps a session with the API server, hands over what it watches | |
//! | [`contact`] | knows when contact is lost, and when the kubeconfig has changed | |
//! | [`store`] | the objects as last seen | yes |
//! | [`build`] | the merge into one document | yes |
//! | [`publish`] | document to table | |
//! | [`findings`], [`node_status`] | what is to be said of an object | yes |
//! | [`tell`], [`events`] | patches and Events that say it | yes |
//! | [`queue`] | which write is next | yes |
//! | [`write`] | the writes themselves | |
//! | [`engine`] | the loop that ties them together | |
//! | [`metrics`], [`http`] | /metrics, /livez, /readyz | |

pub mod api;
pub mod bootstrap;
pub mod build;
pub mod contact;
pub mod engine;
pub mod events;
pub mod findings;
pub mod http;
pub mod identity;
pub mod link;
pub mod metrics;
pub mod node_status;
pub mod profiles;
pub mod publish;
pub mod queue;
pub mod store;
pub mod tell;
pub mod write;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use api::Objects;
use engine::Engine;
use http::Health;
use identity::{Identity, IdentityError};
use link::{Signals, Tables};
use metrics::Metrics;
use publish::Publisher;

/// Field manager of everything that is not one node's own.
pub const MANAGER: &str = "sandbar";

/// How a controller is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The administrator's kubeconfig. It may appear later.
    pub kubeconfig: PathBuf,
    /// This node.
    pub node: String,
    /// Where metrics and probes are served; `None` serves none.
    pub address: Option<SocketAddr>,
    /// What it applies to the cluster before it works.
    pub objects: Objects,
    /// Sequence of the last of the supervisor's events that an earlier controller has told.
    pub told_events: u64,
}

/// Why a controller ended by itself.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ControllerError {
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Link(#[from] link::LinkError),
    #[error("this host has no name: {0}")]
    HostName(#[source] std::io::Error),
    #[error("the supervisor's bell cannot be heard: {0}")]
    Bell(#[source] std::io::Error),
    #[error("the task that watches the API server ended")]
    ApiTask,
}

/// Runs until the supervisor is gone. Needs a tokio runtime.
pub async fn run(config: Config, tables: Tables, signals: Signals) -> Result<(), ControllerError> {
    let observed = tables.observed.clone();
    let health = Arc::new(Health::new(observed.clone()));
    let metrics = Arc::new(Metrics::new(observed, health.clone()));
    serve(config.address, &health, &metrics).await;
    let (sender, receiver) = mpsc::channel(64);
    let identity = Identity::new(&config.kubeconfig)?;
    let (objects, node, known) = (config.objects, config.node.clone(), health.clone());
    let watching = tokio::spawn(async move { api::run(identity, objects, node, sender, &known).await });
    let engine = Engine::new(config.node, Publisher::new(tables), metrics, health, config.told_events);
    let outcome = tokio::select! {
        () = signals.gone() => {
            tracing::info!("the supervisor is gone");
            Ok(())
        }
        outcome = engine.run(receiver, &signals) => outcome,
    };
    watching.abort();
    outcome
}

/// Metrics are worth having, not worth failing for.
async fn serve(address: Option<SocketAddr>, health: &Arc<Health>, metrics: &Arc<Metrics>) {
    let Some(address) = address else { return };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            tracing::info!(%address, "serving /metrics, /livez and /readyz");
            tokio::spawn(http::serve(listener, health.clone(), metrics.clone()));
        }
        Err(error) => {
            tracing::warn!(%address, %error, "no metrics and probes: choose another --metrics-address")
        }
    }
}

/// The words of an error of the API server, without the answer that it came in.
fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => {
            // hyper's outermost words are "client error (Connect)"; what people need is further in.
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                source = inner.source();
            }
            text
        }
    }
}
