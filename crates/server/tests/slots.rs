//! Several texts at once: each says what it says alone, and whatever becomes of one is no other's business.

use std::fs;
use std::path::{Path, PathBuf};

use stonechat_core::Sampling;
use stonechat_core::sampler::Mirostat;
use stonechat_gguf::Gguf;
use stonechat_runtime::engine::{Options, Threads};
use stonechat_runtime::grammar::{Grammars, Language};
use stonechat_runtime::{Engine, PromptCache};
use stonechat_server::scheduler::{
    Activity, Answer, Busy, End, Event, Job, Scheduler, SchedulerOptions, Usage,
};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A model that tells stories.
fn tiny() -> PathBuf {
    repository("models/tiny/tiny-Q8_0.gguf")
}

fn engine(model: &Path, sequences: usize) -> Engine {
    let options = Options {
        sequences,
        context: Some(256),
        batch: 48,
        outputs: sequences,
        threads: Threads { token: 2, batch: 2 },
        ..Options::default()
    };
    Engine::load(model, &options).expect("a model that runs")
}

fn scheduler(model: &Path, sequences: usize, queue: usize) -> Scheduler {
    let options = SchedulerOptions { queue, ..SchedulerOptions::default() };
    Scheduler::start(engine(model, sequences), options).expect("a thread")
}

fn job(tokens: Vec<u32>, most: usize) -> Job {
    let sampling = Sampling::default();
    Job { tokens, most, sampling, biases: Vec::new(), constraint: None, logprobs: None }
}

/// An answer and how it ended.
#[derive(PartialEq, Debug)]
struct Said {
    ids: Vec<u32>,
    /// The bits of their probabilities.
    logprobs: Vec<u32>,
    end: Result<End, String>,
}

fn hear(answer: &mut Answer) -> (Said, Usage) {
    let mut said = Said { ids: Vec::new(), logprobs: Vec::new(), end: Err("nothing".into()) };
    loop {
        match answer.wait().expect("an answer ends with an event") {
            Event::Reading { known, read, of } => assert!(known + read <= of),
            Event::Token { id, logprob } => {
                said.ids.push(id);
                said.logprobs.extend(logprob.map(|logprob| logprob.logprob.to_bits()));
            }
            Event::End { why, usage } => {
                assert!(answer.wait().is_none(), "nothing follows");
                return (Said { end: Ok(why), ..said }, usage);
            }
            Event::Failed(error) => {
                assert!(answer.wait().is_none(), "nothing follows");
                return (Said { end: Err(error.to_string()), ..said }, Usage::default());
            }
        }
    }
}

/// Jobs of all kinds, of which some begin alike.
fn jobs(engine: &Engine) -> Vec<Job> {
    let grammars = Grammars::new(engine).expect("a vocabulary");
    let texts = [
        "Once upon a time there was a little girl who had a red ball. She went to the park with her mom and her dog. One \
         day she saw a",
        "Once upon a time there was a little girl who had a red ball. She went to the park with her mom and her dog, and \
         there",
        "The dog",
        "Tom and his friend Lily liked to play in the garden behind the house, where there were",
        "One day",
    ];
    (0..40)
        .map(|n: usize| {
            let tokens = engine.encode_raw(texts[n % texts.len()].as_bytes()).expect("tokens");
            let temperature = if n.is_multiple_of(3) { 0.0 } else { 0.9 };
            let mirostat = (n % 7 == 1).then(Mirostat::default);
            let schema = r#"{"type":"object","properties":{"name":{"enum":["Tom","Lily"]},"age":{"type":"integer"}},"required":["name","age"]}"#;
            let constraint = (n % 8 == 2)
                .then(|| Box::new(grammars.read(Language::JsonSchema, schema).expect("a schema")) as _);
            Job {
                sampling: Sampling { temperature, mirostat, seed: n as u64, repeat_penalty: 1.1, ..Sampling::default() },
                biases: if n % 11 == 3 { vec![(12, -2.0)] } else { Vec::new() },
                logprobs: (n % 5 == 4).then_some(2),
                constraint,
                ..job(tokens, 12 + n * 5 % 40)
            }
        })
        .collect()
}

