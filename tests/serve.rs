//! `stonechat serve` as clients meet it: the program, on a port of its own, with the tiny model that is in it.
#![cfg(all(feature = "server", feature = "built-in", unix))]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use common::server::{Server, story};
use serde_json::{Value, json};

/// The objects of a stream of events.
fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

#[test]
fn a_chat_is_answered_whole_and_as_it_comes_with_the_same_words() {
    let server = Server::start(&[]);
    let (status, whole) = server.post("/v1/chat/completions", &story(&json!({})));
    assert_eq!(status, 200, "{whole}");
    let text = whole["choices"][0]["message"]["content"].as_str().expect("a text");
    assert!(!text.is_empty());
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 12);
    let streamed = story(&json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let (status, stream) = server.ask("POST", "/v1/chat/completions", "", &streamed.to_string());
    assert_eq!(status, 200);
    assert!(stream.trim_end().ends_with("data: [DONE]"), "{stream}");
    let events = events(&stream);
    let words: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(words, text);
    assert_eq!(events.last().expect("usage")["usage"]["completion_tokens"], 12);
    // Several answers have seeds that follow each other.
    let (_, both) = server.post("/v1/chat/completions", &story(&json!({ "n": 2 })));
    assert_eq!(both["choices"][0]["message"]["content"], text);
    let (_, next) = server.post("/v1/chat/completions", &story(&json!({ "seed": 8 })));
    assert_eq!(both["choices"][1]["message"]["content"], next["choices"][0]["message"]["content"]);
}

#[test]
fn answers_end_at_stop_texts_match_schemas_and_call_tools() {
    let server = Server::start(&[]);
    let (_, whole) = server.post("/v1/chat/completions", &story(&json!({ "max_tokens": 40 })));
    let text = whole["choices"][0]["message"]["content"].as_str().expect("a text");
    // A text that tokens part: the middle of the answer.
    let middle: String = text.chars().skip(20).take(3).collect();
    let (_, cut) =
        server.post("/v1/chat/completions", &story(&json!({ "max_tokens": 40, "stop": [middle] })));
    let before = text.split(&middle).next().expect("a part");
    assert_eq!(cut["choices"][0]["message"]["content"], before);
    assert_eq!(cut["choices"][0]["finish_reason"], "stop");

    let schema = json!({
        "type": "object", "properties": { "name": { "enum": ["Tim", "Sue"] }, "age": { "type": "integer", "maximum": 9 } },
        "required": ["name", "age"], "additionalProperties": false,
    });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "child", "schema": schema } });
    let (status, told) =
        server.post("/v1/chat/completions", &story(&json!({ "response_format": format, "max_tokens": 60 })));
    assert_eq!(status, 200, "{told}");
    let child = told["choices"][0]["message"]["content"].as_str().expect("a text");
    let child: Value = serde_json::from_str(child).expect("JSON");
    assert!(
        ["Tim", "Sue"].contains(&child["name"].as_str().expect("a name")) && child["age"].is_i64(),
        "{child}"
    );

    let tool = json!({ "type": "function", "function": { "name": "clock", "parameters": {
        "type": "object", "properties": { "city": { "enum": ["Paris"] } }, "required": ["city"],
        "additionalProperties": false } } });
    let (status, called) = server.post(
        "/v1/chat/completions",
        &story(&json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 80 })),
    );
    assert_eq!(status, 200, "{called}");
    let choice = &called["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "clock");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Paris\"}");
}

#[test]
fn probabilities_are_told_with_each_token() {
    let server = Server::start(&[]);
    let (_, told) = server.post(
        "/v1/chat/completions",
        &story(&json!({ "temperature": 0, "logprobs": true, "top_logprobs": 2 })),
    );
    let rows = told["choices"][0]["logprobs"]["content"].as_array().expect("rows");
    assert_eq!(rows.len(), 12);
    for row in rows {
        // The likeliest was taken.
        assert_eq!(row["top_logprobs"][0]["logprob"], row["logprob"], "{row}");
        assert!(row["logprob"].as_f64().expect("a number") <= 0.0);
    }
}

