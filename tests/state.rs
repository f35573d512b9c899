//! What a session knows can be kept, taken back and shifted: restored and computed state give the same bits.

mod common;

use std::fs;
use std::path::Path;

use stonechat_core::plan::{ActivationMode, KvFormat};
use stonechat_core::{Limits, Model, Plan, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::Level;
use stonechat_runtime::output::Durability;
use stonechat_runtime::state::{self, Keep, Kept, Key, Problem};
use stonechat_runtime::{Arena, Error, MappedFile, Pool, PromptCache};

/// Heads of 32 numbers, four to a KV head, RoPE on all.
const MODEL: &str = "models/llama_k/llama_k-Q4_0.gguf";

fn limits(context: usize, kv: KvFormat) -> Limits {
    Limits { context, batch: 64, keys: kv, values: kv, ..Limits::default() }
}

/// Runs `work` on a session of the model at `path`.
fn with<T>(path: &Path, limits: Limits, work: impl FnOnce(&mut Session<'_>, &Pool) -> T) -> T {
    let file = MappedFile::open(path).expect("a model");
    let gguf = Gguf::parse(&file).expect("a GGUF file");
    let model = Model::from_gguf(&gguf).expect("a model that runs");
    let plan = Plan::new(&model, limits).expect("a plan");
    let mut arena = Arena::new(plan.bytes()).expect("memory");
    let pool = Pool::new(limits.threads).expect("threads");
    let mut session = Session::new(&model, &plan, arena.as_mut_slice(), Level::detect()).expect("a session");
    work(&mut session, &pool)
}

/// Tokens that every model has.
fn tokens(len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 7 + i * i % 31) % 500 + 3).collect()
}

fn bits(session: &Session<'_>) -> Vec<u32> {
    session.logits().iter().map(|logit| logit.to_bits()).collect()
}

/// The logits after all of `tokens`, computed.
fn computed(path: &Path, kv: KvFormat, tokens: &[u32]) -> Vec<u32> {
    with(path, limits(512, kv), |session, pool| {
        session.feed(tokens, pool).expect("tokens");
        bits(session)
    })
}

#[test]
fn a_file_gives_back_the_bits_in_every_format_and_in_part() {
    let model = common::golden(MODEL);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("session");
    let tokens = tokens(300);
    for kv in KvFormat::ALL {
        let key = with(&model, limits(512, kv), |session, pool| {
            session.feed(&tokens[..290], pool).expect("tokens");
            let key = Key::of(session);
            let keep = Keep { key, position: 0, tokens: &tokens[..290], note: b"a note" };
            let len = state::write(&path, &keep, session, Durability::Synced).expect("a file");
            assert_eq!(len, fs::metadata(&path).expect("a file").len());
            key
        });
        // Another context, another batch, another number of threads.
        for taken in [0, 1, 16, 100, 257, 289, 290] {
            let limits = Limits { batch: 7, threads: 2, ..limits(300, kv) };
            let restored = with(&model, limits, |session, pool| {
                assert_eq!(Key::of(session), key);
                let kept = Kept::open(&path, &key).expect("a session");
                assert_eq!((kept.tokens(), kept.note()), (&tokens[..290], &b"a note"[..]));
                kept.restore(session, taken).expect("state");
                assert_eq!(session.position(), taken);
                session.feed(&tokens[taken..], pool).expect("tokens");
                bits(session)
            });
            assert_eq!(restored, computed(&model, kv, &tokens), "{} after {taken}", kv.as_str());
        }
    }
}

