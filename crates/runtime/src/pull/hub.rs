//! The first kind of source: a file behind a URL.
//!
//! A thread of its own talks to the server, because a silent connection would keep this one from hearing Ctrl-C.
//! What breaks off is taken up where it broke (`Range`), if the server still has the same file (`If-Range`) and can
//! do it; else it begins anew.

use std::fs;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::partial::Partial;
use super::{Event, LOOK, Pull};
use crate::Error;
use crate::error::reason;
use crate::manifest::Hub;
use crate::threads;

/// How often a connection is tried again with nothing gained in between.
const TRIES: u32 = 4;

/// How long it may take to find a server and to agree on a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// What a name means that cannot be resolved.
const NO_SERVER: &str = "there is no such server, or no network";

/// How many bytes are handed on at a time.
const CHUNK: usize = 256 << 10;

/// What the talking thread hands on.
enum Message {
    Head(Head),
    Bytes(Vec<u8>),
    /// No connection could be made at all.
    Unreachable(String),
    /// The connection broke.
    Broken(String),
    End,
}

/// What matters in an answer's head.
struct Head {
    status: StatusCode,
    /// The bytes that follow.
    length: Option<u64>,
    /// Where they begin in the file, and how long it is, if this is a part of it.
    range: Option<(u64, Option<u64>)>,
    /// The server's name for this very version of the file; none if it is a vague one.
    etag: Option<String>,
}

