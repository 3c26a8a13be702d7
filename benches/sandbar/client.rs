//! A client outside the trace: one connection, one request at a time, nothing of its own that costs.

use std::io;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
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

    /// Creates each of `objects`, one after the other.
    pub fn create(&self, objects: &[ConfigMap]) -> io::Result<()> {
        let api = self.config_maps();
        self.runtime.block_on(async {
            for object in objects {
                api.create(&PostParams::default(), object).await.map_err(io::Error::other)?;
            }
            Ok(())
        })
    }

    /// Gets each of `objects`, one after the other.
    pub fn get(&self, objects: &[ConfigMap]) -> io::Result<()> {
        let api = self.config_maps();
        self.runtime.block_on(async {
            for object in objects {
                api.get(object.metadata.name.as_deref().unwrap_or_default())
                    .await
                    .map_err(io::Error::other)?;
            }
            Ok(())
        })
    }

    /// Lists them all, `times` times.
    pub fn list(&self, times: usize) -> io::Result<()> {
        let api = self.config_maps();
        self.runtime.block_on(async {
            for _ in 0..times {
                api.list(&ListParams::default()).await.map_err(io::Error::other)?;
            }
            Ok(())
        })
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }
}
