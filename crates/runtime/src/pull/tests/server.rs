//! A small HTTP server with bad habits.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Answers on a local port until dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    listening: Option<JoinHandle<()>>,
}

/// What a client asked.
#[derive(Clone)]
pub struct Request {
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What to send.
pub struct Answer {
    status: String,
    headers: Vec<String>,
    body: Vec<u8>,
    /// Sends so many bytes of the body and closes the connection.
    cut: Option<usize>,
    /// Sends so many bytes of the body, and then nothing for a minute.
    silent: Option<usize>,
    slow: bool,
}

impl Answer {
    pub fn status(status: &str) -> Self {
        Self::new(status, Vec::new(), b"sorry".to_vec())
    }

    /// All of the body, whatever was asked.
    pub fn whole(body: &[u8]) -> Self {
        Self::new("200 OK", Vec::new(), body.to_vec())
    }

    /// The file, or the part of it that was asked for.
    pub fn file(request: &Request, body: &[u8]) -> Self {
        Self::version(request, "\"v1\"", body)
    }

    /// As [`file`](Self::file), with this name of the version.
    pub fn version(request: &Request, etag: &str, body: &[u8]) -> Self {
        let headers = vec![format!("ETag: {etag}")];
        let start = request
            .header("range")
            .map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
        match start {
            Some(start) if request.header("if-range").is_none_or(|known| known == etag) => {
                let mut answer = Self::new("206 Partial Content", headers, body[start..].to_vec());
                let range = format!("Content-Range: bytes {start}-{}/{}", body.len() - 1, body.len());
                answer.headers.push(range);
                answer
            }
            _ => Self::new("200 OK", headers, body.to_vec()),
        }
    }

    fn new(status: &str, mut headers: Vec<String>, body: Vec<u8>) -> Self {
        headers.push(format!("Content-Length: {}", body.len()));
        Self { status: status.to_owned(), headers, body, cut: None, silent: None, slow: false }
    }

    pub fn cut_after(self, bytes: usize) -> Self {
        Self { cut: Some(bytes), ..self }
    }

    pub fn silent_after(self, bytes: usize) -> Self {
        Self { silent: Some(bytes), ..self }
    }

    /// Pauses after each 64 KiB.
    pub fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    pub fn without_length(mut self) -> Self {
        self.headers.retain(|header| !header.starts_with("Content-Length"));
        self
    }

    /// Clients hang up in the middle: no failure of the test.
    fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        write!(
            stream,
            "HTTP/1.1 {}\r\nConnection: close\r\n{}\r\n\r\n",
            self.status,
            self.headers.join("\r\n")
        )?;
        let len = self.cut.or(self.silent).unwrap_or(self.body.len()).min(self.body.len());
        for piece in self.body[..len].chunks(64 << 10) {
            stream.write_all(piece)?;
            if self.slow {
                thread::sleep(Duration::from_millis(20));
            }
        }
        if self.silent.is_some() {
            thread::sleep(Duration::from_mins(1));
        }
        stream.shutdown(Shutdown::Write)
    }
}

impl Server {
    /// Starts a server that answers by `answer`, which is told how many requests came before.
    pub fn start(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&stream) else { return };
                let count = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(request.clone());
                    seen.len() - 1
                };
                let answer = Arc::clone(&answer);
                thread::spawn(move || answer(count, &request).send(&mut stream));
            }
        });
        Self { address, requests, listening: Some(listening) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/tiny.gguf", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// The head of a request; `None` if there is none, which is how a server is told to end.
fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    lines.next()?.ok()?;
    let header = |line: String| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    };
    Some(Request { headers: lines.map_while(|line| header(line.ok()?)).collect() })
}

impl Drop for Server {
    fn drop(&mut self) {
        // A connection that asks nothing.
        let _ = TcpStream::connect(self.address);
        // From here on nobody listens.
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}