#[test]
fn a_state_of_another_model_or_plan_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("session");
    let key_of = |model: &str, limits| with(&common::golden(model), limits, |session, _| Key::of(session));
    let key = with(&common::golden(MODEL), limits(64, KvFormat::F16), |session, pool| {
        session.feed(&tokens(20), pool).expect("tokens");
        let key = Key::of(session);
        let keep = Keep { key, position: 0, tokens: &tokens(20), note: b"" };
        state::write(&path, &keep, session, Durability::Synced).expect("a file");
        key
    });
    assert_eq!(key_of(MODEL, limits(32, KvFormat::F16)), key);
    for other in [
        key_of("models/llama_k/llama_k-Q4_K.gguf", limits(64, KvFormat::F16)),
        key_of(MODEL, limits(64, KvFormat::Q8_0)),
        key_of(MODEL, Limits { values: KvFormat::F32, ..limits(64, KvFormat::F16) }),
        key_of(MODEL, Limits { activations: ActivationMode::F32, ..limits(64, KvFormat::F16) }),
    ] {
        let error = Kept::open(&path, &other).expect_err("another model");
        assert!(matches!(error, Error::State { problem: Problem::OtherModel, .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("{} was made with another model", path.display())));
    }
}

#[test]
fn a_damaged_file_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("session");
    let tokens = tokens(40);
    with(&common::golden(MODEL), limits(64, KvFormat::Q8_0), |session, pool| {
        session.feed(&tokens, pool).expect("tokens");
        let key = Key::of(session);
        let keep = Keep { key, position: 0, tokens: &tokens, note: b"note" };
        state::write(&path, &keep, session, Durability::Synced).expect("a file");
        let whole = fs::read(&path).expect("a file");
        let head = 80 + 4 * tokens.len() + 4;
        let mut refused = |bytes: &[u8], what: &str| {
            fs::write(&path, bytes).expect("a file");
            session.forget();
            let result = Kept::open(&path, &key).and_then(|kept| {
                let all = kept.tokens().len();
                kept.restore(session, all)
            });
            let error = result.expect_err(what);
            assert!(matches!(error, Error::State { .. }), "{what}: {error}");
            assert_eq!(session.position(), 0, "{what}");
        };
        let places = (0..head).chain((head..whole.len()).step_by(997)).chain([whole.len() - 1]);
        for place in places {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            refused(&bytes, &format!("a bit of byte {place}"));
        }
        for len in (0..head).chain((head..whole.len()).step_by(4099)) {
            refused(&whole[..len], &format!("cut to {len} bytes"));
        }
        refused(&[&whole[..], &[0]].concat(), "a byte too many");
    });
}

#[test]
fn a_prompt_that_begins_like_an_earlier_one_is_computed_from_where_they_part() {
    let model = common::golden(MODEL);
    let folder = tempfile::tempdir().expect("a folder");
    let first = tokens(450);
    let forked = |at: usize, len: usize| {
        let rest = (0..len as u32).map(|i| i * 3 % 400 + 5);
        first[..at].iter().copied().chain(rest).collect::<Vec<u32>>()
    };
    // How many tokens are known, and the logits after all.
    let answer = |prompt: &[u32]| {
        with(&model, limits(512, KvFormat::F16), |session, pool| {
            let cache = PromptCache::open(folder.path(), u64::MAX, session).expect("a cache");
            let known = cache.restore(session, &prompt[..prompt.len() - 1]);
            assert_eq!(known, session.position());
            session.feed(&prompt[known..], pool).expect("tokens");
            let bits = bits(session);
            cache.keep(session, prompt).expect("kept");
            (known, bits)
        })
    };
    let computed = |prompt: &[u32]| {
        with(&model, limits(512, KvFormat::F16), |session, pool| {
            session.feed(prompt, pool).expect("tokens");
            bits(session)
        })
    };
    // A prompt, and how many of its tokens earlier ones began with.
    for (prompt, known) in [
        (first.clone(), 0),
        (first.clone(), 449),
        (forked(450, 50), 450),
        (forked(450, 50), 499),
        (forked(100, 300), 100),
        (forked(100, 300), 399),
        (forked(256, 40), 256),
        (forked(256, 200), 296),
        (first[..300].to_vec(), 299),
        (forked(0, 30), 0),
    ] {
        let (found, bits) = answer(&prompt);
        assert_eq!(found, known, "of {} tokens", prompt.len());
        assert_eq!(bits, computed(&prompt), "{known} known of {} tokens", prompt.len());
    }
    // What is damaged is removed, and computed again.
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("a file").path();
        let mut bytes = fs::read(&path).expect("a file");
        *bytes.last_mut().expect("a byte") ^= 1;
        fs::write(&path, bytes).expect("a file");
    }
    // Each file when it is come upon.
    for expected in [0, 256, 449] {
        let (known, bits) = answer(&first);
        assert_eq!((known, bits), (expected, computed(&first)));
    }
}

