//! `stonechat run`: one prompt, answered token by token.

mod answer;
mod output;
mod samples;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Instant;

use serde_json::{Value, json};
use stonechat_core::sampler::{Candidate, Probabilities};
use stonechat_core::vocabulary::Encode;
use stonechat_core::{Sampler, Sampling};
use stonechat_kernels::LevelName;
use stonechat_runtime::pace::Pace;
use stonechat_runtime::speech::Manner;
use stonechat_runtime::template::Options;
use stonechat_runtime::{ChatTemplate, Engine, Generator, Interrupt};

use crate::args::{RunArgs, predict};
use crate::engine;
use crate::failure::Failure;
use crate::prompt;
use crate::sampling::{LogProbs, Prepared};
use crate::terminal::News;
#[cfg(feature = "grammar")]
use crate::terminal::patiently;
use answer::{Answer, Question, Writer};
use output::{Form, Output};
use samples::Sample;

/// Runs the verb.
pub fn run(args: &RunArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let sampling = args.sampling.settings()?;
    predict(args.predict)?;
    #[cfg(feature = "grammar")]
    let grammar = args.grammar.read()?;
    if args.text.is_none() && args.prompt.prompt.is_none() && args.prompt.ids.is_empty() {
        return Err(Failure::Usage("there is no prompt; write one after 'run', or with -p or --ids".into()));
    }
    let template = &args.template;
    let has_template = template.chat_template.is_some() || template.chat_template_kwargs.is_some();
    if !args.prompt.ids.is_empty() && (has_template || template.think.is_some()) {
        let error = "--ids are used as they are, without a chat template; leave out --chat-template, its variables and --think";
        return Err(Failure::Usage(error.into()));
    }
    if args.samples == 0 {
        return Err(Failure::Usage("--samples must be at least 1".into()));
    }
    if args.samples > 1 && sampling.temperature == 0.0 {
        let error = "--samples gives the same answer each time at temperature 0; add for instance --temp 0.8";
        return Err(Failure::Usage(error.into()));
    }
    #[allow(unused_mut, reason = "nothing changes it where there are no grammars")]
    let (engine, mut generator) =
        engine::load_with_draft(args.model.model.as_deref(), &args.engine, &args.draft, cpu)?;
    #[cfg(feature = "grammar")]
    if let Some(grammar) = grammar {
        generator.set_constraint(Some(patiently("reading the grammar", || grammar.of(&engine))?));
    }
    answer(args, sampling, engine, generator)
}

/// What reading and writing took.
struct Taken {
    prompt_tokens: usize,
    prompt_s: f64,
    first_token_s: f64,
}

fn answer(
    args: &RunArgs,
    sampling: Sampling,
    mut engine: Engine,
    mut generator: Generator,
) -> Result<(), Failure> {
    let interrupt = Interrupt::catch()?;
    let question = question(args, &engine)?;
    let prompt_tokens = question.tokens.len();
    let room = engine.session().context().saturating_sub(prompt_tokens);
    let most = predict(args.predict)?.unwrap_or(usize::MAX).min(room);
    fits(&engine, prompt_tokens)?;
    // What is too short for a grammar is said before anything is computed.
    let think = if question.thinking {
        let closing = question.manner.thoughts.map_or("", |tags| tags.ending);
        let closing = engine.encode(closing.as_bytes(), Encode { bos: false, special: true })?;
        generator.thought(args.template.think, closing.len(), most)?
    } else {
        generator.begin_answer(most)?;
        args.template.think
    };
    let mut prepared = Prepared::new(&args.sampling, sampling, engine.vocabulary())?;
    let sampler = prepared.sampler(engine.vocabulary())?;

    let start = Instant::now();
    // Answers that share a prompt each begin with its last token, because a recurrent state cannot be wound back to it.
    let read_to = if args.samples > 1 { prompt_tokens.saturating_sub(1) } else { prompt_tokens };
    read(&mut engine, &question.tokens, read_to, &interrupt)?;
    let prompt_s = start.elapsed().as_secs_f64();

    let load_s = engine.load_time().as_secs_f64();
    let mut writer =
        Writer { engine: &mut engine, generator: &mut generator, interrupt: &interrupt, most, think };
    let (answer, text, mut more) = if args.samples > 1 {
        several(args, &mut writer, &question, &sampler)?
    } else {
        one(args, &mut writer, &question, &sampler)?
    };
    let first_token_s = answer.first.map_or(0.0, |first| load_s + first.duration_since(start).as_secs_f64());
    let taken = Taken { prompt_tokens, prompt_s, first_token_s };
    if args.json {
        let mut report = report(args, &engine, &generator, &answer, &taken);
        report["text"] = json!(text);
        if let (Some(report), Some(more)) = (report.as_object_mut(), more.as_object_mut()) {
            report.append(more);
        }
        writeln!(stdout(), "{report}")?;
    } else if stderr().is_terminal() && stdout().is_terminal() {
        show(&engine, &answer, &taken);
    }
    if answer.stop == "interrupt" { Err(Failure::Interrupted(None)) } else { Ok(()) }
}