/// Why an attempt ended.
enum Trouble {
    /// Trying again may help.
    Passing(String),
    /// No server was reached: worth another try only where one was reached before.
    Unreachable(String),
    /// Nothing will.
    Final(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Brings `partial` up to the whole file.
pub fn fetch(pull: &mut Pull<'_>, hub: &Hub, partial: &mut Partial) -> Result<(), Error> {
    pull.check_space(partial.missing())?;
    let agent = agent(pull.settings.silence);
    let (mut tries, mut reached) = (0, false);
    loop {
        let before = partial.len();
        let (trouble, unreachable) = match attempt(pull, &agent, hub, partial) {
            Ok(()) => return Ok(()),
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Passing(trouble)) => (trouble, false),
            Err(Trouble::Unreachable(trouble)) => (trouble, true),
        };
        if partial.len() > before {
            (tries, reached) = (0, true);
        }
        tries += 1;
        if tries == TRIES || (unreachable && !reached) {
            return Err(Error::Source { source: hub.url.clone(), reason: trouble });
        }
        (pull.report)(Event::Retrying { reason: &trouble });
        pull.sleep(pull.settings.pause * (1 << (tries - 1)))?;
    }
}

fn agent(silence: Duration) -> Agent {
    Agent::config_builder()
        .user_agent(concat!("stonechat/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(silence))
        .build()
        .new_agent()
}

/// One request, and as much of its answer as comes.
fn attempt(pull: &mut Pull<'_>, agent: &Agent, hub: &Hub, partial: &mut Partial) -> Result<(), Trouble> {
    pull.progress(partial.len());
    if partial.missing() == 0 {
        return Ok(());
    }
    let remembered = pull.beside("part.etag");
    let mut request = agent.get(&hub.url);
    if partial.len() > 0 {
        request = request.header("Range", format!("bytes={}-", partial.len()));
        if let Ok(etag) = fs::read_to_string(&remembered) {
            request = request.header("If-Range", etag);
        }
    }
    let (send, messages) = sync_channel(4);
    threads::start("stonechat-pull".to_owned(), move || talk(request, &send))
        .map_err(|source| Error::Threads { wanted: 2, started: 1, source })?;

    let head = match next(pull, &messages)? {
        Message::Head(head) => head,
        Message::Unreachable(reason) => return Err(Trouble::Unreachable(reason)),
        Message::Broken(reason) => return Err(Trouble::Passing(reason)),
        Message::Bytes(_) | Message::End => return Err(ended(partial)),
    };
    accept(&head, hub, partial)?;
    // A vague or missing name must not be remembered from an earlier version either. Failing to remember costs a
    // resume's certainty, and the checksum has the last word.
    let _ = match &head.etag {
        Some(etag) => fs::write(&remembered, etag),
        None => fs::remove_file(&remembered),
    };
    loop {
        match next(pull, &messages)? {
            Message::Bytes(bytes) => {
                partial.append(&hub.url, &bytes)?;
                pull.progress(partial.len());
            }
            Message::End if partial.missing() == 0 => return Ok(()),
            Message::Broken(reason) | Message::Unreachable(reason) => return Err(Trouble::Passing(reason)),
            Message::Head(_) | Message::End => return Err(ended(partial)),
        }
    }
}

fn ended(partial: &Partial) -> Trouble {
    Trouble::Passing(format!("the answer ended {} bytes too early", partial.missing()))
}

/// The next message, unless the pull is to stop or the server has fallen silent.
fn next(pull: &Pull<'_>, messages: &Receiver<Message>) -> Result<Message, Trouble> {
    // Finding a server and connecting to it have limits of their own.
    let limit = pull.settings.silence + 2 * CONNECT;
    let since = Instant::now();
    loop {
        pull.check_stop()?;
        match messages.recv_timeout(LOOK) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) if since.elapsed() < limit => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(Trouble::Passing("the server has fallen silent".to_owned()));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(Message::End),
        }
    }
}

/// Decides what to do with an answer, and makes `partial` ready for its bytes.
fn accept(head: &Head, hub: &Hub, partial: &mut Partial) -> Result<(), Trouble> {
    let total = match (head.status, head.range) {
        // The whole file: this server, or this version of the file, cannot go on from what there is.
        (StatusCode::OK, _) => {
            partial.restart()?;
            head.length
        }
        (StatusCode::PARTIAL_CONTENT, Some((start, total))) if start == partial.len() => total,
        // Another part than was asked for, or a file that is shorter than what there is.
        (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
            partial.restart()?;
            return Err(Trouble::Passing("the server has no such part of the file".to_owned()));
        }
        (status, _) => {
            let reason = format!("the server says {status}");
            let passing = status.is_server_error()
                || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
            return Err(if passing {
                Trouble::Passing(reason)
            } else {
                Trouble::Final(Error::Source { source: hub.url.clone(), reason })
            });
        }
    };
    let expected = partial.len() + partial.missing();
    match total {
        Some(got) if got != expected => {
            partial.restart()?;
            Err(Error::WrongSize { source: hub.url.clone(), expected, got }.into())
        }
        _ => Ok(()),
    }
}

/// The life of the talking thread. It ends when its listener has gone, at the latest after a silence.
fn talk(request: ureq::RequestBuilder<ureq::typestate::WithoutBody>, send: &SyncSender<Message>) {
    let mut response = match request.call() {
        Ok(response) => response,
        Err(error) => {
            let _ = send.send(match error {
                ureq::Error::Timeout(ureq::Timeout::RecvResponse | ureq::Timeout::PerRead) => {
                    Message::Broken("the server has fallen silent".to_owned())
                }
                ureq::Error::Io(error) if is_broken(&error) => Message::Broken(reason(&error)),
                error => Message::Unreachable(plain(&error)),
            });
            return;
        }
    };
    if send.send(Message::Head(head(&response))).is_err() {
        return;
    }
    let mut body = response.body_mut().as_reader();
    loop {
        let mut bytes = vec![0; CHUNK];
        let message = match body.read(&mut bytes) {
            Ok(0) => Message::End,
            Ok(read) => {
                bytes.truncate(read);
                Message::Bytes(bytes)
            }
            Err(error) => Message::Broken(reason(&error)),
        };
        let last = !matches!(message, Message::Bytes(_));
        if send.send(message).is_err() || last {
            return;
        }
    }
}

/// Whether a connection was there and broke, as against none at all.
fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// What went wrong before there was an answer, in words for people.
fn plain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => NO_SERVER.to_owned(),
        ureq::Error::ConnectionFailed => "no connection, or no network".to_owned(),
        ureq::Error::Timeout(_) => "the server does not answer, or there is no network".to_owned(),
        // The system's resolver has no error kind of its own.
        ureq::Error::Io(error) if error.to_string().starts_with("failed to lookup address") => {
            NO_SERVER.to_owned()
        }
        ureq::Error::Io(error) => reason(error),
        error => error.to_string(),
    }
}

fn head(response: &Response<Body>) -> Head {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let range = || {
        // bytes 100-199/200, or /* for a length that the server does not know.
        let (part, total) = header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        Some((part.split_once('-')?.0.parse().ok()?, total.parse().ok()))
    };
    Head {
        status: response.status(),
        length: header("content-length").and_then(|length| length.parse().ok()),
        range: range(),
        // A weak one ("W/...") may stand for other bytes.
        etag: header("etag").filter(|etag| etag.starts_with('"')).map(str::to_owned),
    }
}