#[test]
fn the_cache_stays_within_its_limit_and_forgets_what_was_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let size = || -> u64 {
        let entries = fs::read_dir(folder.path()).expect("a folder");
        entries.map(|entry| entry.expect("a file").metadata().expect("a file").len()).sum()
    };
    with(&common::golden(MODEL), limits(512, KvFormat::F16), |session, pool| {
        let prompt = |n: u32| (0..200).map(|i| (i * 5 + n * 37) % 480 + 3).collect::<Vec<u32>>();
        let cache = PromptCache::open(folder.path(), u64::MAX, session).expect("a cache");
        let keep = |cache: &PromptCache, session: &mut Session<'_>, n: u32| {
            session.forget();
            session.feed(&prompt(n), pool).expect("tokens");
            let bytes = cache.keep(session, &prompt(n)).expect("kept");
            std::thread::sleep(std::time::Duration::from_millis(20));
            bytes
        };
        let one = keep(&cache, session, 0);
        assert_eq!(size(), one);
        assert_eq!(keep(&cache, session, 0), 0, "what is there is not written again");
        let cache = PromptCache::open(folder.path(), 3 * one, session).expect("a cache");
        for n in 1..6 {
            keep(&cache, session, n);
            assert!(size() <= 3 * one);
        }
        for n in 0..6 {
            session.forget();
            let known = cache.restore(session, &prompt(n));
            assert_eq!(known, if n < 3 { 0 } else { 200 }, "prompt {n}");
        }
    });
}

/// The keys of the first layer's first head depend on a token and its position alone.
fn first_keys(session: &Session<'_>) -> Vec<f32> {
    let mut keys = Vec::new();
    let _ = session.export(0..session.position(), |bytes| {
        keys = bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        Err(())
    });
    keys
}

#[test]
fn keys_of_a_shifted_text_stand_where_they_would_have_been_computed() {
    for model in [MODEL, "models/llama/llama-f32.gguf"] {
        let model = common::golden(model);
        let kept: Vec<u32> = tokens(120);
        let limits = Limits { activations: ActivationMode::F32, ..limits(256, KvFormat::F32) };
        let (there, head) = with(&model, limits, |session, pool| {
            session.feed(&kept, pool).expect("tokens");
            (first_keys(session), session.model().hyperparameters().head_dim)
        });
        let shifted = with(&model, limits, |session, pool| {
            assert!(session.can_drop_positions());
            let between = [9, 8, 7, 6, 5, 4, 3, 9, 8, 7, 6, 5, 4, 3, 11, 12, 13, 14, 15, 16, 17];
            let text: Vec<u32> = kept[..5].iter().chain(&between).chain(&kept[5..]).copied().collect();
            session.feed(&text, pool).expect("tokens");
            session.drop_positions(5..5 + between.len()).expect("a shift");
            assert_eq!(session.position(), kept.len());
            first_keys(session)
        });
        // Element by element, 16 positions each: the last group's unused places hold anything.
        assert_eq!(there.len(), kept.len().next_multiple_of(16) * head);
        for (i, (a, b)) in there.iter().zip(&shifted).enumerate() {
            let position = i / (16 * head) * 16 + i % 16;
            assert!(position >= kept.len() || (a - b).abs() < 2e-5, "{a} and {b} at {i}");
        }
    }
}

#[test]
fn dropping_the_last_tokens_is_rewinding() {
    let model = common::golden(MODEL);
    let all = tokens(80);
    let dropped = with(&model, limits(256, KvFormat::Q4_0), |session, pool| {
        session.feed(&all, pool).expect("tokens");
        session.drop_positions(70..80).expect("a shift");
        session.feed(&all[70..], pool).expect("tokens");
        bits(session)
    });
    assert_eq!(dropped, computed(&model, KvFormat::Q4_0, &all));
}
