//! The writes to the API server, each bounded in time.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::time::timeout;

use super::tell::{self, StatusPatch};
use super::{events, explain};
use crate::api::SandboxConfig;
use crate::api::status::SandboxConfigStatus;

const BOUND: Duration = Duration::from_secs(5);

/// Something to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A part of a status.
    Status(StatusPatch),
    /// The entry of a node in the status of `name`, to be removed if there is no such Node.
    #[allow(missing_docs)]
    Forget { name: String, node: String },
    /// An Event, unless it is there already.
    Event(Box<Event>),
}

/// What became of it.
#[derive(Debug)]
pub enum Written {
    /// The status of the named object as it is now.
    Status(String, Box<SandboxConfigStatus>),
    /// Nothing more to know: written, there already, or about something that is gone.
    Done,
    /// The API server will not have it.
    Refused(Write, String),
    /// It could not be asked; later, it can.
    Failed(Write, String),
}

/// Writes it.
pub fn run(client: Client, write: Write) -> BoxFuture<'static, Written> {
    async move {
        match timeout(BOUND, attempt(&client, &write)).await {
            Ok(Ok(written)) => written,
            // 404: the object is gone, or the resource is; 409: the Event is there already.
            Ok(Err(kube::Error::Api(status))) if [404, 409].contains(&status.code) => Written::Done,
            // Not 403: an API server that just started does not know its roles yet.
            Ok(Err(kube::Error::Api(status))) if [400, 422].contains(&status.code) => {
                Written::Refused(write, status.message.clone())
            }
            Ok(Err(error)) => Written::Failed(write, explain(&error)),
            Err(_) => Written::Failed(write, format!("no answer within {} s", BOUND.as_secs())),
        }
    }
    .boxed()
}

impl Write {
    /// An Event.
    pub fn event(event: Event) -> Self {
        Self::Event(Box::new(event))
    }

    /// What it is about.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Forget { .. } => "status of a node that is gone",
            Self::Event(_) => "event",
        }
    }
}

async fn attempt(client: &Client, write: &Write) -> Result<Written, kube::Error> {
    match write {
        Write::Status(patch) => apply(client, patch).await,
        Write::Forget { name, node } => {
            let nodes: Api<Node> = Api::all(client.clone());
            match nodes.get_metadata_opt(node).await? {
                Some(_) => Ok(Written::Done),
                None => apply(client, &tell::forget(name, node)).await,
            }
        }
        Write::Event(event) => {
            let api: Api<Event> = Api::namespaced(client.clone(), events::NAMESPACE);
            api.create(&PostParams::default(), event.as_ref()).await?;
            Ok(Written::Done)
        }
    }
}

async fn apply(client: &Client, patch: &StatusPatch) -> Result<Written, kube::Error> {
    let api: Api<SandboxConfig> = Api::all(client.clone());
    let params = PatchParams::apply(&patch.manager).force();
    let object = api.patch_status(&patch.name, &params, &Patch::Apply(&patch.body)).await?;
    Ok(Written::Status(patch.name.clone(), Box::new(object.status.unwrap_or_default())))
}
