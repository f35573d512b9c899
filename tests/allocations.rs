//! Once a session exists, nothing is allocated: not by feed, logits, pick or piece, and on no thread.
//!
//! The allocator of this program counts for all threads together, so this file holds one test alone.

use std::alloc::System;
use std::path::Path;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use stonechat_core::plan::{ActivationMode, KvFormat};
use stonechat_core::sampler::{Dry, Mirostat};
use stonechat_core::session::Stretch;
use stonechat_core::{Limits, Model, Plan, Pooling, Sampler, Sampling, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Level, Workers};
use stonechat_runtime::{Arena, MappedFile, Pool};

mod common;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often memory was asked for, given back or moved while `work` ran.
fn calls(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    let stats = region.change();
    stats.allocations + stats.deallocations + stats.reallocations
}

/// Greedy, and with all that a sampler can do.
fn samplers() -> [Sampler<'static>; 3] {
    let greedy = Sampling::default();
    let all = Sampling {
        temperature: 0.8,
        dynatemp_range: 0.2,
        typical_p: 0.9,
        top_n_sigma: 2.0,
        xtc_probability: 0.5,
        repeat_penalty: 1.1,
        frequency_penalty: 0.1,
        dry: Dry { multiplier: 0.5, ..Dry::default() },
        seed: 7,
        ..greedy
    };
    let mirostat = Sampling { temperature: 0.8, mirostat: Some(Mirostat::default()), ..greedy };
    [greedy, all, mirostat].map(|sampling| Sampler::new(sampling).expect("sensible parameters"))
}

/// A prompt of several batches, then tokens one by one.
fn talk(session: &mut Session<'_>, pool: &Pool, buffer: &mut [u8], history: &mut [u32]) {
    let prompt = history.len() - 8;
    session.forget();
    session.feed(&history[..prompt], pool).expect("a prompt");
    for (n, sampler) in (prompt..history.len()).zip(samplers().iter().cycle()) {
        assert!(session.logits().iter().all(|logit| logit.is_finite()));
        let token = session.pick(sampler, &history[..n]);
        history[n] = token;
        session.vocabulary().piece(token, false, buffer).expect("a token of the vocabulary");
        session.feed(&[token], pool).expect("a token");
    }
}

/// Tokens of three texts together: one of each, and some of one beside the others.
fn talk_together(session: &mut Session<'_>, pool: &Pool, history: &[u32]) {
    let [greedy, ..] = samplers();
    for n in 0..3 {
        session.turn_to(n);
        session.forget();
    }
    for round in history.chunks_exact(12) {
        let stretch = |sequence, tokens| Stretch { sequence, tokens, outputs: 1 };
        let ones = [stretch(0, &round[..1]), stretch(1, &round[1..2]), stretch(2, &round[2..3])];
        session.feed_together(&ones, pool).expect("tokens");
        let some = [stretch(2, &round[3..4]), stretch(0, &round[4..12])];
        session.feed_together(&some, pool).expect("tokens");
        session.turn_to(0);
        session.pick(&greedy, round);
    }
    // A recurrent state knows all tokens.
    session.copy_beginning(1, history.len() / 12);
}

fn check(path: &Path, modes: &[(ActivationMode, KvFormat)], levels: &[Level]) {
    let file = MappedFile::open(path).expect("a model");
    let gguf = Gguf::parse(&file).expect("a GGUF file");
    let model = Model::from_gguf(&gguf).expect("a model that runs");
    for threads in [1, 2, 3] {
        let pool = Pool::new(threads).expect("threads");
        for &(activations, kv) in modes {
            let limits = Limits {
                context: 64,
                batch: 16,
                threads,
                keys: kv,
                values: kv,
                activations,
                ..Limits::default()
            };
            let plan = Plan::new(&model, limits).expect("a plan");
            for &level in levels {
                let mut arena = Arena::new(plan.bytes()).expect("memory");
                let mut session =
                    Session::new(&model, &plan, arena.as_mut_slice(), level).expect("a session");
                let mut buffer = vec![0; session.vocabulary().max_piece_len()];
                let mut history: Vec<u32> = (1..49).collect();
                let calls = calls(|| talk(&mut session, &pool, &mut buffer, &mut history));
                let name = path.display();
                assert_eq!(calls, 0, "{name}, {threads} threads, {activations:?}, {kv:?}, {}", level.name());

                let plan = Plan::new(&model, Limits { sequences: 3, outputs: 3, ..limits }).expect("a plan");
                let mut arena = Arena::new(plan.bytes()).expect("memory");
                let mut session =
                    Session::new(&model, &plan, arena.as_mut_slice(), level).expect("a session");
                let calls = self::calls(|| talk_together(&mut session, &pool, &history));
                assert_eq!(calls, 0, "{name}, three texts, {threads} threads, {}", level.name());
            }
        }
    }
}

