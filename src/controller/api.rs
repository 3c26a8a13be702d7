//! The session with the API server: bootstrap, own identity, watches; begun anew whenever it breaks. Whatever happens
//! here, the published table stays as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::Sender;

use super::bootstrap::{self, BootstrapError};
use super::contact;
use super::http::Health;
use super::identity::{Identity, IdentityError};
use crate::api::SandboxConfig;

/// What the engine hears.
pub enum Heard {
    /// A session began; this client has the controller's own rights.
    Session(Client),
    /// A change of the SandboxConfigs.
    Config(Box<Event<DeserializeGuard<SandboxConfig>>>),
    /// The labels of this node; `None` while it is no Node.
    Labels(Option<BTreeMap<String, String>>),
}

/// What is applied to the cluster when a session begins.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// The built-in profiles: each time, so that they are back if they are missing.
    pub builtin: Vec<SandboxConfig>,
    /// What was given to `sandbar up -f`: once.
    pub given: Vec<SandboxConfig>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SessionError {
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Bootstrap(#[from] BootstrapError),
    #[error("the API server turned us away: {0}")]
    TurnedAway(Box<watcher::Error>),
    #[error("the kubeconfig has changed")]
    Kubeconfig,
    #[error("a watch ended")]
    WatchEnded,
    #[error("nobody listens any more")]
    Closed,
}

/// Between two attempts. Short, since k3s restarts are part of the game.
const RETRY: Duration = Duration::from_millis(500);

/// Keeps a session for ever, or until nobody listens.
pub async fn run(
    identity: Identity,
    mut objects: Objects,
    node: String,
    heard: Sender<Heard>,
    health: &Health,
) {
    let mut last = String::new();
    loop {
        match session(&identity, &mut objects, &node, &heard, health).await {
            Ok(()) | Err(SessionError::Closed) => return,
            Err(error) => {
                // An API server that is still starting refuses us twice a second: one line will do.
                let text = error.to_string();
                if text != last {
                    tracing::info!("waiting for the API server: {text}");
                    last = text;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn session(
    identity: &Identity,
    objects: &mut Objects,
    node: &str,
    heard: &Sender<Heard>,
    health: &Health,
) -> Result<(), SessionError> {
    // Before any client is made from it: what changes meanwhile is a change.
    let kubeconfig = identity.kubeconfig();
    let admin = identity.admin().await?;
    bootstrap::run(&admin, objects.builtin.iter().chain(&objects.given)).await?;
    // Who deletes one later means it.
    objects.given.clear();
    let due = identity.renew(&admin).await?;
    drop(admin);
    let client = identity.controller().await?;
    health.contact();
    tracing::info!("working as {}/{}", super::identity::NAMESPACE, super::identity::SERVICE_ACCOUNT);
    heard.send(Heard::Session(client.clone())).await.map_err(|_| SessionError::Closed)?;
    tokio::select! {
        error = keep_identity(identity, due) => Err(error.into()),
        () = contact::keep(identity, kubeconfig, client.clone(), health) => Err(SessionError::Kubeconfig),
        ended = watch_configs(client.clone(), heard) => ended,
        ended = watch_node(client, node, heard) => ended,
    }
}

/// Renews the token before it ends, for ever; an outage of the API server is waited out.
async fn keep_identity(identity: &Identity, mut due: Duration) -> IdentityError {
    loop {
        tokio::time::sleep(due).await;
        due = match renew(identity).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "cannot renew the token yet");
                Duration::from_secs(10)
            }
        };
    }
}

async fn renew(identity: &Identity) -> Result<Duration, IdentityError> {
    identity.renew(&identity.admin().await?).await
}

async fn watch_configs(client: Client, heard: &Sender<Heard>) -> Result<(), SessionError> {
    let configs: Api<DeserializeGuard<SandboxConfig>> = Api::all(client);
    let stream = watcher(configs, watcher::Config::default()).modify(|config| {
        // Nobody here reads them, and they are the larger half of an object.
        config.managed_fields_mut().clear();
    });
    let mut stream = std::pin::pin!(stream.backoff(Soon::default()));
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                heard.send(Heard::Config(Box::new(event))).await.map_err(|_| SessionError::Closed)?
            }
            Err(error) => judge(error)?,
        }
    }
    Err(SessionError::WatchEnded)
}

async fn watch_node(client: Client, node: &str, heard: &Sender<Heard>) -> Result<(), SessionError> {
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(client);
    let only = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let mut stream = std::pin::pin!(watcher(nodes, only).backoff(Soon::default()).map_err(judge));
    let mut listed = None;
    while let Some(event) = stream.next().await {
        let labels = |node: PartialObjectMeta<Node>| Some(node.metadata.labels.unwrap_or_default());
        let now = match event {
            Err(ended) => {
                ended?;
                continue;
            }
            Ok(Event::Init) => {
                listed = None;
                continue;
            }
            Ok(Event::InitApply(node)) => {
                listed = labels(node);
                continue;
            }
            Ok(Event::InitDone) => listed.take(),
            Ok(Event::Apply(node)) => labels(node),
            Ok(Event::Delete(_)) => None,
        };
        heard.send(Heard::Labels(now)).await.map_err(|_| SessionError::Closed)?;
    }
    Err(SessionError::WatchEnded)
}

/// Waits between attempts to watch. kube's own grow to 30 s, which is long for an API server that comes back in five.
#[derive(Debug, Default)]
struct Soon {
    attempt: u32,
}

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.attempt += 1;
        Some(Duration::from_millis(100 << self.attempt.min(4)))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// A watch heals by itself, unless we are turned away: then the session has to begin anew, with a new token, or with a
/// resource definition that someone deleted.
fn judge(error: watcher::Error) -> Result<(), SessionError> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    let code = match &error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => status.code,
        WatchError(status) => status.code,
        _ => 0,
    };
    tracing::debug!(%error, code, "watch interrupted");
    if [401, 403, 404].contains(&code) { Err(SessionError::TurnedAway(Box::new(error))) } else { Ok(()) }
}
