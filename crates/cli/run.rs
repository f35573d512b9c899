//! `stonechat run`: one prompt, answered token by token.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Instant;

use serde_json::json;
use stonechat_core::Sampling;
use stonechat_core::vocabulary::Utf8Stream;
use stonechat_kernels::LevelName;
use stonechat_runtime::{ChatTemplate, Engine, Generator, Interrupt};

use crate::args::{RunArgs, predict};
use crate::engine;
use crate::failure::Failure;
use crate::prompt;
use crate::sampling::{LogProbs, Prepared};
use crate::terminal::{Reading, harmless};

/// Runs the verb.
pub fn run(args: &RunArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let sampling = args.sampling.settings()?;
    predict(args.predict)?;
    #[cfg(feature = "grammar")]
    let grammar = args.grammar.read()?;
    if args.text.is_none() && args.prompt.prompt.is_none() && args.prompt.ids.is_empty() {
        return Err(Failure::Usage("there is no prompt; write one after 'run', or with -p or --ids".into()));
    }
    #[allow(unused_mut, reason = "nothing changes it where there are no grammars")]
    let (engine, mut generator) =
        engine::load_with_draft(args.model.model.as_deref(), &args.engine, &args.draft, cpu)?;
    #[cfg(feature = "grammar")]
    generator.set_constraint(grammar.map(|grammar| grammar.of(&engine)).transpose()?);
    answer(args, sampling, engine, generator)
}

fn answer(
    args: &RunArgs,
    sampling: Sampling,
    mut engine: Engine,
    mut generator: Generator,
) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let vocabulary = engine.vocabulary();
    let text = args.text.as_deref();
    let mut tokens = if args.raw || !args.prompt.ids.is_empty() {
        prompt::raw(vocabulary, &args.prompt, text)?
    } else {
        let template = if let Some(file) = &args.chat_template {
            prompt::template(file)?
        } else {
            let own = engine.model().gguf().opt_str("tokenizer.chat_template");
            let own = own.map_err(|error| engine.failed(error))?;
            // An empty one would make every prompt empty.
            ChatTemplate::new_or_chatml(own.filter(|own| !own.trim().is_empty()))?
        };
        prompt::chat(vocabulary, &template, args.chat_template_kwargs.as_deref(), &args.prompt, text)?
    };
    let prompt_tokens = tokens.len();
    let most = predict(args.predict)?
        .unwrap_or(usize::MAX)
        .min(engine.session().context().saturating_sub(prompt_tokens));
    tokens.reserve_exact(most);
    generator.begin_answer(most)?;

    let mut prepared = Prepared::new(&args.sampling, sampling, engine.vocabulary())?;
    let sampler = prepared.sampler(engine.vocabulary())?;
    let mut logprobs = args.logprobs.map(|most| LogProbs::new(most, engine.logits().len()));

    let start = Instant::now();
    read(&mut engine, &tokens, &interrupt)?;
    let prompt_s = start.elapsed().as_secs_f64();

    let mut out = Output::new(args, engine.vocabulary().max_piece_len());
    let mut stop = "length";
    let mut first_token_s = 0.0;
    let generating = Instant::now();
    for n in 0..most {
        if interrupt.is_raised() {
            stop = "interrupt";
            break;
        }
        let token = generator.next(&mut engine, &sampler, &mut tokens)?;
        if n == 0 {
            first_token_s = engine.load_time().as_secs_f64() + start.elapsed().as_secs_f64();
        }
        if engine.vocabulary().is_end_of_generation(token) {
            tokens.pop();
            stop = "end";
            break;
        }
        if let Some(logprobs) = &mut logprobs {
            logprobs.note(engine.session(), token)?;
        }
        out.token(&engine, token)?;
    }
    if stop == "length" && generator.is_complete() {
        stop = "end";
    }
    let generated_s = generating.elapsed().as_secs_f64();
    out.end()?;
    let ids = &tokens[prompt_tokens..];
    if args.json {
        let mut report = json!({
            "text": out.text,
            "ids": ids,
            "stop": stop,
            "timings": {
                "load_s": engine.load_time().as_secs_f64(),
                "prompt_tokens": prompt_tokens,
                "prompt_s": prompt_s,
                "generated_tokens": ids.len(),
                "generated_s": generated_s,
                "first_token_s": first_token_s,
            },
            "draft": { "drafted": generator.counts().drafted, "accepted": generator.counts().accepted },
            "memory": { "mapped_bytes": engine.file().len(), "arena_bytes": engine.plan().bytes() },
            "cpu": engine.level().name().as_str(),
            "threads": engine.threads().token,
            "threads_batch": engine.threads().batch,
            "seed": args.sampling.seed,
        });
        if let Some(logprobs) = logprobs {
            report["logprobs"] = logprobs.into_rows().into();
        }
        writeln!(stdout(), "{report}")?;
    } else if stderr().is_terminal() && stdout().is_terminal() {
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        eprintln!(
            "\n{prompt_tokens} tokens read at {:.0} t/s, {} written at {:.0} t/s, {} x {}, {:.0} MiB beside the file",
            rate(prompt_tokens, prompt_s),
            ids.len(),
            rate(ids.len(), generated_s),
            engine.threads().token,
            engine.level().name(),
            engine.plan().bytes() as f64 / f64::from(1 << 20),
        );
    }
    if stop == "interrupt" { Err(Failure::Interrupted(None)) } else { Ok(()) }
}

