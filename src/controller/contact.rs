//! Contact with the API server: asked now and then, so that somebody knows when it is lost, and looked up in the kubeconfig,
//! so that a session ends that a changed one has made useless.

use std::time::Duration;

use kube::{Client, Error};
use tokio::time::{Instant, sleep, timeout};

use super::http::Health;
use super::identity::Identity;

/// How often the kubeconfig is read, and an API server asked that did not answer.
const LOOK: Duration = Duration::from_secs(2);
/// How often one is asked that does.
const ASK: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Keeps `health` informed, and returns when the kubeconfig is another than `used`: k3s has a new port, authority or
/// administrator, and clients that were made before know nothing of it. An outage alone is waited out.
pub async fn keep(identity: &Identity, used: Option<String>, client: Client, health: &Health) {
    let mut next = Instant::now();
    loop {
        if next <= Instant::now() {
            let answers = answers(&client).await;
            if answers {
                health.contact();
            }
            next = Instant::now() + if answers { ASK } else { LOOK };
        }
        sleep(LOOK).await;
        // One that is gone is no better than the one in use.
        let now = identity.kubeconfig();
        if now.is_some() && now != used {
            return;
        }
    }
}

/// Whether it does at all: a refusal comes from it, too.
async fn answers(client: &Client) -> bool {
    let answer = timeout(ANSWER, client.apiserver_version()).await;
    matches!(answer, Ok(Ok(_) | Err(Error::Api(_))))
}
