//! Several texts in one session: whatever is computed beside a text, its bits are those that it has alone.

mod common;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use stonechat_core::session::Stretch;
use stonechat_core::{Error, Limits, Model, Plan, Sampler, Sampling, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Alone, KvFormat, Level};
use stonechat_runtime::{Arena, Pool};

/// Goldens that differ in what a text carries along, or in how a layer ends: keys and values alone; with windows; with positions in
/// the embedding; by distance; an input for each layer; both branches added at once; norms of what a branch gives; latent
/// attention, in both kinds of files; experts; states of every kind.
const NAMES: [&str; 15] = [
    "qwen2",
    "gemma3",
    "gpt2",
    "mpt",
    "gemma4",
    "gptneox",
    "olmo2",
    "gpt_oss",
    "mixtral",
    "deepseek_v2",
    "minicpm3",
    "lfm2",
    "mamba",
    "falcon_h1",
    "qwen35",
];
/// Texts at once, tokens of each, tokens that are computed together, and whose logits are.
const TEXTS: usize = 3;
const LONGEST: usize = 40;
const BATCH: usize = 24;
const OUTPUTS: usize = 5;
/// Ids that every golden has.
const IDS: u32 = 60;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(common::golden(&format!("architectures/{name}.gguf"))).expect("a golden")
}

