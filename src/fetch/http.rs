//! Single HTTP requests: the agent, and failures sorted into final ones and those worth another try.

use std::path::Path;
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};

use super::Error;

/// Longest checksum list that is read.
const TEXT_LIMIT: u64 = 1 << 20;

/// Why a request failed.
pub(super) enum Trouble {
    /// Trying again will not help.
    Final(Error),
    /// It may.
    Broken {
        /// For people.
        reason: String,
        /// Whether the server was reached.
        connected: bool,
    },
}

/// A client that cannot hang: connecting, the answer and every read have a bound; the whole has none, since a slow line
/// that still moves is fine. The proxy comes from the environment (ureq's default).
pub(super) fn agent() -> ureq::Agent {
    builder().build().into()
}

/// The same without a proxy, for tests that talk to loopback.
#[cfg(test)]
pub(super) fn direct_agent() -> ureq::Agent {
    builder().proxy(None).build().into()
}

fn builder() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots()).build())
        .http_status_as_error(false)
        .user_agent(concat!("sandbar/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(30)))
}

/// The system's certificates, which SSL_CERT_FILE and SSL_CERT_DIR override; images without any get the built-in ones.
fn roots() -> RootCerts {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    let system =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    if named || system.iter().any(|path| Path::new(path).exists()) {
        RootCerts::PlatformVerifier
    } else {
        RootCerts::WebPki
    }
}

/// GETs `url`, from byte `offset` on if the server can. A status other than 200, 206 and 416 is trouble.
pub(super) fn get(
    agent: &ureq::Agent,
    url: &str,
    offset: u64,
) -> Result<ureq::http::Response<ureq::Body>, Trouble> {
    let mut request = agent.get(url);
    if offset > 0 {
        request = request.header("Range", format!("bytes={offset}-"));
    }
    let response = request.call().map_err(|error| sort(url, error))?;
    match response.status().as_u16() {
        200 | 206 => Ok(response),
        416 if offset > 0 => Ok(response),
        status @ (408 | 429 | 500..=599) => {
            Err(Trouble::Broken { reason: format!("HTTP status {status}"), connected: true })
        }
        status => Err(Trouble::Final(Error::Status { url: url.to_owned(), status })),
    }
}

/// GETs a short text.
pub(super) fn text(agent: &ureq::Agent, url: &str) -> Result<String, Trouble> {
    let mut response = get(agent, url, 0)?;
    let text = response.body_mut().with_config().limit(TEXT_LIMIT).read_to_string();
    text.map_err(|error| Trouble::Broken { reason: error.to_string(), connected: true })
}

fn sort(url: &str, error: ureq::Error) -> Trouble {
    // ureq puts "io: " before what the kernel says.
    let reason = error.to_string().trim_start_matches("io: ").to_owned();
    match error {
        // The connection was there and broke: another try may do.
        ureq::Error::Io(ref inner) if !never_connected(inner) => Trouble::Broken { reason, connected: true },
        ureq::Error::Timeout(ureq::Timeout::RecvResponse | ureq::Timeout::RecvBody) => {
            Trouble::Broken { reason, connected: true }
        }
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => Trouble::Broken { reason, connected: false },
        _ => Trouble::Final(Error::Unreachable { url: url.to_owned(), reason }),
    }
}

fn never_connected(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    // TLS failures come as io errors too; they do not heal by themselves.
    error.to_string().contains("certificate")
        || matches!(
            error.kind(),
            Kind::ConnectionRefused
                | Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::PermissionDenied
        )
}

/// `(first, total)` of a `Content-Range: bytes 5-9/10`; for `bytes */10` the first is `None`.
pub(super) fn content_range(value: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let first = match range {
        "*" => None,
        _ => Some(range.split_once('-')?.0.parse().ok()?),
    };
    Some((first, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(content_range("bytes */10"), Some((None, Some(10))));
        assert_eq!(content_range("lines 1-2/3"), None);
        assert_eq!(content_range("bytes x-9/10"), None);
    }
}