#[test]
fn the_other_interfaces_give_the_same_words() {
    let server = Server::start(&[]);
    let (_, whole) = server.post("/v1/chat/completions", &story(&json!({ "temperature": 0 })));
    let text = whole["choices"][0]["message"]["content"].clone();
    let message = json!([{ "role": "user", "content": "Once upon a time" }]);
    let options = json!({ "temperature": 0, "num_predict": 12 });
    let (status, ollama) = server.post(
        "/api/chat",
        &json!({ "model": "tiny:latest", "messages": message, "stream": false, "options": options }),
    );
    assert_eq!((status, &ollama["message"]["content"]), (200, &text), "{ollama}");
    assert_eq!(ollama["done_reason"], "length");
    let (_, generated) = server.post(
        "/api/generate",
        &json!({ "model": "tiny", "prompt": "Once upon a time", "stream": false, "options": options }),
    );
    assert_eq!(generated["response"], text);
    let (status, response) = server.post(
        "/v1/responses",
        &json!({ "model": "tiny", "input": "Once upon a time", "max_output_tokens": 16, "temperature": 0 }),
    );
    assert_eq!(status, 200, "{response}");
    let said = response["output"][0]["content"][0]["text"].as_str().expect("a text");
    assert!(said.starts_with(text.as_str().expect("a text")), "{said}");
    let (_, tokens) = server.post("/tokenize", &json!({ "content": "Once upon a time" }));
    let (_, back) = server.post("/detokenize", &tokens);
    assert_eq!(back["content"], "Once upon a time");
    let raw = json!({ "model": "tiny", "prompt": ["Once upon a time", tokens["tokens"]], "max_tokens": 8, "temperature": 0 });
    let (status, completed) = server.post("/v1/completions", &raw);
    assert_eq!(status, 200, "{completed}");
    assert_eq!(completed["choices"].as_array().expect("choices").len(), 2);
    for (path, holds) in [
        ("/health", "\"ok\""),
        ("/v1/models", "\"id\":\"tiny\""),
        ("/api/tags", "\"name\":\"tiny\""),
        ("/props", "\"n_ctx\""),
        ("/metrics", "stonechat_generated_tokens_total"),
        ("/", "<title>Stonechat</title>"),
    ] {
        let (status, text) = server.get(path);
        assert!(status == 200 && text.contains(holds), "{path}: {status} {text}");
    }
}

#[cfg(feature = "embed")]
#[test]
fn embeddings_are_those_of_the_verb() {
    let server = Server::start(&["--embedding-model", "tiny", "-a", "writer"]);
    let texts = ["Once upon a time", "The dog was happy."];
    let verb =
        common::stonechat().args(["embed", "-m", "tiny", "--json"]).args(texts).output().expect("it runs");
    let verb: Value = serde_json::from_slice(&verb.stdout).expect("JSON");
    let (status, both) = server.post("/v1/embeddings", &json!({ "model": "tiny", "input": texts }));
    assert_eq!(status, 200, "{both}");
    assert_eq!((&both["data"], &both["usage"]), (&verb["data"], &verb["usage"]));
    assert_eq!(both["data"][0]["embedding"].as_array().map(Vec::len), Some(96));
    // One alone is what it is among others, and tokens are as good as their text.
    let (_, ids) = server.post("/tokenize", &json!({ "content": texts[1], "add_special": true }));
    for input in [json!(texts[1]), ids["tokens"].clone(), json!([ids["tokens"]])] {
        let (status, one) = server.post("/v1/embeddings", &json!({ "input": input }));
        assert_eq!((status, &one["data"][0]["embedding"]), (200, &verb["data"][1]["embedding"]), "{input}");
    }
    let (_, ollama) = server.post("/api/embed", &json!({ "model": "tiny:latest", "input": texts }));
    assert_eq!(ollama["embeddings"][1], verb["data"][1]["embedding"], "{ollama}");
    let (_, short) = server.post("/v1/embeddings", &json!({ "input": texts[0], "dimensions": 8 }));
    let short: Vec<f64> =
        serde_json::from_value(short["data"][0]["embedding"].clone()).expect("an array of numbers");
    let length: f64 = short.iter().map(|x| x * x).sum();
    assert!(short.len() == 8 && (length - 1.0).abs() < 1e-5, "{short:?}");
    for (body, status, said) in [
        (json!({ "model": "writer", "input": "x" }), 404, "'writer' is not served here; there is tiny"),
        (json!({ "input": "" }), 400, "input is empty; leave it out"),
        (json!({ "input": [] }), 400, "input is empty; give a text"),
        (json!({ "input": ["x", 1] }), 400, "input[1] is a number; write a text"),
        (json!({ "input": [640] }), 400, "640 is no token"),
        (json!({ "input": "once ".repeat(600) }), 400, "takes at most 512; shorten it"),
        (json!({ "input": "x", "dimensions": 97 }), 400, "dimensions is 97"),
        (json!({ "input": "x", "encoding_format": "hex" }), 400, "encoding_format is 'hex'"),
        (json!({}), 400, "'input' is missing"),
    ] {
        let (got, answer) = server.post("/v1/embeddings", &body);
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(got == status && message.contains(said), "{said}: {got} {answer}");
    }
    let (status, refused) = Server::start(&[]).post("/v1/embeddings", &json!({ "input": "x" }));
    assert!(status == 400 && refused.to_string().contains("--embedding-model"), "{refused}");
}

