//! Running a tool: a local command that may hang, flood or not exist.
//!
//! In: a [`Tool`] and arguments. Out: what the model is told, whatever happens. The command is a process group of its own,
//! so that what it started ends with it; it ends when its time is over, when its output is longer than allowed, or when
//! the person stops it.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::declared::Tool;
use crate::error::reason;

/// How often limits are looked at.
const TICK: Duration = Duration::from_millis(20);
/// What was written before the end is there by then.
const AFTER_END: Duration = Duration::from_millis(200);
/// Of complaints, so many bytes are told.
const COMPLAINTS: usize = 2048;

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Well.
    Done,
    /// With an error of its own.
    Failed,
    /// It could not begin: there is no such program, or an argument is missing.
    NotStarted,
    /// It took too long.
    TooSlow,
    /// It wrote too much.
    TooLong,
    /// The person stopped it.
    Stopped,
}

/// What became of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// What the model is told.
    pub content: String,
}

impl Tool {
    /// Runs it. `stop` says whether it is to end at once.
    pub fn call(&self, arguments: &Map<String, Value>, stop: &dyn Fn() -> bool) -> Ran {
        let not_started = |content| Ran { outcome: Outcome::NotStarted, content };
        if let Some(missing) = self.missing(arguments) {
            return not_started(format!("error: the argument '{missing}' of {} is missing", self.name()));
        }
        let words = self.words(arguments);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                return not_started(format!("error: {} cannot be run: {}", words[0], reason(&error)));
            }
        };
        let input = Value::Object(arguments.clone()).to_string();
        if let Some(mut stdin) = child.stdin.take() {
            // Whoever reads nothing lets this end with it.
            thread::spawn(move || stdin.write_all(input.as_bytes()));
        }
        let (send, output) = sync_channel(1);
        forward(child.stdout.take(), Stream::Output, send.clone());
        forward(child.stderr.take(), Stream::Complaints, send);
        let (texts, early) = self.gather(&mut child, &output, stop);
        end(&mut child);
        let status = child.wait();
        self.told(&texts, early, status.ok())
    }

    /// Collects what comes, until the command ends or must.
    fn gather(
        &self,
        child: &mut Child,
        output: &Receiver<(Stream, Vec<u8>)>,
        stop: &dyn Fn() -> bool,
    ) -> (Texts, Option<Outcome>) {
        let (start, mut ended) = (Instant::now(), None::<Instant>);
        let mut texts = Texts::default();
        loop {
            match output.recv_timeout(TICK) {
                Ok((Stream::Output, bytes)) => texts.output.extend(bytes),
                Ok((Stream::Complaints, bytes)) => {
                    let room = COMPLAINTS.saturating_sub(texts.complaints.len());
                    texts.complaints.extend(bytes.into_iter().take(room));
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) if ended.is_some() => return (texts, None),
                Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
            }
            if texts.output.len() > self.output_limit() {
                return (texts, Some(Outcome::TooLong));
            }
            if ended.is_none() && has_ended(child) {
                // What it started may hold its output open.
                end(child);
                ended = Some(Instant::now());
            }
            if ended.is_some_and(|ended| ended.elapsed() > AFTER_END) {
                return (texts, None);
            }
            if ended.is_none() && start.elapsed() > self.time_limit() {
                return (texts, Some(Outcome::TooSlow));
            }
            if stop() {
                return (texts, Some(Outcome::Stopped));
            }
        }
    }

    /// What the model is told.
    fn told(&self, texts: &Texts, early: Option<Outcome>, status: Option<ExitStatus>) -> Ran {
        let cut = &texts.output[..texts.output.len().min(self.output_limit())];
        let mut content = String::from_utf8_lossy(cut).trim_end().to_owned();
        let failed = status.filter(|status| !status.success());
        let outcome = early.unwrap_or(if failed.is_some() { Outcome::Failed } else { Outcome::Done });
        let note = match (outcome, failed) {
            (Outcome::TooLong, _) => {
                Some(format!("[the output was cut after {} bytes]", self.output_limit()))
            }
            (Outcome::TooSlow, _) => {
                let seconds = self.time_limit().as_secs_f64();
                Some(format!("error: {} took longer than {seconds} s and was stopped", self.name()))
            }
            (Outcome::Stopped, _) => Some(format!("error: the user stopped {}", self.name())),
            (_, Some(status)) => {
                let complaints = String::from_utf8_lossy(&texts.complaints);
                Some(format!("error: {status}: {}", complaints.trim()))
            }
            _ => None,
        };
        if let Some(note) = note {
            if !content.is_empty() {
                content.push('\n');
            }
            content.push_str(&note);
        }
        Ran { outcome, content }
    }
}

/// Which of a command's streams.
#[derive(Clone, Copy)]
enum Stream {
    Output,
    Complaints,
}

/// What a command wrote.
#[derive(Default)]
struct Texts {
    output: Vec<u8>,
    complaints: Vec<u8>,
}

