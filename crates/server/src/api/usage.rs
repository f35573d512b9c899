//! What an answer took, in the forms that clients read.

use serde_json::{Value, json};

use crate::answer::Finish;

/// For a chat or completion: of several answers to one prompt, the prompt counts once.
pub fn usage(finishes: &[Finish]) -> Value {
    let prompt = finishes.iter().map(|finish| finish.usage.prompt_tokens).max().unwrap_or(0);
    let known = finishes.iter().map(|finish| finish.usage.known_tokens).min().unwrap_or(0);
    let generated: usize = finishes.iter().map(|finish| finish.usage.generated_tokens).sum();
    let thought: usize = finishes.iter().map(|finish| finish.thought_tokens).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": { "cached_tokens": known },
        "completion_tokens_details": { "reasoning_tokens": thought },
    })
}

/// For the newer interface.
pub fn of_response(finish: &Finish) -> Value {
    let usage = finish.usage;
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.known_tokens },
        "output_tokens": usage.generated_tokens,
        "output_tokens_details": { "reasoning_tokens": finish.thought_tokens },
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
    })
}

/// How long it took, by llama.cpp's names.
pub fn timings(finish: &Finish) -> Value {
    let usage = finish.usage;
    let read = usage.prompt_tokens - usage.known_tokens.min(usage.prompt_tokens);
    let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    json!({
        "cache_n": usage.known_tokens,
        "prompt_n": read,
        "prompt_ms": usage.prompt_seconds * 1e3,
        "prompt_per_second": rate(read, usage.prompt_seconds),
        "predicted_n": usage.generated_tokens,
        "predicted_ms": usage.generated_seconds * 1e3,
        "predicted_per_second": rate(usage.generated_tokens, usage.generated_seconds),
    })
}