/// The prompt, as the flags say.
fn question(args: &RunArgs, engine: &Engine) -> Result<Question, Failure> {
    let text = args.text.as_deref();
    if args.raw || !args.prompt.ids.is_empty() {
        let tokens = prompt::raw(engine, &args.prompt, text)?;
        return Ok(Question { tokens, manner: Manner::default(), thinking: false });
    }
    let template = args.template.template()?;
    let template = template.map_or_else(|| ChatTemplate::of_model(engine), Ok)?;
    let mut variables = args.template.variables();
    template.let_think(args.template.think, &mut variables);
    let message = json!({ "role": "user", "content": prompt::given(&args.prompt, text)? });
    let options = Options { more: Some(&variables), ..Options::default() };
    let prompt = engine.encode_chat(&template, &[message], options)?;
    let manner = template.manner().without_tools();
    let thinking = manner.thoughts.is_some_and(|tags| tags.is_open_at_end_of(&prompt.text));
    Ok(Question { tokens: prompt.tokens, manner, thinking })
}

/// Writes one answer as it comes. Beside it and its text, what `--json` tells of it alone.
fn one(
    args: &RunArgs,
    writer: &mut Writer<'_>,
    question: &Question,
    sampler: &Sampler<'_>,
) -> Result<(Answer, String, Value), Failure> {
    let mut logprobs =
        args.logprobs.map(|most| LogProbs::new(most, writer.engine.model().hyperparameters().vocabulary));
    let mut output = Output::new(args, Form::new(args), question.speech(writer.engine));
    let answer =
        writer.write(&question.tokens, sampler, &mut output, &mut |engine, token, ends| match logprobs
            .as_mut()
            .filter(|_| !ends)
        {
            Some(logprobs) => logprobs.note(engine.session(), token),
            None => Ok(()),
        })?;
    let mut more = json!({});
    if let Some(logprobs) = logprobs {
        more["logprobs"] = logprobs.into_rows().into();
    }
    if question.manner.thoughts.is_some() {
        more["reasoning"] = json!(output.reasoning);
    }
    Ok((answer, output.text, more))
}

/// Writes several answers, and the chosen one to stdout, unless all are to be told.
fn several(
    args: &RunArgs,
    writer: &mut Writer<'_>,
    question: &Question,
    sampler: &Sampler<'_>,
) -> Result<(Answer, String, Value), Failure> {
    let (position, state) = (writer.engine.position(), writer.engine.session().state().to_vec());
    let mut memory: Vec<Candidate> =
        vec![bytemuck::Zeroable::zeroed(); writer.engine.model().hyperparameters().vocabulary];
    let (mut samples, mut news): (Vec<Sample>, _) = (Vec::new(), News::begin());
    let (mut seconds, mut first) = (0.0, None);
    for n in 0..args.samples {
        news.show(format_args!("answer {} of {}", n + 1, args.samples));
        let seed = args.sampling.seed.wrapping_add(n as u64);
        writer.engine.with_session(|session| session.restore(position, &state));
        let (mut sum, mut count) = (0.0, 0usize);
        let mut output = Output::new(args, Form::Collected, question.speech(writer.engine));
        let sampler = sampler.clone().with_seed(seed);
        let answer = writer.write(&question.tokens, &sampler, &mut output, &mut |engine, token, _| {
            sum += f64::from(Probabilities::of(engine.logits(), &mut memory).log(token));
            count += 1;
            Ok(())
        })?;
        seconds += answer.seconds;
        first = first.or(answer.first);
        samples.push(Sample {
            seed,
            text: output.text,
            reasoning: output.reasoning,
            ids: answer.ids,
            stop: answer.stop,
            logprob: sum / count.max(1) as f64,
        });
        if answer.stop == "interrupt" {
            break;
        }
    }
    news.end();
    // Of answers that Ctrl-C cut short, none is the answer.
    let stop = samples.last().map_or("interrupt", |sample| sample.stop);
    let at = samples::chosen(&samples, args.choose);
    if !args.json && stop != "interrupt" {
        let ids = samples[at].ids.iter().map(u32::to_string).collect::<Vec<_>>();
        let text = if args.print_ids { ids.join(",") } else { samples[at].text.clone() };
        writeln!(
            stdout(),
            "{}",
            if stdout().is_terminal() { crate::terminal::harmless(&text) } else { text.into() }
        )?;
    }
    let all: Vec<Value> = samples.iter().map(Sample::json).collect();
    let sample = samples.swap_remove(at);
    let stop = if stop == "interrupt" { stop } else { sample.stop };
    let more = json!({ "chosen": at, "seed": sample.seed, "samples": all });
    Ok((Answer { ids: sample.ids, stop, first, seconds }, sample.text, more))
}