/// Hands on what comes of a stream, until it ends or nobody wants it.
fn forward(from: Option<impl Read + Send + 'static>, stream: Stream, send: SyncSender<(Stream, Vec<u8>)>) {
    let Some(mut from) = from else { return };
    thread::spawn(move || {
        let mut bytes = vec![0; 8192];
        while let Ok(len @ 1..) = from.read(&mut bytes) {
            if send.send((stream, bytes[..len].to_vec())).is_err() {
                break;
            }
        }
    });
}

/// Whether the command has ended. It stays a child that was not waited for, so that the number of its group is nobody
/// else's.
#[cfg(unix)]
fn has_ended(child: &mut Child) -> bool {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(Pid::from_child(child)), options), Ok(None))
}

#[cfg(not(unix))]
fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Ends the command and all that it started.
#[cfg(unix)]
fn end(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process_group};

    // It may have ended by itself.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
}

#[cfg(not(unix))]
fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
}

#[cfg(all(test, unix))]
mod tests {
    use serde_json::json;

    use super::super::declared;
    use super::*;

    /// What comes of a shell's script.
    fn run(script: &str, limits: &str, arguments: &Value, stop: &dyn Fn() -> bool) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tools.json");
        let mut tool = json!({
            "name": "t", "description": "", "command": ["sh", "-c", script, "sh", "{a}"],
            "parameters": { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] },
        });
        let limits: Value = serde_json::from_str(limits).unwrap();
        tool.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        std::fs::write(&path, json!({ "tools": [tool] }).to_string()).unwrap();
        declared::read(&path).unwrap()[0].call(arguments.as_object().unwrap(), stop)
    }

    fn quick(script: &str, limits: &str) -> (Ran, Duration) {
        let start = Instant::now();
        let ran = run(script, limits, &json!({ "a": "x y" }), &|| false);
        (ran, start.elapsed())
    }

    #[test]
    fn arguments_come_as_words_and_on_stdin() {
        let (ran, _) = quick("echo \"$1\"; cat", "{}");
        assert_eq!(ran, Ran { outcome: Outcome::Done, content: "x y\n{\"a\":\"x y\"}".into() });
    }

    #[test]
    fn one_that_fails_says_how() {
        let (ran, _) = quick("echo half; echo no bread >&2; exit 3", "{}");
        assert_eq!(ran.outcome, Outcome::Failed);
        assert_eq!(ran.content, "half\nerror: exit status: 3: no bread");
        let ran = run("true", "{}", &json!({}), &|| false);
        assert_eq!(ran.outcome, Outcome::NotStarted);
        assert_eq!(ran.content, "error: the argument 'a' of t is missing");
        let ran = run("true", r#"{"command": ["/no/such/program"]}"#, &json!({ "a": "" }), &|| false);
        assert_eq!(ran.outcome, Outcome::NotStarted);
        assert!(ran.content.starts_with("error: /no/such/program cannot be run: No such file"), "{ran:?}");
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("alive");
        let script = format!("(sleep 2.5; touch {}) & echo begun; sleep 60", mark.display());
        let (ran, time) = quick(&script, r#"{"time_limit": 1.5}"#);
        assert_eq!(ran.outcome, Outcome::TooSlow);
        assert_eq!(ran.content, "begun\nerror: t took longer than 1.5 s and was stopped");
        assert!(time < Duration::from_secs(30), "{time:?}");
        thread::sleep(Duration::from_millis(1500));
        assert!(!mark.exists());
    }

    #[test]
    fn one_that_leaves_something_behind_that_holds_its_output_does_not_keep_us() {
        let (ran, time) = quick("sleep 60 & echo done", "{}");
        assert_eq!((ran.outcome, ran.content.as_str()), (Outcome::Done, "done"));
        assert!(time < Duration::from_secs(5), "{time:?}");
        // It closes its output, and goes on.
        let (ran, time) = quick("exec >&- 2>&-; sleep 60", r#"{"time_limit": 0.3}"#);
        assert_eq!(ran.outcome, Outcome::TooSlow);
        assert!(time < Duration::from_secs(5), "{time:?}");
    }

    #[test]
    fn one_that_floods_is_cut() {
        let (ran, time) = quick("yes", r#"{"output_limit": 10}"#);
        assert_eq!(ran.outcome, Outcome::TooLong);
        assert_eq!(ran.content, "y\ny\ny\ny\ny\n[the output was cut after 10 bytes]");
        assert!(time < Duration::from_secs(5), "{time:?}");
        let (ran, _) = quick("yes >&2 & sleep 0.2; kill $!; echo fine", "{}");
        assert_eq!((ran.outcome, ran.content.as_str()), (Outcome::Done, "fine"));
    }

    #[test]
    fn a_person_stops_it() {
        let start = Instant::now();
        let stop = || start.elapsed() > Duration::from_millis(100);
        let ran = run("sleep 60", "{}", &json!({ "a": "" }), &stop);
        assert_eq!((ran.outcome, ran.content.as_str()), (Outcome::Stopped, "error: the user stopped t"));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
