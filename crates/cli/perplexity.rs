//! `stonechat perplexity`: how well a model predicts a text.
//!
//! As llama-perplexity measures it: disjoint chunks, BOS in the first place where the file asks for it, and only the
//! second half of each chunk scored, where the model has seen some context.

use std::io::{IsTerminal, Write, stderr, stdout};

use serde_json::json;
use stonechat_kernels::LevelName;
use stonechat_runtime::{Interrupt, MappedFile};

use crate::args::{EngineArgs, PerplexityArgs};
use crate::engine;
use crate::failure::Failure;

/// Positions whose logits are computed together.
const OUTPUTS: usize = 16;

/// Runs the verb.
pub fn run(args: &PerplexityArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    if args.ctx < 4 {
        return Err(Failure::Usage("-c must be at least 4, so that half a chunk can be scored".into()));
    }
    if args.chunks == Some(0) {
        return Err(Failure::Usage("--chunks must be at least 1".into()));
    }
    let text = MappedFile::open(&args.file)?;
    let options = EngineArgs {
        ctx: Some(args.ctx),
        batch: args.batch,
        threads: args.threads,
        threads_batch: None,
        kv: args.kv.clone(),
        activations: args.activations,
        memory: None,
    };
    let mut engine = engine::load(args.model.model.as_deref(), &options, OUTPUTS, cpu)?;
    let interrupt = Interrupt::catch()?;
    let vocabulary = engine.vocabulary();
    let first = vocabulary.bos().filter(|_| vocabulary.add_bos());
    let tokens = engine.encode_raw(&text)?;
    text.check()?;
    let there = tokens.len() / args.ctx;
    if there == 0 {
        return Err(Failure::Failed(format!(
            "{} has {} tokens, which is less than one chunk of {}; give a longer text or a smaller -c",
            args.file.display(),
            tokens.len(),
            args.ctx
        )));
    }
    let chunks = args.chunks.unwrap_or(there).min(there);
    let (mut sum, mut squares, mut count) = (0.0f64, 0.0f64, 0usize);
    for (n, chunk) in tokens.chunks_exact(args.ctx).take(chunks).enumerate() {
        if interrupt.is_raised() {
            return Err(Failure::Interrupted(None));
        }
        let mut chunk = chunk.to_vec();
        if let Some(bos) = first {
            chunk[0] = bos;
        }
        engine.wind_back(0);
        let from = args.ctx / 2;
        engine.feed_each(&chunk, from, &mut |position, logits| {
            if let Some(next) = chunk.get(position + 1).filter(|_| position >= from) {
                let surprise = surprise(logits, *next as usize);
                sum += surprise;
                squares += surprise * surprise;
                count += 1;
            }
        })?;
        if stderr().is_terminal() {
            eprint!("\rchunk {}/{chunks}: perplexity {:.4} ", n + 1, (sum / count as f64).exp());
        }
    }
    if stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let mean = sum / count as f64;
    let variance = (squares / count as f64 - mean * mean).max(0.0);
    let error = (variance / (count as f64 - 1.0).max(1.0)).sqrt() * mean.exp();
    if args.json {
        let report = json!({
            "perplexity": mean.exp(), "error": error, "chunks": chunks, "scored": count,
            "context": args.ctx, "kv": [engine.plan().limits().keys.as_str(), engine.plan().limits().values.as_str()],
            "cpu": engine.level().name().as_str(),
        });
        writeln!(stdout(), "{report}")?;
    } else {
        writeln!(stdout(), "perplexity {:.4} +/- {error:.4} ({chunks} chunks of {})", mean.exp(), args.ctx)?;
    }
    Ok(())
}

/// -ln p(token), from logits.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    sum.ln() - f64::from(logits[token] - max)
}
