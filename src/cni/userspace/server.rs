//! The server: one thread that keeps what it serves in line with what is written in the plugin's state directory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::gateway::Gateway;
use super::ports::Listeners;
use super::{Answer, LIMIT, LONGEST, Question, Wants, ports, socket, tun};
use crate::cni::netns::Netns;
use crate::cni::state::{self, Attachment};

/// How often it looks by itself: for gateways that ended, and attachments that were forgotten while it was not asked.
const LOOK: Duration = Duration::from_secs(10);

/// A server that runs. It ends, and all that it serves, when this is dropped.
#[derive(Debug)]
pub struct Server {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to serve what is written in `state`. In the node's network namespace.
    pub fn start(state: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state.join("attachments"))?;
        // Whoever has left it is gone: there is one server for a state directory.
        let path = socket(state);
        let _ = fs::remove_file(&path);
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let state = state.to_owned();
        let work = move || {
            let served = runtime.block_on(async {
                let listener = UnixListener::from_std(listener)?;
                serve(&listener, &state, ended).await;
                Ok::<(), io::Error>(())
            });
            if let Err(error) = served {
                tracing::warn!("the pod network in user space: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("pod-network".into()).spawn(work)?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the pod network in user space ended by a bug");
        }
    }
}

async fn serve(listener: &UnixListener, state: &Path, mut ended: oneshot::Receiver<()>) {
    let mut served = Served { state: state.to_owned(), ..Served::default() };
    served.look().await;
    loop {
        tokio::select! {
            _ = &mut ended => return,
            () = tokio::time::sleep(LOOK) => served.look().await,
            accepted = listener.accept() => match accepted {
                // One after the other: calls of the plugin take turns, too.
                Ok((stream, _)) => if let Ok(Err(error)) = timeout(LIMIT, served.answer(stream)).await {
                    tracing::warn!("a question to the pod network: {error}");
                },
                // Out of descriptors, say: no reason to spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

#[derive(Debug)]
struct One {
    wants: Wants,
    error: Option<String>,
    gateway: Option<Gateway>,
    listeners: Listeners,
}

#[derive(Debug, Default)]
struct Served {
    state: PathBuf,
    pods: HashMap<String, One>,
}

impl Served {
    async fn answer(&mut self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        BufReader::new(reader.take(LONGEST)).read_line(&mut line).await?;
        let question: Question = serde_json::from_str(&line)?;
        self.look().await;
        let error = self.pods.get(&question.about).and_then(|pod| pod.error.clone());
        let no_way = tun::usable().err();
        let mut answer = serde_json::to_vec(&Answer { error, no_way })?;
        answer.push(b'\n');
        writer.write_all(&answer).await
    }

    /// Ends what is wanted no more, then begins what is new or has ended.
    async fn look(&mut self) {
        let wanted: HashMap<String, Attachment> = state::read_all(&self.state)
            .into_iter()
            .filter(|one| !one.userspace.is_empty())
            .map(|one| (one.id.host_link(), one))
            .collect();
        let stays = |link: &str, pod: &One| {
            wanted.get(link).is_some_and(|one| one.userspace == pod.wants)
                && pod.error.is_none()
                && !pod.gateway.as_ref().is_some_and(Gateway::has_ended)
        };
        for (_, pod) in self.pods.extract_if(|link, pod| !stays(link, pod)) {
            pod.listeners.close().await;
        }
        for (link, attachment) in wanted {
            if let Entry::Vacant(place) = self.pods.entry(link) {
                let pod = begin(attachment);
                if let Some(error) = &pod.error {
                    tracing::debug!(link = place.key(), "the pod network in user space: {error}");
                }
                place.insert(pod);
            }
        }
    }
}

/// All that an attachment wants, or nothing of it.
fn begin(attachment: Attachment) -> One {
    let Attachment { netns, userspace: wants, .. } = attachment;
    let begun = || -> Result<_, String> {
        // A pod that is gone may have left its record, but not its namespace.
        let pod = Netns::open(&netns).map_err(|error| error.to_string())?;
        pod.inside(|| Ok(())).map_err(|error| error.to_string())?;
        let listeners = ports::listen(&wants.forwards)?;
        let gateway = wants.way.as_ref().map(|way| Gateway::start(&pod, way)).transpose()?;
        Ok((listeners, gateway))
    };
    match begun() {
        Ok((listeners, gateway)) => One { wants, error: None, gateway, listeners },
        Err(error) => One { wants, error: Some(error), gateway: None, listeners: Listeners::default() },
    }
}
