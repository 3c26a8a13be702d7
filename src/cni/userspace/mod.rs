//! The network in user space, for kernels without a nat table: host ports and the way outside, served by a long-lived process.
//!
//! The plugin's calls write down what an attachment wants ([`Wants`]) and ask the server to bring itself in line with what is
//! written ([`ask`]). The server keeps nothing that is not written, so a new one takes up where a killed one ended.

mod datagrams;
mod flows;
mod gateway;
mod packet;
mod places;
mod ports;
mod server;
mod tun;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::config::Protocol;

pub use server::Server;
pub use tun::usable;

/// The socket, in the plugin's state directory, where root alone gets in.
const SOCKET: &str = "userspace.sock";
/// For one question and its answer: within a call's time.
const LIMIT: Duration = Duration::from_secs(20);
/// A longer line is none of ours.
const LONGEST: u64 = 64 << 10;

/// One host port: connections and datagrams that arrive there go on to the pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct Forward {
    pub protocol: Protocol,
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
}

/// A way outside for one pod. What is for `inside` goes by `link` as ever; all else comes to the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct Way {
    pub link: String,
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub inside: Vec<Ipv4Net>,
}

/// What an attachment wants of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Wants {
    /// Host ports.
    #[serde(default)]
    pub forwards: Vec<Forward>,
    /// The way outside.
    #[serde(default)]
    pub way: Option<Way>,
}

impl Wants {
    /// Whether there is nothing to serve.
    pub fn is_empty(&self) -> bool {
        self.forwards.is_empty() && self.way.is_none()
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Question {
    about: String,
}

/// What the server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Answer {
    /// Why the attachment that was asked about is not served as it wants.
    pub error: Option<String>,
    /// Why there is no way outside for anybody.
    pub no_way: Option<String>,
}

/// Has the server look at what is written, and waits until it has done so; `about` names one attachment by its link.
pub fn ask(state: &Path, about: &str) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket(state))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut question = serde_json::to_vec(&Question { about: about.to_owned() })?;
    question.push(b'\n');
    stream.write_all(&question)?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Has an attachment served that is written down; why it cannot be, if it cannot.
pub fn serve(state: &Path, about: &str) -> Result<(), String> {
    match ask(state, about) {
        Ok(Answer { error: Some(error), .. }) => Err(error),
        Ok(_) => Ok(()),
        Err(error) => Err(nobody(&error)),
    }
}

/// Has what is not written down any more served no longer. Where there is no server, that is so already.
pub fn release(state: &Path) {
    let _ = ask(state, "");
}

/// Whether host ports can be served; why not, if they cannot.
pub fn serves_ports(state: &Path) -> Result<(), String> {
    ask(state, "").map(drop).map_err(|error| nobody(&error))
}

/// Whether there is a way outside; why not, if there is none.
pub fn has_way(state: &Path) -> Result<(), String> {
    ask(state, "").map_err(|error| nobody(&error))?.no_way.map_or(Ok(()), Err)
}

fn nobody(error: &io::Error) -> String {
    format!("nobody serves pods in user space: {error}")
}

fn socket(state: &Path) -> PathBuf {
    state.join(SOCKET)
}