#[test]
fn what_plan_says_is_what_a_server_takes() {
    for parallel in ["1", "3"] {
        let limits = ["--parallel", parallel, "-c", "128"];
        let plan = common::stdout([&["plan", "--json", "tiny", "-t", "1"], &limits[..]].concat());
        let plan: Value = serde_json::from_str(&plan).expect("JSON");
        let server = Server::start(&limits);
        let taken = format!("stonechat_memory_planned_bytes {}\n", plan["arena_bytes"]);
        let (_, metrics) = server.get("/metrics");
        assert!(metrics.contains(&taken), "{plan} {metrics}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_sentence_with_the_right_status() {
    let server = Server::start(&["--body-limit", "64k"]);
    let long = "once upon a time ".repeat(600);
    for (body, status, said) in [
        (json!({ "model": "other" }), 404, "the model 'other' is not served here; there is tiny"),
        (json!({ "frobnicate": 1 }), 400, "the field 'frobnicate' is not known"),
        (json!({ "temperature": "hot" }), 400, "temperature: invalid type"),
        (json!({ "temperature": -1 }), 400, "the temperature"),
        (json!({ "messages": [] }), 400, "there is no message"),
        (
            json!({ "messages": [{ "role": "user", "content": long }] }),
            400,
            "leaves no room for an answer in the context of",
        ),
        (json!({ "response_format": { "type": "xml" } }), 400, "there is no response format 'xml'"),
        (json!({ "tool_choice": "required" }), 400, "there are no tools"),
        (
            json!({ "response_format": { "type": "json_object", "schema": { "type": "nonsense" } } }),
            400,
            "JSON schema",
        ),
        (json!({ "n": 1000 }), 400, "n is 1000; write a number from 1 to 16"),
        (json!({ "logit_bias": { "99999": 1 } }), 400, "99999 is no token"),
        (json!({ "user": "x".repeat(70_000) }), 413, "the body has more than 65536 bytes"),
    ] {
        let (got, answer) = server.post("/v1/chat/completions", &story(&body));
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(got == status && message.contains(said) && !message.contains('\n'), "{said}: {got} {answer}");
    }
    let (status, answer) = server.ask("POST", "/v1/chat/completions", "", "{\"messages\": [\n}");
    assert!(status == 400 && answer.contains("line 2, column 1"), "{answer}");
    assert_eq!(server.get("/nowhere").0, 404);
    assert_eq!(server.get("/v1/chat/completions").0, 405);
    let (status, answer) = server.post("/api/chat", &json!({ "model": "other", "messages": [] }));
    assert!(status == 404 && answer["error"].is_string(), "{answer}");
    let (status, _) = server.ask("GET", "/v1/models", "Origin: https://evil.example\r\n", "");
    assert_eq!(status, 403);
    let bent = server.raw(b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(bent.starts_with("HTTP/1.1 403"), "{bent}");
}

#[test]
fn a_key_is_asked_for_where_there_is_one() {
    let server = Server::start(&["--api-key", "a-secret-key"]);
    assert_eq!(server.get("/health").0, 200);
    assert_eq!(server.get("/").0, 200);
    assert_eq!(server.get("/v1/models").0, 401);
    let with = |key: &str| server.ask("GET", "/v1/models", &format!("Authorization: Bearer {key}\r\n"), "").0;
    assert_eq!((with("a-secret-key"), with("another-key"), with("")), (200, 401, 401));
}

#[test]
fn who_goes_away_frees_the_slot_and_who_comes_too_many_is_told_when_to_come_again() {
    let server = Server::start(&["--parallel", "1", "--queue", "1"]);
    let endless = story(&json!({ "max_tokens": 400, "stream": true, "logit_bias": {} })).to_string();
    let send = || {
        let mut stream = TcpStream::connect(&server.address).expect("it listens");
        let (host, length) = (&server.address, endless.len());
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{endless}"
        )
        .expect("it reads");
        stream
    };
    // More than there is room for.
    let many: Vec<TcpStream> = (0..6).map(|_| send()).collect();
    let (mut served, mut refused) = (0, 0);
    for stream in &many {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        served += usize::from(line.starts_with("HTTP/1.1 200"));
        refused += usize::from(line.starts_with("HTTP/1.1 429"));
    }
    assert!(served >= 2 && served + refused == 6, "{served} {refused}");
    drop(many);
    assert!(server.becomes_idle());
    assert_eq!(server.post("/v1/chat/completions", &story(&json!({}))).0, 200);
}

#[test]
fn malformed_requests_harm_nobody() {
    let most: u64 = std::env::var("STONECHAT_MALFORMED").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let server = Server::start(&["--timeout", "2", "--body-limit", "64k"]);
    let valid = story(&json!({ "max_tokens": 1 })).to_string();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for number in 0..most {
        let mut body = valid.clone().into_bytes();
        let kind = number % 6;
        match kind {
            0 => {
                for _ in 0..=random(8) {
                    let at = random(body.len());
                    body[at] = random(256) as u8;
                }
            }
            1 => body.truncate(random(body.len())),
            2 => body = "[".repeat(1 + random(2000)).into_bytes(),
            3 => body = (0..random(400)).map(|_| random(256) as u8).collect(),
            4 => {
                body = format!("{{\"messages\": {}}}", ["3", "{}", "[[]]", "[null]", "\"\""][random(5)])
                    .into_bytes();
            }
            _ => (),
        }
        let mut request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            server.address,
            body.len()
        )
        .into_bytes();
        request.extend(&body);
        if kind == 5 {
            // The head itself is broken.
            let head = request.len() - body.len();
            for _ in 0..=random(6) {
                let at = random(head);
                request[at] = random(256) as u8;
            }
            // Nobody waits for what such a request leaves out.
            let mut stream = TcpStream::connect(&server.address).expect("it listens");
            let _ = stream.write_all(&request);
            continue;
        }
        let answer = server.raw(&request);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).unwrap_or(0);
        assert!(
            [200, 400, 404].contains(&status),
            "{number}: {answer} for {}",
            String::from_utf8_lossy(&body)
        );
    }
    assert!(server.becomes_idle());
    assert_eq!(server.post("/v1/chat/completions", &story(&json!({}))).0, 200);
}