/// Feeds the prompt, batch by batch, so that Ctrl-C is heard and progress seen.
fn read(engine: &mut Engine, tokens: &[u32], interrupt: &Interrupt) -> Result<(), Failure> {
    let context = engine.session().context();
    // Said for the whole prompt, before any of it is computed; and an answer needs room for a token.
    if tokens.is_empty() {
        return Err(engine.failed(stonechat_core::Error::NoTokens).into());
    }
    if tokens.len() >= context {
        let most = engine.model().hyperparameters().context;
        let remedy = if context < most { " or ask for a longer context (-c)" } else { "" };
        return Err(Failure::Failed(format!(
            "the prompt has {} tokens, but the context of {context} must hold it and at least one token of the \
             answer; shorten it{remedy}",
            tokens.len()
        )));
    }
    let mut progress = Reading::begin();
    for (done, batch) in tokens.chunks(engine.plan().limits().batch).enumerate() {
        if interrupt.is_raised() {
            return Err(Failure::Interrupted(None));
        }
        engine.feed(batch)?;
        progress.show(done * engine.plan().limits().batch + batch.len(), tokens.len());
    }
    progress.end();
    Ok(())
}

/// In what form the answer leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The text as it comes, to the byte.
    Text,
    /// The text as it comes, for eyes.
    Terminal,
    /// Ids as they come, with commas between them.
    Ids,
    /// The text in one piece, once it is complete.
    Collected,
}

/// Where the answer goes as it comes.
struct Output {
    stream: Utf8Stream,
    buffer: Vec<u8>,
    text: String,
    form: Form,
    first: bool,
}

impl Output {
    fn new(args: &RunArgs, longest: usize) -> Self {
        let form = match (args.json, args.print_ids) {
            (true, _) => Form::Collected,
            (false, true) => Form::Ids,
            (false, false) if stdout().is_terminal() => Form::Terminal,
            (false, false) => Form::Text,
        };
        Self { stream: Utf8Stream::new(), buffer: vec![0; longest], text: String::new(), form, first: true }
    }

    fn token(&mut self, engine: &Engine, token: u32) -> Result<(), Failure> {
        if self.form == Form::Ids {
            let comma = if core::mem::take(&mut self.first) { "" } else { "," };
            write!(stdout(), "{comma}{token}")?;
            stdout().flush()?;
            return Ok(());
        }
        let piece = engine.vocabulary().piece(token, false, &mut self.buffer)?;
        let text = &mut self.text;
        self.stream.push(piece, &mut |part| text.push_str(part));
        self.show()
    }

    /// Writes what has come since the last time. Without `--json` the text need not be kept.
    fn show(&mut self) -> Result<(), Failure> {
        match self.form {
            Form::Collected => return Ok(()),
            Form::Terminal => stdout().write_all(harmless(&self.text).as_bytes())?,
            Form::Text | Form::Ids => stdout().write_all(self.text.as_bytes())?,
        }
        stdout().flush()?;
        self.text.clear();
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let text = &mut self.text;
        core::mem::take(&mut self.stream).finish(&mut |part| text.push_str(part));
        self.show()?;
        if self.form != Form::Collected {
            writeln!(stdout())?;
        }
        Ok(())
    }
}
