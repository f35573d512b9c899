//! `stonechat chat` as a person and a pipe use it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// `stonechat chat` that keeps its files in `home`.
pub fn chat(home: &Path, arguments: &[&str]) -> Command {
    let mut command = super::stonechat();
    command.arg("chat").arg("-m").arg(super::smollm2()).args(arguments).env("STONECHAT_HOME", home);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn spawn(command: &mut Command) -> Child {
    command.spawn().expect("the program starts")
}

/// What comes of these lines.
pub fn said(home: &Path, arguments: &[&str], lines: &str) -> Output {
    let mut child = spawn(&mut chat(home, arguments));
    // A program that refuses its arguments reads nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(lines.as_bytes());
    child.wait_with_output().expect("it ends")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// What comes of these lines, which is to be answers.
pub fn answers(home: &Path, arguments: &[&str], lines: &str) -> (String, String) {
    let output = said(home, arguments, lines);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{lines}: {err}");
    (out, err)
}

/// A terminal: `script` gives the program one.
pub struct Terminal {
    child: Child,
    seen: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn start(home: &Path, arguments: &str) -> Self {
        let line = format!(
            "exec '{}' chat -m '{}' {arguments}",
            env!("CARGO_BIN_EXE_stonechat"),
            super::smollm2().display()
        );
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]).env("STONECHAT_HOME", home).env("TERM", "xterm");
        let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()));
        let seen = std::sync::Arc::default();
        let (mut out, into): (_, std::sync::Arc<std::sync::Mutex<Vec<u8>>>) =
            (child.stdout.take().expect("a pipe"), std::sync::Arc::clone(&seen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = out.read(&mut bytes) {
                into.lock().expect("no panic").extend(&bytes[..len]);
            }
        });
        Self { child, seen }
    }

    pub fn keys(&mut self, keys: &str) {
        self.child.stdin.as_mut().expect("a pipe").write_all(keys.as_bytes()).expect("it reads");
    }

    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no panic")).into_owned()
    }

    /// Waits until the program has ended, and well. Its input stays open until then: `script` takes the end of its own as a
    /// reason to end what it runs.
    pub fn ends(&mut self) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(start.elapsed() < Duration::from_mins(2), "it does not end: {:?}", self.screen());
            thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}: {:?}", self.screen());
    }

    /// Waits until the screen after the first `from` bytes shows `text`; returns where that ends.
    pub fn wait_for(&self, text: &str, from: usize) -> usize {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if let Some(found) = screen.get(from..).and_then(|screen| screen.find(text)) {
                return from + found + text.len();
            }
            assert!(start.elapsed() < Duration::from_mins(2), "no {text:?} in {screen:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
