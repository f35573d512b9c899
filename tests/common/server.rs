//! `stonechat serve` and who asks it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a server may take for what it does at once: longer than any machine needs.
pub const SOON: Duration = Duration::from_secs(20);

/// A server that ends with the test.
pub struct Server {
    pub child: Child,
    pub address: String,
    log: PathBuf,
    _folder: TempDir,
}

impl Server {
    /// With the tiny model, at a port that the system chooses.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_bare(&[&["-m", "tiny", "--port", "0", "-t", "1"], arguments].concat())
    }

    /// With these arguments alone.
    pub fn start_bare(arguments: &[&str]) -> Self {
        let mut command = super::stonechat();
        command.arg("serve").args(arguments);
        Self::spawn(&mut command)
    }

    /// By this command, which is to become a server.
    pub fn spawn(command: &mut Command) -> Self {
        let folder = TempDir::new().expect("a folder");
        let log = folder.path().join("log");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).expect("a file"));
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut lines = lines.map(|line| line.expect("UTF-8"));
        let address = lines.find_map(|line| Some(line.strip_prefix("http://")?.to_owned()));
        let Some(address) = address else {
            panic!("no address: {}", std::fs::read_to_string(&log).expect("a log"));
        };
        Self { child, address, log, _folder: folder }
    }

    /// By this command, at an address that is known; and how long it took until it was well.
    pub fn spawn_at(address: String, command: &mut Command) -> (Self, Duration) {
        let folder = TempDir::new().expect("a folder");
        let log = folder.path().join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).expect("a file"));
        let start = Instant::now();
        let child = command.spawn().expect("the program starts");
        let server = Self { child, address, log, _folder: folder };
        while TcpStream::connect(&server.address).is_err() || server.get("/health").0 != 200 {
            assert!(start.elapsed() < SOON, "it does not serve: {}", server.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        (server, start.elapsed())
    }

    /// What it has written to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Waits until it has written this to stderr behind what was there `before`, and gives what is there then.
    pub fn logs(&self, before: &str, text: &str) -> String {
        let start = Instant::now();
        loop {
            let log = self.log();
            if log.strip_prefix(before).is_some_and(|new| new.contains(text)) {
                return log;
            }
            assert!(start.elapsed() < SOON, "'{text}' is not said: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Sends bytes; what comes until the server has no more to say.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a socket");
        // A server that refuses a request may close before all of it was sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status and the text of an answer.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let (host, length) = (&self.address, body.len());
        let answer = self.raw(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            )
            .as_bytes(),
        );
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        (status, if chunked { unchunked(body) } else { body.to_owned() })
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.ask("POST", path, "Content-Type: application/json\r\n", &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "", "")
    }

    /// Whether no slot is at work, soon.
    pub fn becomes_idle(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < SOON {
            if !self.get("/slots").1.contains("\"is_processing\":true") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        text.push_str(&rest[..length]);
        body = &rest[(length + 2).min(rest.len())..];
    }
    text
}

/// A question that the tiny model answers, with more fields or others.
pub fn story(more: &Value) -> Value {
    let mut body = json!({
        "model": "tiny", "messages": [{ "role": "user", "content": "Once upon a time" }], "max_tokens": 12,
        "temperature": 0.8, "seed": 7,
    });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}