#[test]
fn a_text_is_what_it_is_alone_whoever_else_is_served() {
    let tiny = tiny();
    let engine = engine(&tiny, 1);
    let alone: Vec<Said> = {
        let (first, second) = (jobs(&engine), jobs(&engine));
        let scheduler = scheduler(&tiny, 1, 0);
        let hear_alone = |job| hear(&mut scheduler.submit(job).expect("a free place")).0;
        let alone: Vec<Said> = first.into_iter().map(hear_alone).collect();
        // What stood there before changes nothing either.
        let backwards: Vec<Said> = second.into_iter().rev().map(hear_alone).collect();
        assert!(backwards.iter().rev().eq(&alone));
        alone
    };
    assert!(alone.iter().all(|said| said.end.is_ok() && !said.ids.is_empty()), "{alone:?}");
    let scheduler = scheduler(&tiny, 4, 40);
    for _ in 0..2 {
        let answers: Vec<_> =
            jobs(&engine).into_iter().map(|job| scheduler.submit(job).expect("room")).collect();
        for (n, (mut answer, alone)) in answers.into_iter().zip(&alone).enumerate() {
            assert_eq!(hear(&mut answer).0, *alone, "job {n}");
        }
    }
    let counters = scheduler.counters();
    assert_eq!((counters.answered, counters.failed, counters.cancelled), (80, 0, 0));
    assert!(counters.known_tokens > counters.prompt_tokens, "beginnings are shared: {counters:?}");
    assert!(scheduler.slots().iter().all(|slot| slot.activity == Activity::Idle));
}