fn with_session<T>(
    bytes: &[u8],
    limits: Limits,
    level: Level,
    work: impl FnOnce(&mut Session<'_>) -> T,
) -> T {
    let gguf = Gguf::parse(bytes).expect("a GGUF file");
    let model = Model::from_gguf(&gguf).expect("a model that runs");
    let context = limits.context.min(model.hyperparameters().context);
    let plan = Plan::new(&model, Limits { context, ..limits }).expect("a plan");
    let mut arena = Arena::new(plan.bytes()).expect("memory");
    // Nothing is zero that nobody has written.
    arena.as_mut_slice().fill(0xff);
    work(&mut Session::new(&model, &plan, arena.as_mut_slice(), level).expect("a session"))
}

fn limits(sequences: usize, threads: usize) -> Limits {
    Limits { sequences, context: LONGEST, batch: BATCH, outputs: OUTPUTS, threads, ..Limits::default() }
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// The bits of the logits behind each token of a text that is alone.
fn alone(bytes: &[u8], text: &[u32], limits: Limits, level: Level) -> Vec<Vec<u32>> {
    with_session(bytes, Limits { sequences: 1, ..limits }, level, |session| {
        let mut rows = Vec::new();
        session.feed_each(text, 0, &Alone, &mut |_, logits| rows.push(bits(logits))).expect("tokens");
        rows
    })
}

/// What a batch takes of each text: so many tokens at most, and the logits of so many; in this order.
type Step = (Vec<(usize, usize)>, usize);

fn steps() -> impl Strategy<Value = (Vec<Vec<u32>>, Vec<Step>)> {
    let text = proptest::collection::vec(0..IDS, 1..=LONGEST);
    // Often one token, sometimes many.
    let tokens = prop_oneof![3 => 0..=1usize, 1 => 0..=BATCH];
    let step = (proptest::collection::vec((tokens, 0..=2usize), TEXTS), 0..TEXTS);
    (proptest::collection::vec(text, TEXTS), proptest::collection::vec(step, 8..40))
}

/// Feeds texts as `steps` say, and what they leave in the end, and compares all logits that were wanted.
fn check(
    session: &mut Session<'_>,
    texts: &[Vec<u32>],
    steps: &[Step],
    pool: &Pool,
    expected: &[Vec<Vec<u32>>],
    what: &str,
) {
    let greedy = Sampler::new(Sampling::default()).expect("sensible parameters");
    let mut fed = [0; TEXTS];
    let rest = (vec![(1, 1); TEXTS], 0);
    for (takes, first) in steps.iter().chain(std::iter::repeat_n(&rest, LONGEST)) {
        let (mut stretches, mut room, mut outputs) = (Vec::new(), BATCH, OUTPUTS);
        for n in 0..TEXTS {
            let number = (first + n) % TEXTS;
            let (tokens, wanted) = takes[number];
            let tokens = tokens.min(room).min(texts[number].len() - fed[number]);
            let wanted = wanted.min(outputs).min(tokens);
            if tokens > 0 {
                let tokens = &texts[number][fed[number]..][..tokens];
                stretches.push(Stretch { sequence: number, tokens, outputs: wanted });
            }
            (room, outputs) = (room - tokens, outputs - wanted);
        }
        session.feed_together(&stretches, pool).expect("tokens that find room");
        for stretch in stretches {
            let number = stretch.sequence;
            fed[number] += stretch.tokens.len();
            session.turn_to(number);
            assert_eq!(session.position(), fed[number], "{what}");
            for back in 0..stretch.outputs {
                let row = &expected[number][fed[number] - 1 - back];
                assert!(
                    bits(session.logits_back(back)) == *row,
                    "{what}: text {number} after {}",
                    fed[number]
                );
                let logits: Vec<f32> = row.iter().map(|bits| f32::from_bits(*bits)).collect();
                let most_likely = stonechat_core::sampler::most_likely(&logits);
                assert_eq!(session.pick_back(back, &greedy, texts[number].as_slice()), most_likely, "{what}");
            }
        }
    }
    assert!(fed.iter().zip(texts).all(|(fed, text)| *fed == text.len()), "all was fed");
}

#[test]
fn bits_do_not_depend_on_what_is_computed_beside() {
    let cases = if common::is_emulated() { 1 } else { 3 };
    let pools = [1, 2].map(|threads| Pool::new(threads).expect("threads"));
    let mut runner = TestRunner::deterministic();
    let drawn: Vec<_> = (0..cases).map(|_| steps().new_tree(&mut runner).expect("steps").current()).collect();
    for name in NAMES {
        let bytes = file(name);
        for level in common::levels() {
            for (texts, steps) in &drawn {
                let expected: Vec<_> =
                    texts.iter().map(|text| alone(&bytes, text, limits(1, 1), level)).collect();
                for (threads, pool) in (1..).zip(&pools) {
                    let what = format!("{name} at level {} with {threads} threads", level.name());
                    with_session(&bytes, limits(TEXTS, threads), level, |session| {
                        check(session, texts, steps, pool, &expected, &what);
                    });
                }
            }
        }
    }
}

/// More than one chunk of attention, of which texts have different numbers, and every KV format.
#[test]
fn bits_do_not_depend_on_how_long_the_others_are() {
    let bytes = std::fs::read(common::golden("models/llama_k/llama_k-Q4_0.gguf")).expect("a golden");
    let texts: Vec<Vec<u32>> = [280, 30, 500]
        .into_iter()
        .map(|len: u32| (0..len).map(|i| (i * 7 + i * i % 31 + len) % 500 + 3).collect())
        .collect();
    let pool = Pool::new(2).expect("threads");
    for kv in KvFormat::ALL {
        let limits = Limits { context: 512, batch: 64, keys: kv, values: kv, ..limits(3, 2) };
        let level = Level::detect();
        let expected: Vec<_> = texts.iter().map(|text| alone(&bytes, text, limits, level)).collect();
        with_session(&bytes, limits, level, |session| {
            for (number, text) in texts.iter().enumerate() {
                session.turn_to(number);
                session.feed(&text[..text.len() - 6], &pool).expect("a prompt");
            }
            for back in (0..6).rev() {
                let at = |text: &Vec<u32>| text.len() - 1 - back;
                let stretches: Vec<_> = texts
                    .iter()
                    .enumerate()
                    .map(|(sequence, text)| Stretch {
                        sequence,
                        tokens: &text[at(text)..=at(text)],
                        outputs: 1,
                    })
                    .collect();
                session.feed_together(&stretches, &pool).expect("tokens");
                for (number, text) in texts.iter().enumerate() {
                    session.turn_to(number);
                    assert!(bits(session.logits()) == expected[number][at(text)], "text {number}, {kv:?}");
                }
            }
        });
    }
}

#[test]
fn a_beginning_that_texts_share_is_copied() {
    for name in NAMES {
        let bytes = file(name);
        let has_state = ["lfm2", "mamba", "falcon_h1", "qwen35"].contains(&name);
        let text: Vec<u32> = (0..36).map(|i| (i * 11 + 5) % IDS).collect();
        let expected = alone(&bytes, &text, limits(1, 1), Level::detect());
        with_session(&bytes, limits(TEXTS, 1), Level::detect(), |session| {
            session.turn_to(2);
            session.feed(&text[..21], &Alone).expect("tokens");
            session.turn_to(1);
            session.feed(&[7, 7, 7], &Alone).expect("tokens");
            // A state knows all tokens.
            let shared = if has_state { 21 } else { 19 };
            session.copy_beginning(2, shared);
            assert_eq!((session.sequence(), session.position()), (1, shared));
            session.feed(&text[shared..], &Alone).expect("tokens");
            assert!(bits(session.logits()) == expected[35], "{name}");
            session.turn_to(2);
            session.feed(&text[21..], &Alone).expect("tokens");
            assert!(bits(session.logits()) == expected[35], "{name}: the other one");
        });
    }
}

/// A token whose embedding has no finite norm fails all who are computed with it, and only its own text when all are fed alone.
#[test]
fn a_text_that_cannot_be_computed_harms_no_other() {
    for (name, has_state) in [("qwen2", false), ("lfm2", true)] {
        let mut bytes = common::in_f32(&format!("architectures/{name}.gguf"));
        let gguf = Gguf::parse(&bytes).expect("a GGUF file");
        let embedding = gguf.tensor("token_embd.weight").expect("an embedding");
        let (row, at) = (embedding.dims.row_len() as usize * 4, embedding.data.as_ptr());
        let from = at.addr() - bytes.as_ptr().addr() + 51 * row;
        bytes[from..from + row].copy_from_slice(&1e30f32.to_le_bytes().repeat(row / 4));
        let text = [1, 40, 13, 61, 7, 22];
        let expected = alone(&bytes, &text, limits(1, 1), Level::detect());
        with_session(&bytes, limits(TEXTS, 1), Level::detect(), |session| {
            let stretch = |sequence, tokens| Stretch { sequence, tokens, outputs: 1 };
            session.feed_together(&[stretch(0, &text[..5]), stretch(1, &[40, 3])], &Alone).expect("tokens");
            let batch = [stretch(0, &text[5..]), stretch(1, &[51])];
            assert!(matches!(session.feed_together(&batch, &Alone), Err(Error::NotFinite(_))), "{name}");
            assert_eq!(session.position(), if has_state { 0 } else { 5 }, "{name}");
            let rest = &text[session.position()..];
            session.feed_together(&[stretch(0, rest)], &Alone).expect("tokens");
            assert!(bits(session.logits()) == expected[5], "{name}");
            assert!(session.feed_together(&batch[1..], &Alone).is_err(), "{name}");
            // What is asked wrongly is found before anything is computed.
            let wrong = [stretch(2, &text[..]), stretch(0, &[100_000])];
            assert!(matches!(session.feed_together(&wrong, &Alone), Err(Error::TokenOutOfRange { .. })));
            let wrong = [stretch(2, &text[..]), stretch(0, &[])];
            assert_eq!(session.feed_together(&wrong, &Alone), Err(Error::NoTokens));
            assert_eq!(session.position(), 6, "{name}");
            session.turn_to(2);
            assert_eq!(session.position(), 0, "{name}");
        });
    }
}

#[test]
fn the_plan_counts_what_each_text_takes() {
    for name in ["qwen2", "lfm2"] {
        let bytes = file(name);
        let gguf = Gguf::parse(&bytes).expect("a GGUF file");
        let model = Model::from_gguf(&gguf).expect("a model that runs");
        let region = |sequences, name| {
            let plan = Plan::new(&model, limits(sequences, 1)).expect("a plan");
            plan.regions().iter().find(|region| region.name == name).map(|region| region.bytes)
        };
        for part in ["keys", "values", "recurrent state"] {
            assert_eq!(region(3, part), region(1, part).map(|bytes| 3 * bytes), "{name}: {part}");
        }
        for part in ["norms and biases", "logits", "sampler"] {
            assert_eq!(region(3, part), region(1, part), "{name}: {part}");
        }
        let none = Plan::new(&model, limits(0, 1)).expect_err("no text");
        assert_eq!(none, Error::ZeroLimit("the number of sequences"));
    }
}