/// Asks for an answer that takes a while, and waits until it begins.
fn begun(server: &Server, model: &str) -> BufReader<TcpStream> {
    let body = story(&json!({ "model": model, "max_tokens": 300, "stream": true })).to_string();
    let mut stream = TcpStream::connect(&server.address).expect("it listens");
    let (host, length) = (&server.address, body.len());
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("it reads");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("an answer");
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    reader
}

#[test]
fn a_server_that_is_told_to_end_finishes_its_answers() {
    let mut server = Server::start(&[]);
    let mut reader = begun(&server, "tiny");
    server.signal("-TERM");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("the rest");
    assert!(rest.contains("finish_reason\":\"") && rest.contains("[DONE]"), "{rest}");
    assert!(server.child.wait().expect("it ends").success());
}

/// What a supervisor sees. What it takes is printed, with `--nocapture`; how long is long is for people to say.
#[test]
fn a_server_that_is_killed_serves_again_at_the_same_port() {
    let smollm2 = common::smollm2().to_str().expect("UTF-8");
    for (model, name) in [("tiny", "tiny"), (smollm2, "smollm2-135m")] {
        let mut server = Server::start_bare(&["-m", model, "--port", "0"]);
        // Whoever is served holds on to the connection, so that the port is not free of the one that was killed.
        let mut clients = [begun(&server, name), begun(&server, name)];
        server.child.kill().expect("kill -9");
        server.child.wait().expect("it ends");
        let mut rest = String::new();
        // A connection may be reset: then there is no rest.
        let _ = clients[0].read_to_string(&mut rest);
        assert!(!rest.contains("[DONE]"), "{rest}");
        let address = server.address.clone();
        let port = address.rsplit(':').next().expect("a port");
        let mut command = common::stonechat();
        command.args(["serve", "-m", model, "--port", port]);
        let (again, took) = Server::spawn_at(address.clone(), &mut command);
        println!("{name}: serves again {:.3} s after the start", took.as_secs_f64());
        let (status, answer) =
            again.post("/v1/chat/completions", &story(&json!({ "model": name, "max_tokens": 2 })));
        assert_eq!(status, 200, "{answer}");
        drop(clients);
    }
}

