//! candle behind the protocol of `benches/peers`: `bench` answers as llama-bench does, `run` goes on greedily.
//!
//! ```text
//! candle-peer bench -m FILE -t THREADS -p TOKENS -n TOKENS -r REPETITIONS
//! candle-peer run -m FILE -t THREADS -n TOKENS -p PROMPT
//! ```
//!
//! Models of the llama architecture, through candle's own quantized llama. candle takes its number of threads from
//! `RAYON_NUM_THREADS`, before its first use: the caller sets it, and `-t` must agree.

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use candle_core::{D, Device, Result, Tensor, bail};
use candle_transformers::models::quantized_llama::ModelWeights;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;
use tokenizers::Tokenizer;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = answer(&arguments) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn answer(arguments: &[String]) -> Result<()> {
    let threads: usize = number(arguments, "-t")?;
    if candle_core::utils::get_num_threads() != threads {
        bail!(
            "candle would use {} threads: set RAYON_NUM_THREADS={threads}",
            candle_core::utils::get_num_threads()
        );
    }
    let path = Path::new(flag(arguments, "-m")?);
    let mut file = File::open(path)?;
    let content = Content::read(&mut file)?;
    match arguments.first().map(String::as_str) {
        Some("run") => {
            let tokenizer = Tokenizer::from_gguf(&content)?;
            let model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
            run(model, &tokenizer, flag(arguments, "-p")?, number(arguments, "-n")?)
        }
        Some("bench") => {
            let model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
            let (prompt, generated) = (number(arguments, "-p")?, number(arguments, "-n")?);
            let samples = bench(model, prompt, generated, number(arguments, "-r")?)?;
            print_json(path, threads, prompt, generated, &samples)
        }
        _ => bail!("candle-peer has two verbs, bench and run"),
    }
}

/// Writes the greedy continuation of a prompt as it comes.
fn run(mut model: ModelWeights, tokenizer: &Tokenizer, prompt: &str, tokens: usize) -> Result<()> {
    let encoded = tokenizer.encode(prompt, false).map_err(candle_core::Error::wrap)?;
    let mut ids = encoded.get_ids().to_vec();
    let mut position = 0;
    let mut written = Vec::new();
    for _ in 0..tokens {
        let logits = feed(&mut model, &ids, position)?;
        position += ids.len();
        let id = logits.argmax(D::Minus1)?.squeeze(0)?.to_scalar::<u32>()?;
        written.push(id);
        ids = vec![id];
    }
    let text = tokenizer.decode(&written, false).map_err(candle_core::Error::wrap)?;
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Tokens per second of each repetition, after an unmeasured one: what llama-bench does.
fn bench(mut model: ModelWeights, prompt: usize, generated: usize, repetitions: usize) -> Result<Vec<f64>> {
    let mut samples = Vec::new();
    for repetition in 0..=repetitions {
        model.clear_kv_cache();
        let start = Instant::now();
        if prompt > 0 {
            let ids: Vec<u32> = (0..prompt as u32).map(|i| 1000 + i * 7 % 1009).collect();
            feed(&mut model, &ids, 0)?;
        }
        // The warm-up needs no more than one token.
        let steps = if repetition == 0 { generated.min(1) } else { generated };
        for step in 0..steps {
            feed(&mut model, &[1000 + step as u32], prompt + step)?;
        }
        if repetition > 0 {
            samples.push((prompt + generated) as f64 / start.elapsed().as_secs_f64());
        }
    }
    Ok(samples)
}

fn feed(model: &mut ModelWeights, ids: &[u32], position: usize) -> Result<Tensor> {
    model.forward(&Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?, position)
}

fn print_json(path: &Path, threads: usize, prompt: usize, generated: usize, samples: &[f64]) -> Result<()> {
    let average = samples.iter().sum::<f64>() / samples.len() as f64;
    // Debug's quotes and escapes are JSON's for every path that one would give a model.
    println!(
        "[{{\"build_commit\": \"candle {VERSION}\", \"model_filename\": {path:?}, \"n_threads\": {threads}, \
         \"n_prompt\": {prompt}, \"n_gen\": {generated}, \"n_depth\": 0, \"avg_ts\": {average}, \
         \"samples_ts\": {samples:?}}}]"
    );
    Ok(())
}

/// Of candle; Cargo.toml pins it.
const VERSION: &str = "0.11.1";

fn flag<'a>(arguments: &'a [String], name: &str) -> Result<&'a str> {
    let value = arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    value.map(String::as_str).ok_or_else(|| candle_core::Error::msg(format!("{name} is missing")))
}

fn number(arguments: &[String], name: &str) -> Result<usize> {
    let text = flag(arguments, name)?;
    text.parse().map_err(|_| candle_core::Error::msg(format!("{name} takes a number, not '{text}'")))
}
