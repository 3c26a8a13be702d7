//! A client outside the trace: one connection, one request at a time (or as many as are asked for), nothing of its own that costs.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Client, Config};
use tokio::runtime::Runtime;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Talks to one API server.
pub struct Outside {
    runtime: Runtime,
    client: Client,
}

impl Outside {
    /// A client with the rights in `kubeconfig`.
    pub fn new(kubeconfig: &Path) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(kubeconfig).map_err(io::Error::other)?;
            let options = KubeConfigOptions::default();
            let mut config =
                Config::from_custom_kubeconfig(file, &options).await.map_err(io::Error::other)?;
            // The API server is on this machine, whatever proxy the environment names.
            config.proxy_url = None;
            config.connect_timeout = Some(CONNECT_WITHIN);
            Client::try_from(config).map_err(io::Error::other)
        })?;
        Ok(Self { runtime, client })
    }

    /// Whether the API server says that it is ready.
    pub fn is_ready(&self) -> bool {
        let mut request = hyper::Request::new(Vec::new());
        *request.uri_mut() = hyper::Uri::from_static("/readyz");
        self.runtime.block_on(self.client.request_text(request)).is_ok_and(|text| text == "ok")
    }

    /// Creates each of `objects` in `namespace`, `at_a_time` requests in flight.
    pub fn create(&self, namespace: &str, objects: &[ConfigMap], at_a_time: usize) -> io::Result<()> {
        let api = self.config_maps(namespace);
        let post = PostParams::default();
        let requests = stream::iter(objects).map(|object| api.create(&post, object));
        let all = requests.buffer_unordered(at_a_time).try_for_each(|_| async { Ok(()) });
        self.runtime.block_on(all).map_err(io::Error::other)
    }

    /// Creates a namespace.
    pub fn create_namespace(&self, name: &str) -> io::Result<()> {
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
            ..Default::default()
        };
        let api = Api::all(self.client.clone());
        self.runtime.block_on(api.create(&PostParams::default(), &namespace)).map_err(io::Error::other)?;
        Ok(())
    }

    /// Gets each of `objects` in `namespace`, `at_a_time` requests in flight.
    pub fn get(&self, namespace: &str, objects: &[ConfigMap], at_a_time: usize) -> io::Result<()> {
        let api = self.config_maps(namespace);
        let requests =
            stream::iter(objects).map(|object| api.get(object.metadata.name.as_deref().unwrap_or_default()));
        let all = requests.buffer_unordered(at_a_time).try_for_each(|_| async { Ok(()) });
        self.runtime.block_on(all).map_err(io::Error::other)
    }

    /// Lists all ConfigMaps in `namespace`, `times` times.
    pub fn list(&self, namespace: &str, times: usize) -> io::Result<()> {
        let api = self.config_maps(namespace);
        self.runtime.block_on(async {
            for _ in 0..times {
                api.list(&ListParams::default()).await.map_err(io::Error::other)?;
            }
            Ok(())
        })
    }

    /// Whether there is a ready node, and pods can be created.
    pub fn takes_pods(&self) -> bool {
        let (nodes, accounts): (Api<Node>, Api<ServiceAccount>) =
            (Api::all(self.client.clone()), Api::namespaced(self.client.clone(), "default"));
        self.runtime.block_on(async {
            let ready =
                nodes.list(&ListParams::default()).await.is_ok_and(|nodes| nodes.iter().any(is_ready));
            ready && accounts.get("default").await.is_ok()
        })
    }

    /// Creates a pod, and waits until it is running and ready.
    pub fn start_pod(&self, pod: &Pod, within: Duration) -> io::Result<()> {
        let ready = |pod: Option<&Pod>| pod.is_some_and(pod_is_ready);
        self.create_pod(pod, conditions::is_pod_running().and(ready), within)
    }

    /// Creates a pod, waits until it has ended, and returns its log.
    pub fn run_pod(&self, pod: &Pod, within: Duration) -> io::Result<String> {
        let ended = |pod: Option<&Pod>| matches!(phase(pod), Some("Succeeded" | "Failed"));
        self.create_pod(pod, ended, within)?;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.runtime.block_on(self.pods().logs(name, &LogParams::default())).map_err(io::Error::other)
    }

    /// Deletes a pod, and waits until it is gone.
    pub fn delete_pod(&self, name: &str, within: Duration) -> io::Result<()> {
        let pods = self.pods();
        let gone = |pod: Option<&Pod>| pod.is_none();
        self.runtime.block_on(async {
            pods.delete(name, &DeleteParams::default()).await.map_err(io::Error::other)?;
            let waiting = tokio::time::timeout(within, await_condition(pods, name, gone));
            waiting.await.map_err(io::Error::other)?.map_err(io::Error::other).map(drop)
        })
    }

    fn create_pod(&self, pod: &Pod, until: impl Condition<Pod>, within: Duration) -> io::Result<()> {
        let pods = self.pods();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.runtime.block_on(async {
            pods.create(&PostParams::default(), pod).await.map_err(io::Error::other)?;
            let waiting = tokio::time::timeout(within, await_condition(pods.clone(), name, until));
            if let Ok(waited) = waiting.await {
                return waited.map(drop).map_err(io::Error::other);
            }
            let status = pods.get(name).await.map(|pod| pod.status).map_err(io::Error::other)?;
            Err(io::Error::other(format!("pod {name} is not there after {within:?}: {status:?}")))
        })
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

fn phase(pod: Option<&Pod>) -> Option<&str> {
    pod?.status.as_ref()?.phase.as_deref()
}
