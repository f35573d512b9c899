//! The plan's word on memory holds: beside the mapped file, `run --raw` takes the arena and at most 8 MiB.
//!
//! Seen from outside, in two ways. The kernel refuses whatever anonymous memory goes beyond a limit (`ulimit -d`), so
//! that a run which ends well never had more, not even for a moment. And what `/proc` says of the running process
//! (`RssAnon`, which counts stacks and relocated pages too) is read at each token.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use serde_json::Value;

/// What the program may take beside the arena.
const BESIDE: u64 = 8 << 20;

/// Ids that every model here has.
fn prompt(tokens: u32) -> String {
    let ids: Vec<String> = (0..tokens).map(|i| (i * 7 % 500 + 3).to_string()).collect();
    ids.join(",")
}

fn arena(model: &str, limits: &[&str]) -> u64 {
    let plan = common::stdout([&["plan", "--json", model], limits].concat());
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    plan["arena_bytes"].as_u64().expect("a number of bytes")
}

/// `stonechat run --raw` that the kernel gives at most `bytes` of anonymous memory.
fn limited(bytes: u64, model: &str, ids: &str, limits: &[&str]) -> Command {
    let kib = (bytes / 1024).to_string();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d \"$0\" && exec \"$@\"", &kib, env!("CARGO_BIN_EXE_stonechat")]);
    command.args(["run", "--raw", "--print-ids", "-n", "40", "-m", model, "--ids", ids]).args(limits);
    command
}

/// `RssAnon` of a process, in bytes; nothing once it has ended.
fn resident_anonymous(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// A pipe with room for one write: the program waits with the next token until the last has been read.
fn token_by_token() -> (OwnedFd, OwnedFd) {
    let (read, write) = pipe_with(PipeFlags::DIRECT | PipeFlags::CLOEXEC).expect("a pipe");
    fcntl_setpipe_size(&write, 4096).expect("a pipe of one page");
    (read, write)
}

/// A run stays within the plan and what stands beside it, and with less there is none.
fn check(model: &Path, ids: &str, limits: &[&str]) {
    stays_within(model, ids, limits);
    is_refused(model, ids, limits);
}

/// With less than the arena there is no run, but a sentence: the limit is one. (For arenas that are larger than what the
/// program is loaded with; the system ends it otherwise, before it can say anything.)
fn is_refused(model: &Path, ids: &str, limits: &[&str]) {
    let model = model.to_str().expect("a path in UTF-8");
    let arena = arena(model, limits);
    let refused = limited(arena - 4096, model, ids, limits).output().expect("sh starts");
    let words = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains(&arena.to_string()), "{words}");
}

fn stays_within(model: &Path, ids: &str, limits: &[&str]) {
    let name = model.display();
    let model = model.to_str().expect("a path in UTF-8");
    let arena = arena(model, limits);

    let (tokens, pipe) = token_by_token();
    let mut run = limited(arena + BESIDE, model, ids, limits).stdout(pipe).spawn().expect("sh starts");
    let (mut most, mut samples, mut text) = (0, 0, Vec::new());
    let mut token = [0; 64];
    loop {
        let len = rustix::io::read(&tokens, &mut token).expect("what the program writes");
        if len == 0 {
            break;
        }
        text.extend_from_slice(&token[..len]);
        if let Some(bytes) = resident_anonymous(run.id()) {
            most = most.max(bytes);
            samples += 1;
        }
    }
    assert!(
        run.wait().expect("an exit code").success(),
        "{name} {limits:?}: needs more than the plan and 8 MiB"
    );
    let written = String::from_utf8(text).expect("UTF-8").split(',').count();
    // The last two may be read when the program is already gone.
    assert!(written > 8 && samples >= written - 2, "{name}: {written} tokens, looked at {samples} times");
    println!("{name} {limits:?}: arena {arena}, anonymous at most {most} bytes");
    assert!(most <= arena + BESIDE, "{name} {limits:?}: {most} bytes, the arena has {arena}");
}

#[test]
fn a_run_of_the_default_model_stays_within_the_plan_and_8_mib() {
    let ids = prompt(600);
    check(common::smollm2(), &ids, &["-t", "2"]);
    check(common::smollm2(), &ids, &["-t", "3", "-c", "700", "-b", "64", "--kv", "f32"]);
    check(common::smollm2(), &prompt(20), &["-t", "1", "-c", "64"]);
}

#[test]
fn a_run_of_a_small_model_stays_within_the_plan_and_8_mib() {
    let model = common::golden("models/llama_k/llama_k-Q4_K.gguf");
    check(&model, &prompt(300), &["-t", "2", "-c", "512"]);
    check(&model, &prompt(300), &["-t", "3", "-c", "512", "-b", "128", "--activations", "f32"]);
    stays_within(&model, &prompt(300), &["-t", "3", "-c", "512", "-b", "32", "--activations", "f32"]);
}

/// Experts, windows, and layers of different shapes are in the plan too.
#[test]
fn a_run_of_any_architecture_stays_within_the_plan_and_8_mib() {
    for model in common::further_models() {
        let name = model.display().to_string();
        if ["gemma3", "gpt_oss", "qwen3_moe", "glm4_moe"].iter().any(|one| name.contains(one)) {
            check(&model, &prompt(200), &["-t", "2", "-c", "256"]);
        }
    }
}
