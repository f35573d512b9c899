//! `stonechat plan`: every byte that running a model will take, before it is spent.

use std::io::{Write, stdout};

use serde_json::json;
use stonechat_core::Model;
use stonechat_kernels::LevelName;
use stonechat_runtime::engine::Options;

use crate::args::PlanArgs;
use crate::engine;
use crate::failure::Failure;

/// Runs the verb.
pub fn run(args: &PlanArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    if args.parallel == 0 {
        return Err(Failure::Usage("--parallel must be at least 1".into()));
    }
    let file = engine::file(Some(&args.file))?;
    let gguf = engine::open(&file)?;
    let model = Model::from_gguf(&gguf).map_err(|error| Failure::in_model(file.path(), error))?;
    // What cannot continue a text gives embeddings alone.
    let outputs = if model.hyperparameters().causal { args.parallel } else { 0 };
    let options = Options { sequences: args.parallel, ..args.engine.options(outputs, cpu)? };
    let plan = options.plan(file.path(), &model)?;
    // What a token reads of the file: all of it but for experts that it does not choose, and other tokens' embeddings.
    let token = model.cost().map_err(|error| Failure::in_model(file.path(), error))?.bytes(1, 1);
    let limits = plan.limits();
    let mut out = stdout().lock();
    if args.json {
        let regions: serde_json::Map<_, _> =
            plan.regions().iter().map(|region| (region.name.to_owned(), json!(region.bytes))).collect();
        let report = json!({
            "context": limits.context, "batch": limits.batch, "threads": limits.threads,
            "kv": [limits.keys.as_str(), limits.values.as_str()],
            "regions": regions, "arena_bytes": plan.bytes(), "mapped_bytes": file.len(), "token_bytes": token,
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(
        out,
        "context {}, batch {}, {} threads, keys {}, values {}",
        limits.context,
        limits.batch,
        limits.threads,
        limits.keys.as_str(),
        limits.values.as_str()
    )?;
    let line =
        |name: &str, bytes: usize| format!("{name:<24} {bytes:>14} {:>9.1} MiB", bytes as f64 / 1_048_576.0);
    for region in plan.regions().iter().filter(|region| region.bytes > 0) {
        writeln!(out, "  {}", line(region.name, region.bytes))?;
    }
    writeln!(out, "  {}", line("arena", plan.bytes()))?;
    writeln!(out, "  {}", line("file, mapped in place", file.len()))?;
    writeln!(out, "  {}", line("of it read by a token", token as usize))?;
    Ok(())
}
