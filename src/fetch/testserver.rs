//! A real HTTP server on loopback for tests: it can ignore Range, cut connections short and refuse, and it keeps count.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How one path is served.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// The whole content.
    pub body: Vec<u8>,
    /// Status to answer instead.
    pub status: Option<u16>,
    /// Answers 200 with everything even to a Range request.
    pub ignores_range: bool,
    /// Closes after this many bytes of each answer's body, for the first `cuts` answers.
    pub cut_at: Option<usize>,
    /// How many answers are cut.
    pub cuts: usize,
    /// Sends no Content-Length.
    pub no_length: bool,
}

/// A path that was asked for, and the offset of its Range header.
pub type Asked = (String, Option<u64>);

/// A running server; it ends with the process.
#[derive(Debug)]
pub struct TestServer {
    address: String,
    requests: Arc<Mutex<Vec<Asked>>>,
}

impl TestServer {
    /// Serves `paths` (each with its leading slash).
    pub fn start(paths: impl IntoIterator<Item = (String, Served)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let mut paths: HashMap<String, Served> = paths.into_iter().collect();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One at a time is all these tests need; a client that goes away is its own affair.
                let _ = answer(stream, &mut paths, &seen);
            }
        });
        Self { address, requests }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.address
    }

    /// Paths asked for, with the offset of a Range header.
    pub fn requests(&self) -> Vec<Asked> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    paths: &mut HashMap<String, Served>,
    seen: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().transpose()?.unwrap_or_default().split(' ').nth(1).unwrap_or("").to_owned();
    let mut offset = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            offset = range.trim_end_matches('-').parse::<u64>().ok();
        }
    }
    seen.lock().unwrap().push((path.clone(), offset));
    let Some(served) = paths.get_mut(&path) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if let Some(status) = served.status {
        return write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let total = served.body.len();
    let start = offset.filter(|_| !served.ignores_range).map_or(0, |start| start as usize);
    if start > 0 && start >= total {
        return write!(
            stream,
            "HTTP/1.1 416 Range\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let body = &served.body[start..];
    match start {
        0 => write!(stream, "HTTP/1.1 200 OK\r\n")?,
        _ => {
            write!(stream, "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{total}\r\n", total - 1)?
        }
    }
    if !served.no_length {
        write!(stream, "Content-Length: {}\r\n", body.len())?;
    }
    write!(stream, "Connection: close\r\n\r\n")?;
    match served.cut_at.filter(|_| served.cuts > 0) {
        Some(cut) => {
            served.cuts -= 1;
            stream.write_all(&body[..cut.min(body.len())])
        }
        None => stream.write_all(body),
    }
}