/// A job that writes until the context is full, and its first token.
fn endless(scheduler: &Scheduler, first: u32) -> Answer {
    // Without a token that ends it.
    let biases = (0..4).map(|id| (id, f32::NEG_INFINITY)).collect();
    let mut answer = scheduler.submit(Job { biases, ..job(vec![first, 40], usize::MAX) }).expect("room");
    loop {
        match answer.wait().expect("an event") {
            Event::Reading { .. } => {}
            Event::Token { .. } => return answer,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn whoever_leaves_makes_room_and_a_full_queue_says_so() {
    let scheduler = scheduler(&tiny(), 2, 1);
    for round in 1..=10 {
        let running = [endless(&scheduler, 30), endless(&scheduler, 31)];
        let mut waiting = scheduler.submit(job(vec![30, 50], 3)).expect("room to wait");
        let Err(Busy { retry_after }) = scheduler.submit(job(vec![30], 1)) else { panic!("a full queue") };
        assert!(retry_after.as_secs() >= 1);
        assert_eq!(scheduler.counters().waiting, 1);
        drop(running);
        assert_eq!(hear(&mut waiting).0.ids.len(), 3);
        let counters = scheduler.counters();
        assert_eq!((counters.refused, counters.answered), (round, round));
        // The other one leaves within a token, too.
        while scheduler.counters().cancelled < 2 * round {
            std::thread::yield_now();
        }
        assert!(scheduler.slots().iter().all(|slot| slot.activity == Activity::Idle));
    }
    // Who leaves while waiting takes no turn.
    let running = [endless(&scheduler, 30), endless(&scheduler, 31)];
    drop(scheduler.submit(job(vec![30, 50], 3)).expect("room to wait"));
    let mut last = scheduler.submit(job(vec![30, 51], 2)).expect("the room of who left");
    drop(running);
    assert_eq!(hear(&mut last).0.end, Ok(End::Length));
    // What was taken is done.
    let mut last = scheduler.submit(job(vec![30, 52], 5)).expect("room");
    scheduler.drain();
    assert_eq!(hear(&mut last).0.ids.len(), 5);
}

#[test]
fn what_is_asked_wrongly_fails_alone() {
    let scheduler = scheduler(&tiny(), 3, 9);
    let fails = |job| hear(&mut scheduler.submit(job).expect("room")).0.end.expect_err("a mistake");
    let mut running = endless(&scheduler, 30);
    assert!(fails(job(Vec::new(), 4)).contains("there is no token to feed"));
    assert!(fails(job(vec![99_999], 4)).contains("there is no token 99999"));
    assert!(fails(job(vec![30; 300], 4)).contains("300 more tokens do not fit into the context of 256"));
    let sampling = Sampling { temperature: f32::NAN, ..Sampling::default() };
    assert!(fails(Job { sampling, ..job(vec![30], 4) }).contains("the temperature must be"));
    assert!(fails(Job { biases: vec![(1, f32::NAN)], ..job(vec![30], 4) }).contains("the bias of a token"));
    let grammars = Grammars::new(&engine(&tiny(), 1)).expect("a vocabulary");
    let grammar = grammars.read(Language::JsonSchema, r#"{"const":"a long text"}"#).expect("a schema");
    let constraint: Option<Box<dyn stonechat_runtime::Constraint>> = Some(Box::new(grammar));
    assert!(fails(Job { constraint, ..job(vec![30], 2) }).contains("tokens"));
    let (said, usage) = hear(&mut running);
    assert_eq!((said.end, usage.prompt_tokens), (Ok(End::ContextFull), 2));
    assert_eq!(usage.generated_tokens, 254);
    assert_eq!(said.ids.len(), 253);
    let counters = scheduler.counters();
    assert_eq!((counters.answered, counters.failed), (1, 6));
    let nothing = hear(&mut scheduler.submit(job(vec![30; 256], 9)).expect("room")).0;
    assert_eq!((nothing.ids.len(), nothing.end), (0, Ok(End::ContextFull)));
}

/// A golden in which the embedding of one token has no finite norm.
fn damaged(name: &str, token: usize, folder: &Path) -> PathBuf {
    let mut bytes =
        fs::read(repository(&format!("tests/golden/architectures/{name}.gguf"))).expect("a golden");
    let gguf = Gguf::parse(&bytes).expect("a GGUF file");
    let embedding = gguf.tensor("token_embd.weight").expect("an embedding");
    let row = embedding.data.len() / embedding.dims.as_slice()[1] as usize;
    let from = embedding.data.as_ptr().addr() - bytes.as_ptr().addr() + token * row;
    // Each block of Q4_0 begins with its scale.
    assert_eq!(embedding.ty.name(), "Q4_0");
    bytes[from..from + row].chunks_exact_mut(18).for_each(|block| block[..2].copy_from_slice(&[0x00, 0x7c]));
    let path = folder.join(format!("{name}.gguf"));
    fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn a_text_that_cannot_be_computed_fails_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    // One that only attends, and one that carries a state, which a failing batch loses.
    for name in ["qwen2", "falcon_h1"] {
        let model = damaged(name, 51, folder.path());
        let options = |sequences| Options {
            sequences,
            context: Some(40),
            batch: 16,
            outputs: sequences,
            threads: Threads { token: 1, batch: 1 },
            ..Options::default()
        };
        let start = |sequences| {
            let engine = Engine::load(&model, &options(sequences)).expect("a model that runs");
            Scheduler::start(engine, SchedulerOptions { queue: 9, ..SchedulerOptions::default() })
                .expect("a thread")
        };
        let good = |n: u32| Job {
            biases: vec![(51, f32::NEG_INFINITY)],
            ..job((0..9).map(|i| (i * 7 + n) % 50).collect(), 20)
        };
        let alone = start(1);
        let expected: Vec<Said> = (0..5).map(|n| hear(&mut alone.submit(good(n)).expect("room")).0).collect();
        assert!(expected.iter().all(|said| said.end.is_ok()), "{name}: {expected:?}");
        let together = start(4);
        for bad_at in [0, 5, 14] {
            let mut answers: Vec<_> = (0..5).map(|n| together.submit(good(n)).expect("room")).collect();
            let mut tokens: Vec<u32> = (1..20).collect();
            tokens[bad_at] = 51;
            let mut bad = together.submit(job(tokens, 4)).expect("room");
            let error = hear(&mut bad).0.end.expect_err("no number");
            assert!(error.contains("a number that is not finite arose"), "{name}: {error}");
            for (answer, expected) in answers.iter_mut().zip(&expected) {
                assert_eq!(hear(answer).0, *expected, "{name}");
            }
        }
        assert_eq!(together.counters().failed, 3, "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_that_is_cut_short_fails_jobs_and_not_the_thread() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.gguf");
    fs::copy(tiny(), &model).expect("a copy");
    let scheduler = scheduler(&model, 2, 4);
    let mut running = endless(&scheduler, 30);
    fs::OpenOptions::new().write(true).open(&model).expect("a file").set_len(4096).expect("a shorter one");
    let sentence = hear(&mut running).0.end.expect_err("no weights");
    assert!(sentence.contains("model.gguf"), "{sentence}");
    for _ in 0..3 {
        let mut answer = scheduler.submit(job(vec![30, 40, 50], 5)).expect("room");
        assert_eq!(hear(&mut answer).0.end, Err(sentence.clone()));
    }
}

#[test]
fn beginnings_are_found_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || {
        let engine = engine(&tiny(), 2);
        let cache = PromptCache::open(folder.path(), 64 << 20, engine.session()).expect("a folder");
        Scheduler::start(
            engine,
            SchedulerOptions { queue: 2, cache: Some(cache), ..SchedulerOptions::default() },
        )
        .expect("a thread")
    };
    let tokens: Vec<u32> = (0..100).map(|i| 20 + i * 7 % 300).collect();
    let say = |scheduler: &Scheduler| hear(&mut scheduler.submit(job(tokens.clone(), 8)).expect("room"));
    let (first, usage) = say(&start());
    assert_eq!((usage.prompt_tokens, usage.known_tokens), (100, 0));
    let (second, usage) = say(&start());
    assert_eq!(usage.known_tokens, 99);
    assert_eq!(second, first);
}