/// What `--json` tells of every answer.
fn report(args: &RunArgs, engine: &Engine, generator: &Generator, answer: &Answer, taken: &Taken) -> Value {
    json!({
        "text": null,
        "ids": answer.ids,
        "stop": answer.stop,
        "timings": {
            "load_s": engine.load_time().as_secs_f64(),
            "prompt_tokens": taken.prompt_tokens,
            "prompt_s": taken.prompt_s,
            "generated_tokens": answer.ids.len(),
            "generated_s": answer.seconds,
            "first_token_s": taken.first_token_s,
        },
        "draft": { "drafted": generator.counts().drafted, "accepted": generator.counts().accepted },
        "memory": { "mapped_bytes": engine.file().len(), "arena_bytes": engine.plan().bytes() },
        "cpu": engine.level().name().as_str(),
        "threads": engine.threads().token,
        "threads_batch": engine.threads().batch,
        "seed": args.sampling.seed,
    })
}

/// What a person is told in the end.
fn show(engine: &Engine, answer: &Answer, taken: &Taken) {
    let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    eprintln!(
        "\n{} tokens read at {:.0} t/s, {} written at {:.0} t/s, {} x {}, {:.0} MiB beside the file",
        taken.prompt_tokens,
        rate(taken.prompt_tokens, taken.prompt_s),
        answer.ids.len(),
        rate(answer.ids.len(), answer.seconds),
        engine.threads().token,
        engine.level().name(),
        engine.plan().bytes() as f64 / f64::from(1 << 20),
    );
}

/// Whether a prompt of so many tokens leaves room for an answer, which needs a token at least.
fn fits(engine: &Engine, tokens: usize) -> Result<(), Failure> {
    let context = engine.session().context();
    if tokens == 0 {
        return Err(engine.failed(stonechat_core::Error::NoTokens).into());
    }
    if tokens >= context {
        let most = engine.model().hyperparameters().context;
        let remedy = if context < most { " or ask for a longer context (-c)" } else { "" };
        return Err(Failure::Failed(format!(
            "the prompt has {tokens} tokens, but the context of {context} must hold it and at least one token of the \
             answer; shorten it{remedy}"
        )));
    }
    Ok(())
}

/// Feeds the first `to` tokens of the prompt, piece by piece, so that Ctrl-C is heard and progress seen.
fn read(engine: &mut Engine, tokens: &[u32], to: usize, interrupt: &Interrupt) -> Result<(), Failure> {
    let (mut news, mut pace) = (News::begin(), Pace::default());
    while engine.position() < to {
        if interrupt.is_raised() {
            return Err(Failure::Interrupted(None));
        }
        let (from, start) = (engine.position(), Instant::now());
        let piece = pace.next(engine.plan().limits().batch.min(to - from));
        engine.feed(&tokens[from..from + piece])?;
        pace.note(piece, start.elapsed());
        news.show(format_args!("reading {}/{} tokens", from + piece, tokens.len()));
    }
    news.end();
    Ok(())
}
