//! Who the controller is: the administrator for the moment of bootstrap, a service account with few rights from then on.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::explain;

/// Namespace of the service account.
pub const NAMESPACE: &str = "sandbar-system";
/// Name of the service account, its ClusterRole and its binding.
pub const SERVICE_ACCOUNT: &str = "sandbar-controller";
/// Lifetime that is asked for, in seconds.
const LIFETIME: i64 = 3600;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum IdentityError {
    #[error("cannot use the kubeconfig {path}: {source}", path = .path.display())]
    Kubeconfig { path: PathBuf, source: kube::config::KubeconfigError },
    #[error("cannot make a client: {}", explain(.0))]
    Client(#[source] Box<kube::Error>),
    #[error("cannot get a token for {NAMESPACE}/{SERVICE_ACCOUNT}: {}", explain(.0))]
    Token(#[source] Box<kube::Error>),
    #[error("the API server answered a token request without a token")]
    NoToken,
    #[error("cannot keep the token: {0}")]
    Keep(#[from] io::Error),
}

/// The kubeconfig of the administrator, and the token of the service account.
#[derive(Debug)]
pub struct Identity {
    kubeconfig: PathBuf,
    /// In memory only, and read again by the client each minute, as it would read a mounted token.
    token: File,
}

impl Identity {
    /// Nothing is read yet: the kubeconfig may appear later.
    pub fn new(kubeconfig: &Path) -> Result<Self, IdentityError> {
        let token = memfd_create(c"sandbar-token", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?;
        Ok(Self { kubeconfig: kubeconfig.to_owned(), token: token.into() })
    }

    /// The text of the kubeconfig, if there is one to read.
    pub fn kubeconfig(&self) -> Option<String> {
        std::fs::read_to_string(&self.kubeconfig).ok()
    }

    /// A client with the administrator's rights, for bootstrap and for getting tokens.
    pub async fn admin(&self) -> Result<Client, IdentityError> {
        client(self.config().await?)
    }

    /// A client with the rights of the service account. [`Self::renew`] must have been called.
    pub async fn controller(&self) -> Result<Client, IdentityError> {
        let mut config = self.config().await?;
        config.auth_info = AuthInfo {
            token_file: Some(format!("/proc/self/fd/{}", self.token.as_raw_fd())),
            ..Default::default()
        };
        client(config)
    }

    async fn config(&self) -> Result<Config, IdentityError> {
        let fail = |source| IdentityError::Kubeconfig { path: self.kubeconfig.clone(), source };
        let file = Kubeconfig::read_from(&self.kubeconfig).map_err(fail)?;
        let mut config =
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(fail)?;
        // The API server is ours and near; the proxy that a hosted sandbox names in the environment cannot reach it.
        config.proxy_url = None;
        config.connect_timeout = Some(Duration::from_secs(5));
        Ok(config)
    }

    /// Gets a fresh token and says when the next one is due: after two thirds of its life.
    pub async fn renew(&self, admin: &Client) -> Result<Duration, IdentityError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), NAMESPACE);
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(LIFETIME), ..Default::default() },
            ..Default::default()
        };
        let status = accounts
            .create_token_request(SERVICE_ACCOUNT, &PostParams::default(), &request)
            .await
            .map_err(|error| IdentityError::Token(Box::new(error)))?
            .status
            .ok_or(IdentityError::NoToken)?;
        // Reader and writer are one thread: nobody sees the moment between the two calls.
        self.token.set_len(0)?;
        self.token.write_all_at(status.token.as_bytes(), 0)?;
        Ok(due(Timestamp::now(), status.expiration_timestamp.0))
    }
}

fn client(config: Config) -> Result<Client, IdentityError> {
    Client::try_from(config).map_err(|error| IdentityError::Client(Box::new(error)))
}

fn due(now: Timestamp, expires: Timestamp) -> Duration {
    let left = u64::try_from(expires.as_second() - now.as_second()).unwrap_or_default();
    Duration::from_secs((left * 2 / 3).max(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_well_before_it_ends_and_never_in_a_tight_loop() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(due(at(0), at(3600)), Duration::from_secs(2400));
        assert_eq!(due(at(100), at(50)), Duration::from_secs(10));
    }
}
