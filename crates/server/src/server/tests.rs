//! What becomes of a server whose thread that computes panics. The panic is a real one: of a constraint, which is others' code (a
//! grammar), called where a grammar is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use stonechat_core::Sampling;
use stonechat_runtime::engine::{Options, Threads};
use stonechat_runtime::{Constraint, Engine, Error as RuntimeError};

use super::*;
use crate::scheduler::{Event, Job};

/// Waits at its first token until somebody says so, goes on for a few, and panics.
#[derive(Debug)]
struct Panics {
    go: mpsc::Receiver<()>,
    tokens: usize,
}

impl Constraint for Panics {
    fn fewest(&mut self) -> usize {
        1
    }
    fn begin(&mut self, _most: usize) -> Result<(), RuntimeError> {
        Ok(())
    }
    fn forced(&mut self) -> Result<Option<u32>, RuntimeError> {
        Ok(None)
    }
    fn allowed(&mut self) -> Result<Option<&[u32]>, RuntimeError> {
        Ok(None)
    }
    fn choose(&mut self, _token: u32) -> Result<bool, RuntimeError> {
        Ok(true)
    }
    fn shortest(&mut self) -> Result<u32, RuntimeError> {
        if self.tokens == 0 {
            let _ = self.go.recv();
        }
        self.tokens += 1;
        assert!(self.tokens < 12, "a mistake in a constraint");
        Ok(30)
    }
    fn possible(&mut self, _tokens: &[u32]) -> Result<usize, RuntimeError> {
        Ok(0)
    }
    fn take_back(&mut self, _tokens: usize) {}
    fn is_complete(&mut self) -> bool {
        false
    }
}

fn offer() -> Offer {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/tiny-Q8_0.gguf");
    let threads = Threads { token: 1, batch: 1 };
    let options =
        Options { sequences: 3, outputs: 3, context: Some(512), batch: 32, threads, ..Options::default() };
    Offer {
        engine: Engine::load(model, &options).expect("a model that runs"),
        names: vec!["tiny".into()],
        template: None,
        variables: serde_json::Map::new(),
        think: None,
        sampling: Sampling::default(),
        most: None,
        queue: 4,
        embedding: None,
    }
}

fn send(address: SocketAddr, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a socket");
    let length = body.len();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("it reads");
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer to its end");
    text
}

#[test]
fn after_a_panic_of_the_scheduler_all_are_told_and_the_server_ends_with_an_error() {
    let settings = Settings { address: ([127, 0, 0, 1], 0).into(), ..Settings::default() };
    let server = Server::bind(settings).expect("a port");
    let address = server.address();
    let state = server.state(offer(), Arc::new(Sandbox::off())).expect("a model that is served");
    let own = Arc::clone(&state);
    let served = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads");
        let ended = runtime.block_on(server.serve(&own, None, |_| ()));
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    });
    let (go, wait) = mpsc::channel();
    let constraint: Option<Box<dyn Constraint>> = Some(Box::new(Panics { go: wait, tokens: 0 }));
    let job = |constraint| Job {
        tokens: vec![30, 40],
        most: 40,
        sampling: Sampling::default(),
        biases: Vec::new(),
        constraint,
        logprobs: None,
    };
    let mut lost = state.served().scheduler.submit(job(constraint)).expect("a free place");
    // Two answers that are written together with it, and would be longer; and one for which there is no place.
    let question = r#"{"prompt": "Once upon a time", "max_tokens": 60"#;
    let streams = [(); 2].map(|()| send(address, &format!("{question}, \"stream\": true}}")));
    let start = Instant::now();
    let waiting = |count| {
        while state.served().scheduler.counters().waiting < count {
            assert!(start.elapsed() < Duration::from_mins(1), "{count} questions wait");
            thread::sleep(Duration::from_millis(1));
        }
    };
    waiting(2);
    let whole = send(address, &format!("{question}}}"));
    waiting(3);
    // It computes nothing until it may go on, and that is seen.
    state.stuck();
    thread::sleep(Duration::from_millis(20));
    assert!(state.stuck() >= Duration::from_millis(20), "it hangs");
    drop(go);
    while let Some(event) = lost.wait() {
        assert!(matches!(event, Event::Reading { .. } | Event::Token { .. }), "{event:?}");
    }
    let sentence = "the server failed while it computed, and ends";
    let whole = rest(whole);
    assert!(whole.starts_with("HTTP/1.1 500 ") && whole.contains(sentence), "{whole}");
    for stream in streams.map(rest) {
        assert!(stream.starts_with("HTTP/1.1 200 ") && stream.contains(sentence), "{stream}");
        let words = stream.split("\"text\":").count() - 1;
        assert!((2..60).contains(&words), "it was in the middle of its answer: {stream}");
    }
    let ended = served.join().expect("no panic of its own").expect_err("it ends with an error");
    assert!(matches!(ended, Error::Fallen), "{ended}");
    assert!(start.elapsed() < Duration::from_mins(1), "it ends at once");
    // Whoever asks between the panic and the end.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let health = runtime.block_on(crate::api::llama_cpp::health(axum::extract::State(Arc::clone(&state))));
    let error = health.expect_err("it is not well");
    assert!(error.status == 503 && error.message.contains(sentence), "{error:?}");
    let asked = runtime.block_on(state.prepare(|_| Ok(()))).map(|_| ()).expect_err("nothing new is taken");
    assert_eq!(asked.status, 503);
    // What was taken by the scheduler itself ends, too.
    let mut late = state.served().scheduler.submit(job(None)).expect("no word of a full queue");
    assert!(late.wait().is_none());
}