/// Embeddings of every kind, in a session that has room for nothing else.
fn check_embeddings(path: &Path, levels: &[Level]) {
    let file = MappedFile::open(path).expect("a model");
    let gguf = Gguf::parse(&file).expect("a GGUF file");
    let model = Model::from_gguf(&gguf).expect("a model that runs");
    let tokens: Vec<u32> = (1..49).collect();
    for threads in [1, 3] {
        let pool = Pool::new(threads).expect("threads");
        let limits = Limits { context: 64, batch: 16, threads, outputs: 0, ..Limits::default() };
        let plan = Plan::new(&model, limits).expect("a plan");
        for &level in levels {
            let mut arena = Arena::new(plan.bytes()).expect("memory");
            let mut session = Session::new(&model, &plan, arena.as_mut_slice(), level).expect("a session");
            let mut vectors = 0;
            let calls = calls(|| {
                for pooling in [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last] {
                    let each = &mut |vector: &[f32]| {
                        vectors += 1;
                        assert_eq!(vector.len(), model.embedding_len(pooling));
                    };
                    session.embed(&tokens, pooling, &pool, each).expect("embeddings");
                }
            });
            assert_eq!((calls, vectors), (0, tokens.len() + 3), "{}, {}", path.display(), level.name());
        }
    }
}

#[test]
fn nothing_is_allocated_once_a_session_exists() {
    // The counter sees the pool's threads: each box is taken and given back.
    let pool = Pool::new(3).expect("threads");
    let seen = calls(|| pool.run(&|| drop(std::hint::black_box(Box::new(1)))));
    assert!(seen >= 2, "the counter counts");

    let (q8, f32) = (ActivationMode::Q8, ActivationMode::F32);
    let levels: Vec<_> = Level::available().collect();
    let floats = common::golden("models/llama/llama-f32.gguf");
    check(&floats, &[(f32, KvFormat::F32), (q8, KvFormat::F16)], &levels);
    for format in ["Q8_0", "Q4_0", "Q4_K"] {
        let path = common::golden(&format!("models/llama_k/llama_k-{format}.gguf"));
        check(&path, &[(q8, KvFormat::F16), (q8, KvFormat::F32), (f32, KvFormat::F32)], &levels);
    }
    for name in ["lfm2", "mamba", "falcon_h1", "qwen35"] {
        let path = common::golden(&format!("architectures/{name}.gguf"));
        check(&path, &[(q8, KvFormat::F16), (f32, KvFormat::F32)], &levels);
    }
    check(common::smollm2(), &[(q8, KvFormat::F16)], &[Level::detect()]);
    for name in ["bert-BF16", "nomic_bert_moe-BF16", "modern_bert-BF16", "embedding_gemma-BF16", "llama-f32"]
    {
        let folder = name.split('-').next().expect("a word");
        check_embeddings(&common::golden(&format!("models/{folder}/{name}.gguf")), &levels);
    }
    for model in common::further_embedders() {
        check_embeddings(&model, &[Level::detect()]);
    }
    for model in common::architectures().into_iter().chain(common::further_models()) {
        check(&model, &[(q8, KvFormat::F16), (f32, KvFormat::F32)], &[Level::detect()]);
    }
}
