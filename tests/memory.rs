//! The plan's word on memory holds: beside the mapped file, `run --raw` takes the arena and at most 8 MiB.
//!
//! Seen from outside, in two ways. The kernel refuses whatever anonymous memory goes beyond a limit (`ulimit -d`), so
//! that a run which ends well never had more, not even for a moment. And what `/proc` says of the running process
//! (`RssAnon`, which counts stacks and relocated pages too) is read at each token.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
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
    stays_within(&model, &prompt(300), &["-t", "2", "-c", "512"]);
    stays_within(&model, &prompt(300), &["-t", "3", "-c", "512", "-b", "128", "--activations", "f32"]);
    is_refused(&model, &prompt(300), &["-t", "4", "-c", "512", "-b", "512", "--activations", "f32"]);
    stays_within(&model, &prompt(300), &["-t", "3", "-c", "512", "-b", "32", "--activations", "f32"]);
}

/// Experts, windows, and layers of different shapes are in the plan too.
#[test]
fn a_run_of_any_architecture_stays_within_the_plan_and_8_mib() {
    for model in common::further_models() {
        let name = model.display().to_string();
        if ["gemma3", "gpt_oss", "qwen3_moe", "glm4_moe"].iter().any(|one| name.contains(one)) {
            stays_within(&model, &prompt(200), &["-t", "2", "-c", "256"]);
            is_refused(&model, &prompt(200), &["-t", "4", "-c", "256", "-b", "256", "--activations", "f32"]);
        }
    }
}

/// What a Raspberry Pi Zero 2 W has for a model, in bytes. (Its profile: 416 MiB that the kernel has to give, less what is
/// kept for the system.)
const ZERO_2W: u64 = 256 << 20;

/// A control group of memory, where this system lets us make one.
struct Group(PathBuf);

impl Group {
    /// With at most `bytes` of memory, pages of files included, and nothing swapped out.
    fn limited(bytes: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path =
            |prefix| own.lines().find_map(|line| line.split_once(prefix).map(|(_, path)| path.to_owned()));
        let name = format!("stonechat-test-{}", std::process::id());
        // Version 2, and version 1 where memory is still there.
        let v2 =
            path("0::").map(|own| ("/sys/fs/cgroup".to_owned() + &own, "memory.max", "memory.swap.max", "0"));
        let v1 = path(":memory:").map(|own| {
            ("/sys/fs/cgroup/memory".to_owned() + &own, "memory.limit_in_bytes", "memory.swappiness", "0")
        });
        [v1, v2].into_iter().flatten().find_map(|(parent, limit, swap, none)| {
            // A container sees its own group as the root, whatever the system calls it.
            let root = parent
                .split_inclusive('/')
                .take(if limit == "memory.max" { 4 } else { 5 })
                .collect::<String>();
            [parent.as_str(), root.as_str()].into_iter().find_map(|parent| {
                let group = Self(Path::new(parent).join(&name));
                fs::create_dir(&group.0).ok()?;
                fs::write(group.0.join(limit), bytes.to_string()).ok()?;
                let _ = fs::write(group.0.join(swap), none);
                Some(group)
            })
        })
    }

    /// How many processes of the group the system has ended.
    fn killed(&self) -> u64 {
        let told = ["memory.events", "memory.oom_control"].map(|file| fs::read_to_string(self.0.join(file)));
        let told = told.into_iter().find_map(Result::ok).expect("what the group tells");
        let count = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.map_or(0, |count| count.parse().expect("a number"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// `stonechat run` with all of a context of 1,024 tokens and four threads, begun by a shell with a line of its own.
fn run_as_on_a_zero_2w(shell: &str, argument: &str) -> String {
    let model = common::smollm2().to_str().expect("a path in UTF-8");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell} && exec \"$@\""), argument, env!("CARGO_BIN_EXE_stonechat")]);
    command.args(["run", "--raw", "--print-ids", "-n", "64", "-m", model, "-c", "1024", "-t", "4", "--ids"]);
    let output = command.arg(prompt(960)).output().expect("sh starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shell}: {} {said}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_default_model_with_1024_tokens_runs_in_what_a_zero_2w_has() {
    let kib = (ZERO_2W / 1024).to_string();
    // Everything that is mapped: the model's file, the program, its libraries, each thread's stack.
    let mapped = run_as_on_a_zero_2w("ulimit -v \"$0\"", &kib);
    assert!(mapped.split(',').count() > 8, "{mapped}");
    // What is used of that, pages of the file included, without swap, where the system can be asked to count.
    let Some(group) = Group::limited(ZERO_2W) else {
        println!("this system lets us make no control group: only what is mapped was limited");
        return;
    };
    let path = group.0.to_str().expect("UTF-8");
    let used = run_as_on_a_zero_2w("echo $$ > \"$0\"/cgroup.procs", path);
    assert_eq!((used, group.killed()), (mapped, 0));
}
