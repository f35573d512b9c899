//! What a grammar takes of the time of a token: answers of the default model under a schema, and free ones, in turns.
//!
//! `cargo bench --bench grammar` measures and prints medians; at most 5 % is meant. As a test it runs once, to see that it
//! works. `STONECHAT_HOME` is where the model is.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stonechat_core::vocabulary::Encode;
use stonechat_core::{Sampler, Sampling};
use stonechat_runtime::engine::Options;
use stonechat_runtime::grammar::{Grammars, Language};
use stonechat_runtime::{Constraint, Engine, Error, Generator, Home, manifest};

/// Strings and lists, which leave a choice of many tokens.
const SCHEMA: &str = r#"{
    "type": "object", "required": ["title", "words", "count"],
    "properties": {
        "title": { "type": "string", "minLength": 100 },
        "words": { "type": "array", "minItems": 8, "items": { "type": "string" } },
        "count": { "type": "integer" }
    }
}"#;
const PROMPT: &str = "<|im_start|>user\nDescribe a person as JSON.<|im_end|>\n<|im_start|>assistant\n";
/// Tokens of an answer.
const TOKENS: usize = 60;

/// A constraint, and the nanoseconds that it took.
#[derive(Debug)]
struct Timed<C>(C, Arc<AtomicU64>);

impl<C> Timed<C> {
    fn time<'t, T>(&'t mut self, work: impl FnOnce(&'t mut C) -> T) -> T {
        let start = Instant::now();
        let done = work(&mut self.0);
        self.1.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        done
    }
}

impl<C: Constraint> Constraint for Timed<C> {
    fn fewest(&mut self) -> usize {
        self.time(Constraint::fewest)
    }
    fn begin(&mut self, most: usize) -> Result<(), Error> {
        self.time(|constraint| constraint.begin(most))
    }
    fn forced(&mut self) -> Result<Option<u32>, Error> {
        self.time(Constraint::forced)
    }
    fn allowed(&mut self) -> Result<Option<&[u32]>, Error> {
        self.time(Constraint::allowed)
    }
    fn choose(&mut self, token: u32) -> Result<bool, Error> {
        self.time(|constraint| constraint.choose(token))
    }
    fn shortest(&mut self) -> Result<u32, Error> {
        self.time(Constraint::shortest)
    }
    fn possible(&mut self, tokens: &[u32]) -> Result<usize, Error> {
        self.time(|constraint| constraint.possible(tokens))
    }
    fn take_back(&mut self, tokens: usize) {
        self.time(|constraint| constraint.take_back(tokens));
    }
    fn is_complete(&mut self) -> bool {
        self.time(Constraint::is_complete)
    }
}

/// Times of tokens that were computed one by one.
#[derive(Default)]
struct Times {
    free: Vec<Duration>,
    held: Vec<Duration>,
    /// Of those held, what the grammar took.
    grammar: Vec<Duration>,
}

fn main() -> Result<(), Box<dyn StdError>> {
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 8 } else { 1 };
    let model = Home::locate()?.model(manifest::default_model());
    let options = Options { context: Some(512), batch: 64, ..Options::default() };
    let mut engine = Engine::load(model, &options)?;
    let start = Instant::now();
    let grammars = Grammars::new(&engine)?;
    let (vocabulary, start) = (start.elapsed(), Instant::now());
    let grammar = grammars.read(Language::JsonSchema, SCHEMA)?;
    println!("ready after {vocabulary:?} for the vocabulary and {:?} for the schema", start.elapsed());
    let prompt = engine.encode(PROMPT.as_bytes(), Encode { bos: false, special: true })?;

    let mut times = Times::default();
    for seed in 0..rounds {
        let sampler = Sampler::new(Sampling { temperature: 1.0, seed, ..Sampling::default() })?;
        for is_held in [false, true] {
            let spent = Arc::new(AtomicU64::new(0));
            let mut generator = Generator::new();
            if is_held {
                generator.set_constraint(Some(Box::new(Timed(grammar.clone(), Arc::clone(&spent)))));
                generator.begin_answer(150)?;
            }
            answer(
                &mut engine,
                &mut generator,
                &sampler,
                &prompt,
                &mut |took, before| {
                    if is_held {
                        times.held.push(took);
                        times.grammar.push(Duration::from_nanos(spent.load(Ordering::Relaxed) - before));
                    } else {
                        times.free.push(took);
                    }
                },
                &spent,
            )?;
        }
    }
    let [free, held, spent] = [times.free, times.held, times.grammar].map(median);
    let share = 100.0 * spent.as_secs_f64() / free.as_secs_f64();
    println!(
        "a token takes {free:?}, under a grammar {held:?}, of which the grammar takes {spent:?}: {share:.1} %"
    );
    Ok(())
}

/// Writes an answer, and tells what each token took that was computed alone, and what `spent` was before it.
fn answer(
    engine: &mut Engine,
    generator: &mut Generator,
    sampler: &Sampler<'_>,
    prompt: &[u32],
    each: &mut dyn FnMut(Duration, u64),
    spent: &AtomicU64,
) -> Result<(), Error> {
    let kept = engine.wind_back(prompt.len() - 1);
    engine.feed(&prompt[kept..])?;
    let mut tokens = prompt.to_vec();
    for _ in 0..TOKENS {
        let (before, fed) = (spent.load(Ordering::Relaxed), engine.position());
        let start = Instant::now();
        let token = generator.next(engine, sampler, &mut tokens)?;
        let took = start.elapsed();
        if engine.vocabulary().is_end_of_generation(token) {
            break;
        }
        // What was forced computed no token, and some are computed with those before.
        if engine.position() == fed + 1 {
            each(took, before);
        }
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
