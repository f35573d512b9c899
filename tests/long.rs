//! Conversations that are much longer than their context: memory stays what it was, and the model stays sane.
//!
//! `STONECHAT_LONG` is how many tokens a text has; the long run is `just long`.
#![cfg(unix)]

mod common;

use std::ops::Range;

use stonechat_core::vocabulary::Encode;
use stonechat_runtime::Engine;
use stonechat_runtime::engine::Options;

/// Tokens of context.
const CONTEXT: usize = 1024;

fn tokens_of_a_text() -> usize {
    std::env::var("STONECHAT_LONG").ok().and_then(|tokens| tokens.parse().ok()).unwrap_or(1600)
}

/// English that no model has learned by heart: stories that another one made up.
const TEXT: &str = include_str!("../models/tiny/held-out.txt");

fn load() -> Engine {
    let options = Options { context: Some(CONTEXT), outputs: 64, ..Options::default() };
    Engine::load(common::smollm2(), &options).expect("a model")
}

/// The surprise in nats at each of `tokens` after the first, which are fed to the engine.
fn surprises(engine: &mut Engine, tokens: &[u32]) -> Vec<f64> {
    let mut surprises = Vec::new();
    engine
        .feed_each(tokens, 0, &mut |at, logits| {
            let Some(next) = tokens.get(at + 1) else { return };
            let highest = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
            surprises.push(sum.ln() - f64::from(logits[*next as usize] - highest));
        })
        .expect("tokens that fit");
    surprises
}

fn perplexity(surprises: &[f64]) -> f64 {
    (surprises.iter().sum::<f64>() / surprises.len() as f64).exp()
}

/// The first tokens stay (a system prompt's place), half of the others go: as the conversation's `shift` does it.
const GOES: Range<usize> = 64..544;
/// What follows a shift, by which it is judged.
const FOLLOWS: usize = 256;

#[test]
fn after_each_shift_a_text_is_as_little_surprising_as_to_who_read_what_was_kept() {
    if common::is_emulated() {
        return;
    }
    let (mut shifted, mut fresh) = (load(), load());
    let text = shifted.encode(TEXT.as_bytes(), Encode { bos: false, special: false }).expect("tokens");
    let text: Vec<u32> = text.iter().copied().cycle().take(tokens_of_a_text()).collect();
    let mut kept = text[..CONTEXT].to_vec();
    shifted.feed(&kept).expect("as many as fit");
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for follows in text[CONTEXT..].chunks_exact(GOES.len()) {
        let failed = shifted.with_session(|session| session.drop_positions(GOES).err());
        assert!(failed.is_none(), "{failed:?}");
        kept.drain(GOES);
        fresh.wind_back(0);
        fresh.feed(&kept).expect("as many as fit");
        let [after, anew] = [&mut shifted, &mut fresh].map(|engine| surprises(engine, &follows[..FOLLOWS]));
        let (one, other) = (perplexity(&after), perplexity(&anew));
        println!("after {} tokens: {one:.3} shifted, {other:.3} read anew: {:.3}", kept.len(), one / other);
        here.extend(after);
        there.extend(anew);
        shifted.feed(&follows[FOLLOWS..]).expect("as many as fit");
        kept.extend(follows);
        // The two agree on what stays within 10 %, at each shift.
        assert!(one < other * 1.1, "{one} after a shift, {other} read anew");
    }
    println!("in all: {:.3} shifted, {:.3} read anew", perplexity(&here), perplexity(&there));
}

/// A conversation through a pipe, of which every answer is waited for.
#[cfg(all(feature = "chat", target_os = "linux"))]
#[test]
fn a_conversation_ten_times_as_long_as_its_context_takes_no_more_memory() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;

    if common::is_emulated() {
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let mut command = common::stonechat();
    command.args(["chat", "-n", "96", "--temp", "0.8", "--prompt-cache", "0", "-m"]).arg(common::smollm2());
    command.args(["-c", &CONTEXT.to_string()]).env("STONECHAT_HOME", home.path());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let (mut stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    // Answers have lines of their own, so that each ends with what `/context` says, on stderr.
    let answers = std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).count());
    let status = format!("/proc/{}/status", child.id());
    let anonymous = || {
        let status = std::fs::read_to_string(&status).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let topics = ["lions", "tea", "Rome", "snow", "chess", "bees", "trains", "salt", "rivers", "glass"];
    let (mut lines, mut said, mut early, mut late) = (stderr.lines(), 0, None, 0);
    // A question and its answer are some hundred tokens; the context is full after ten.
    while said * 110 < tokens_of_a_text() {
        let topic = topics[said % topics.len()];
        writeln!(stdin, "Tell me something new about {topic}, number {said}.\n/context").expect("it reads");
        let used = lines.next().expect("a line").expect("UTF-8");
        assert!(used.contains(" tokens used"), "{used}");
        late = anonymous();
        if used.contains("gave way") {
            early.get_or_insert(late);
        }
        said += 1;
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    let early = early.expect("turns that gave way");
    println!("{said} turns: {early} kB when the first turn gave way, {late} kB at the end");
    assert!(answers.join().expect("no panic") >= said);
    assert!(late < early + 1024, "{early} kB became {late} kB");
}