#[test]
fn a_supervisor_is_told_what_the_server_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let supervisor = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    supervisor.set_read_timeout(Some(common::server::SOON)).expect("a socket");
    let hears = |word: &str| {
        let mut buffer = [0; 256];
        loop {
            let length =
                supervisor.recv(&mut buffer).unwrap_or_else(|error| panic!("{word} is not said: {error}"));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.lines().any(|line| line == word) {
                return said;
            }
        }
    };
    let mut command = common::stonechat();
    command.args(["serve", "-m", "tiny", "--port", "0", "-t", "1"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000").env_remove("WATCHDOG_PID");
    let mut server = Server::spawn(&mut command);
    hears("READY=1");
    hears("WATCHDOG=1");
    server.signal("-HUP");
    let said = hears("RELOADING=1");
    // By which systemd knows which reload it was.
    assert!(!cfg!(target_os = "linux") || said.contains("MONOTONIC_USEC="), "{said}");
    hears("READY=1");
    hears("WATCHDOG=1");
    server.signal("-TERM");
    hears("STOPPING=1");
    assert!(server.child.wait().expect("it ends").success());
}

/// A copy of the tiny model, as a file that something can happen to.
fn copy(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let tiny = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/tiny-Q8_0.gguf");
    let model = folder.path().join("model.gguf");
    std::fs::copy(tiny, &model).expect("a copy");
    model
}

#[test]
fn a_model_that_is_removed_is_served_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = copy(&folder);
    let server = Server::start_bare(&["-m", model.to_str().expect("UTF-8"), "--port", "0", "-t", "1"]);
    let mut reader = begun(&server, "model");
    std::fs::remove_file(&model).expect("a file");
    let mut rest = String::new();
    loop {
        let before = rest.len();
        reader.read_line(&mut rest).expect("the rest");
        assert!(rest.len() > before, "{rest}");
        if rest.contains("[DONE]") {
            break;
        }
    }
    // What is read of the file for the first time, as well.
    let format = json!({ "type": "json_object" });
    let body = json!({ "model": "model", "response_format": format, "max_tokens": 60 });
    assert_eq!(server.post("/v1/chat/completions", &story(&body)).0, 200);
    let log = server.log();
    server.signal("-HUP");
    let log = server.logs(&log, "could not be loaded anew");
    assert!(log.contains("there is no file"), "{log}");
    assert_eq!(server.post("/v1/chat/completions", &story(&json!({ "model": "model" }))).0, 200);
    assert_eq!(server.get("/health").0, 200);
}

