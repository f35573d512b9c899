//! How many tokens a second come of several texts that are written at once.
//!
//! ```sh
//! cargo run --release -p stonechat-server --example together -- MODEL.gguf 1 2 4
//! ```

use std::time::Instant;

use stonechat_core::Sampling;
use stonechat_runtime::Engine;
use stonechat_runtime::engine::Options;
use stonechat_server::scheduler::{Event, Job, Scheduler, SchedulerOptions};

/// Tokens of each prompt and of each answer.
const PROMPT: u32 = 64;
const ANSWER: usize = 128;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("give a model's file, and numbers of texts")?;
    for texts in arguments {
        let texts: usize = texts.parse()?;
        let options = Options { sequences: texts, outputs: texts, context: Some(512), ..Options::default() };
        let engine = Engine::load(&model, &options)?;
        let scheduler = Scheduler::start(engine, SchedulerOptions::default())?;
        let mut answers = Vec::new();
        for text in 0..texts as u32 {
            let tokens = (0..PROMPT).map(|i| 300 + (i * 7 + text * 31) % 400).collect();
            let job = Job {
                tokens,
                most: ANSWER,
                sampling: Sampling::default(),
                biases: Vec::new(),
                constraint: None,
                logprobs: None,
            };
            answers.push(scheduler.submit(job).map_err(|_| "the queue is full")?);
        }
        let (mut begun, mut tokens) = (Instant::now(), 0);
        for (text, answer) in answers.iter_mut().enumerate() {
            while let Some(event) = answer.wait() {
                match event {
                    // From the first word on.
                    Event::Reading { known, read, of } if text == 0 && known + read == of => {
                        begun = Instant::now();
                    }
                    Event::End { usage, .. } => tokens += usage.generated_tokens,
                    Event::Failed(error) => return Err(error.into()),
                    _ => {}
                }
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("{texts} texts: {tokens} tokens, {:.1} a second", tokens as f64 / seconds);
    }
    Ok(())
}
