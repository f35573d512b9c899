//! `stonechat logits`: the numbers behind an answer, or their hash, which is the same on every CPU.

use std::io::{Write, stdout};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stonechat_kernels::LevelName;

use crate::args::LogitsArgs;
use crate::failure::Failure;
use crate::{engine, prompt};

/// Positions whose logits are computed together with `--all`.
const OUTPUTS: usize = 16;

/// Runs the verb.
pub fn run(args: &LogitsArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let outputs = if args.all { OUTPUTS } else { 1 };
    let mut engine = engine::load(args.model.model.as_deref(), &args.engine, outputs, cpu)?;
    let tokens = prompt::raw(&engine, &args.prompt, None)?;
    let from = if args.all { 0 } else { tokens.len().saturating_sub(1) };
    let mut hash = Sha256::new();
    let mut rows: Vec<Vec<f32>> = Vec::new();
    let keep = !args.hash;
    engine.feed_each(&tokens, from, &mut |position, logits| {
        // The last position is always computed; it is asked for in either case.
        if position >= from {
            logits.iter().for_each(|logit| hash.update(logit.to_le_bytes()));
            if keep {
                rows.push(logits.to_vec());
            }
        }
    })?;
    let hash = format!("{:x}", hash.finalize());
    let mut out = stdout().lock();
    if args.json {
        let vocabulary = engine.model().hyperparameters().vocabulary;
        let logits = match (keep, args.all) {
            (false, _) => Value::Null,
            (true, true) => json!(rows),
            (true, false) => json!(rows.first()),
        };
        let report = json!({
            "n_tokens": tokens.len(), "n_vocab": vocabulary, "logits": logits, "hash": hash,
            "cpu": engine.level().name().as_str(),
        });
        writeln!(out, "{report}")?;
    } else if args.hash {
        writeln!(out, "{hash}")?;
    } else {
        for row in rows {
            let texts: Vec<String> = row.iter().map(f32::to_string).collect();
            writeln!(out, "{}", texts.join(" "))?;
        }
    }
    Ok(())
}