/// Elsewhere such a file has to stay whole: docs/security.md.
#[cfg(target_os = "linux")]
#[test]
fn a_model_that_is_cut_short_is_said_until_it_is_whole_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = copy(&folder);
    let server = Server::start_bare(&["-m", model.to_str().expect("UTF-8"), "--port", "0", "-t", "1"]);
    let ask = || server.post("/v1/chat/completions", &story(&json!({ "model": "model" })));
    assert_eq!((ask().0, server.get("/health").0), (200, 200));
    std::fs::File::options()
        .write(true)
        .open(&model)
        .and_then(|file| file.set_len(4096))
        .expect("a shorter file");
    let (status, answer) = ask();
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(status == 500 && message.starts_with("the model's file was cut short"), "{status} {answer}");
    let (status, health) = server.get("/health");
    assert!(status == 503 && health.contains("the model's file was cut short"), "{status} {health}");
    // A whole one in its place.
    let log = server.log();
    let whole = tempfile::tempdir_in(&folder).expect("a folder");
    std::fs::rename(copy(&whole), &model).expect("a file");
    server.signal("-HUP");
    server.logs(&log, "another model is served");
    assert_eq!((ask().0, server.get("/health").0), (200, 200));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_takes_the_log_and_not_the_server() {
    for format in ["text", "json"] {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = port.local_addr().expect("an address").to_string();
        drop(port);
        let port = address.rsplit(':').next().expect("a port");
        let program = common::stonechat();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", r#"exec "$@" 2>/dev/full"#, "sh"])
            .arg(program.get_program())
            .args(program.get_args());
        shell.args(["serve", "-m", "tiny", "-t", "1", "--log-format", format, "--port", port]);
        let (mut server, _) = Server::spawn_at(address, &mut shell);
        assert_eq!(server.post("/v1/chat/completions", &story(&json!({}))).0, 200);
        server.signal("-TERM");
        assert!(server.child.wait().expect("it ends").success());
    }
}

/// What is said where nothing is served.
fn refused(arguments: &[&str]) -> Output {
    let mut command = common::stonechat();
    command.arg("serve").args(arguments).output().expect("the program starts")
}

#[test]
fn a_server_that_cannot_be_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("serve.toml");
    std::fs::write(&config, "port = 80800\n").expect("a file");
    let config = config.to_str().expect("UTF-8");
    let [certificate, another] = ["localhost.pem", "another.key"]
        .map(|name| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR")));
    let mismatch = format!("the key in {another} does not belong to the certificate in {certificate}");
    for (arguments, code, said) in [
        (&["-m", "tiny", "--host", "0.0.0.0", "--port", "0"][..], 2, "there is no key"),
        (&["-m", "tiny", "--port", &port], 1, "is in use by another program"),
        (&["-m", "tiny", "--cors", "example.org"], 2, "is no origin"),
        (&["-m", "tiny", "--api-key", "short"], 2, "8 characters or more"),
        (&["-m", "tiny", "--tls-cert", config, "--tls-key", config], 1, "there is no certificate in"),
        (&["-m", "tiny", "--tls-cert", &certificate, "--tls-key", &another, "--check"], 1, &mismatch),
        (
            &["-m", "tiny", "--tls-cert", &certificate, "--tls-key", "no.key"],
            1,
            "cannot read no.key: No such file",
        ),
        (&["--config", config, "--check"], 2, "line 1: invalid value '80800'"),
        (&["-m", "no-such-model", "--check"], 1, "there is no model named"),
    ] {
        let output = refused(arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains(said) && err.lines().count() == 1, "{err}");
    }
    let own = certificate.replace(".pem", ".key");
    let good = refused(&["-m", "tiny", "--check", "--tls-cert", &certificate, "--tls-key", &own]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
}
