//! `/metrics`, `/livez` and `/readyz` over loopback.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::metrics::{self, Metrics};
use crate::rules::observed::{Observed, Scalar};

/// The loop beats every 30 s; without a beat for this long it is stuck.
const STUCK: Duration = Duration::from_secs(120);
/// The API server is asked every 10 s; without an answer for this long there is no contact.
const SILENT: Duration = Duration::from_secs(25);

/// What the probes tell.
#[derive(Debug)]
pub struct Health {
    observed: Observed,
    start: Instant,
    beat: AtomicU64,
    session: AtomicBool,
    contact: AtomicU64,
    published: AtomicU64,
    rules: AtomicU64,
}

impl Health {
    /// Alive from now on, and not ready.
    pub fn new(observed: Observed) -> Self {
        Self {
            observed,
            start: Instant::now(),
            beat: AtomicU64::new(0),
            session: AtomicBool::new(false),
            contact: AtomicU64::new(0),
            published: AtomicU64::new(0),
            rules: AtomicU64::new(0),
        }
    }

    /// The loop is going round.
    pub fn beat(&self) {
        self.mark(&self.beat);
    }

    /// The API server has answered.
    pub fn contact(&self) {
        self.mark(&self.contact);
    }

    /// Whether it has of late.
    pub fn in_contact(&self) -> bool {
        self.since(&self.contact) < SILENT
    }

    fn mark(&self, when: &AtomicU64) {
        when.store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn since(&self, when: &AtomicU64) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_secs(when.load(Ordering::Relaxed)))
    }

    /// The resource is served and the controller has its identity.
    pub fn session(&self) {
        self.session.store(true, Ordering::Relaxed);
    }

    /// A table of so many rules is the one wanted, published under this generation.
    pub fn publish(&self, generation: u64, rules: usize) {
        self.published.store(generation, Ordering::Relaxed);
        self.rules.store(rules as u64, Ordering::Relaxed);
    }

    /// Generation and number of rules last published.
    pub fn published(&self) -> (u64, u64) {
        (self.published.load(Ordering::Relaxed), self.rules.load(Ordering::Relaxed))
    }

    fn live(&self) -> Vec<(&'static str, bool)> {
        vec![("loop", self.since(&self.beat) < STUCK)]
    }

    fn ready(&self) -> Vec<(&'static str, bool)> {
        let published = self.published.load(Ordering::Relaxed);
        let k3s = self.observed.read().is_ok_and(|state| state.k3s.phase == "Ready");
        vec![
            ("session", self.session.load(Ordering::Relaxed)),
            ("api-server", self.in_contact()),
            ("table-published", published > 0),
            ("table-acknowledged", self.observed.scalar(Scalar::Acknowledged) >= published),
            ("k3s", k3s),
        ]
    }
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: trying at once would only burn time.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (health, metrics) = (health.clone(), metrics.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = respond(&request, &health, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = http1::Builder::new();
            server.timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

fn respond(request: &Request<Incoming>, health: &Health, metrics: &Metrics) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
    }
    match request.uri().path() {
        "/livez" => checks(&health.live()),
        "/readyz" => checks(&health.ready()),
        "/metrics" => match metrics.encode() {
            Ok(body) => {
                let mut response = text(StatusCode::OK, body);
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(metrics::CONTENT_TYPE));
                response
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "/metrics, /livez, /readyz\n".to_owned()),
    }
}

/// In the manner of the API server's own probes.
fn checks(checks: &[(&'static str, bool)]) -> Response<Full<Bytes>> {
    let lines: String =
        checks.iter().map(|(name, ok)| format!("[{}]{name}\n", if *ok { '+' } else { '-' })).collect();
    let ok = checks.iter().all(|(_, ok)| *ok);
    text(if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines)
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::observed::{K3sState, ObservedDocument, create_observed};

    fn ok(checks: &[(&'static str, bool)]) -> bool {
        checks.iter().all(|(_, ok)| *ok)
    }

    #[test]
    fn ready_means_session_and_acknowledged_table_and_k3s() {
        let observed = Observed::open(&create_observed().unwrap(), true).unwrap();
        let health = Health::new(observed.clone());
        assert!(ok(&health.live()) && !ok(&health.ready()));
        health.session();
        health.publish(2, 10);
        observed.set(Scalar::Acknowledged, 1);
        let k3s = K3sState { phase: "Ready".into(), ..Default::default() };
        observed.publish(&ObservedDocument { k3s, ..Default::default() }).unwrap();
        assert!(!ok(&health.ready()), "the table is not acknowledged yet");
        observed.set(Scalar::Acknowledged, 2);
        assert!(ok(&health.ready()), "{:?}", health.ready());
    }

    #[test]
    fn an_api_server_that_does_not_answer_is_told() {
        let observed = Observed::open(&create_observed().unwrap(), true).unwrap();
        let mut health = Health::new(observed);
        assert!(health.in_contact());
        health.start -= SILENT;
        assert!(!health.in_contact() && health.ready().contains(&("api-server", false)));
        health.contact();
        assert!(health.in_contact() && health.ready().contains(&("api-server", true)));
    }
}
