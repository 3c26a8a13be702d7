//! Whether the outside can be reached: names and connections, each bounded, all at once, never hanging.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Serialize;

const LIMIT: Duration = Duration::from_secs(2);

/// Hosts that matter, and what for.
const TARGETS: [(&str, &str); 4] = [
    ("github.com:443", "k3s releases"),
    ("registry-1.docker.io:443", "images"),
    ("registry.k8s.io:443", "images"),
    ("dl.k8s.io:443", "kubectl"),
];

/// One target's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Reach {
    /// `host:port`.
    pub target: String,
    /// What it is good for.
    pub purpose: String,
    /// Why it cannot be reached, `None` if it can.
    pub error: Option<String>,
}

/// Tries every target, or the proxy alone if there is one: behind a proxy the rest is its business.
pub fn try_all() -> Vec<Reach> {
    let proxy = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let targets: Vec<(String, String)> = match proxy.as_deref().map(proxy_target) {
        Some(target) => vec![(target, "the proxy of HTTPS_PROXY".to_owned())],
        None => {
            TARGETS.iter().map(|(target, purpose)| ((*target).to_owned(), (*purpose).to_owned())).collect()
        }
    };
    let (sender, receiver) = mpsc::channel();
    for (index, (target, _)) in targets.iter().enumerate() {
        let (sender, target) = (sender.clone(), target.clone());
        // Resolving cannot be interrupted; a thread that is still at it when we are done ends with the process.
        std::thread::spawn(move || sender.send((index, connect(&target))));
    }
    drop(sender);
    let deadline = Instant::now() + LIMIT;
    let mut errors = vec![Some(format!("no answer in {} s", LIMIT.as_secs())); targets.len()];
    while let Ok((index, error)) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        errors[index] = error;
    }
    let results = targets.into_iter().zip(errors);
    results.map(|((target, purpose), error)| Reach { target, purpose, error }).collect()
}

fn connect(target: &str) -> Option<String> {
    let addresses = match target.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Some(format!("name resolution: {error}")),
    };
    let mut last = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(_) => return None,
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Some(last)
}

/// `host:port` of a proxy URL, without the credentials that it may carry.
fn proxy_target(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let has_port = host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
    let default = match scheme {
        "https" => 443,
        "socks5" | "socks4" | "socks4a" | "socks5h" => 1080,
        _ => 80,
    };
    if has_port { host.to_owned() } else { format!("{host}:{default}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_shown_without_credentials() {
        assert_eq!(proxy_target("http://user:secret@proxy.example:3128/"), "proxy.example:3128");
        assert_eq!(proxy_target("https://proxy.example"), "proxy.example:443");
        assert_eq!(proxy_target("proxy.example:8080"), "proxy.example:8080");
        assert_eq!(proxy_target("socks5://[::1]"), "[::1]:1080");
    }

    #[test]
    fn a_closed_port_and_an_open_one() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(connect(&address), None);
        drop(listener);
        assert!(connect(&address).unwrap().contains("refused"));
    }
}
