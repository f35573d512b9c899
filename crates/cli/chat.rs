//! `stonechat chat`: a conversation.
//!
//! At a terminal lines are edited, remembered and answered as they come; through a pipe each line is a message and each
//! answer goes to stdout. Lines that begin with a slash are for the program.

mod command;
mod input;
mod tools;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use stonechat_kernels::LevelName;
use stonechat_runtime::chat::{Answer, ChatOptions, Ending, Piece};
use stonechat_runtime::tools::{Tool, ToolCall};
use stonechat_runtime::{Chat, Engine, Error, Home, Interrupt, PromptCache};

use crate::args::{CacheSize, ChatArgs, Reasoning};
use crate::engine;
use crate::failure::Failure;
use crate::sampling::Prepared;
use crate::terminal::{News, Thoughts, harmless, patiently};
use command::{Command, HELP};
use input::{Input, Line};
use tools::{MOST_ROUNDS, Tools};

/// Runs the verb.
pub fn run(args: &ChatArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let sampling = args.sampling.settings()?;
    let predict = args.predict()?;
    let list = args.tools.as_deref().map(stonechat_runtime::tools::read).transpose()?.unwrap_or_default();
    #[cfg(feature = "grammar")]
    let grammar = args.grammar.read()?;
    #[allow(unused_mut, reason = "nothing changes it where there are no grammars")]
    let (engine, mut generator) =
        engine::load_with_draft(args.model.model.as_deref(), &args.engine, &args.draft, cpu)?;
    #[cfg(feature = "grammar")]
    if let Some(grammar) = grammar {
        generator.set_constraint(Some(patiently("reading the grammar", || grammar.of(&engine))?));
    }
    let interrupt = Interrupt::catch()?;
    let mut prepared = Prepared::new(&args.sampling, sampling, engine.vocabulary())?;
    let sampler = prepared.sampler(engine.vocabulary())?;
    let options = ChatOptions {
        system: args.system.clone(),
        template: args.template.template()?,
        variables: args.template.variables(),
        think: args.template.think,
        tools: list.iter().map(Tool::definition).collect(),
        overflow: args.overflow.into(),
        stop: args.stop.clone(),
        predict,
        cache: prompt_cache(args.prompt_cache, &engine),
    };
    let talk = Talk {
        chat: Chat::new(engine, generator, sampler, options)?,
        interrupt,
        session: args.session.as_deref(),
        system: args.system.as_deref(),
        reasoning: args.template.reasoning,
        tools: Tools { list, yes: args.yes },
        last: None,
    };
    talk.hold()
}

/// The prompt cache in the program's folder.
fn prompt_cache(size: CacheSize, engine: &Engine) -> Option<PromptCache> {
    let CacheSize(limit @ 1..) = size else { return None };
    // Without a folder there is a conversation all the same.
    let home = Home::locate().ok()?;
    PromptCache::open(home.prompts(), limit, engine.session()).ok()
}

/// A conversation at a terminal or through a pipe.
struct Talk<'a> {
    chat: Chat<'a>,
    interrupt: Interrupt,
    /// Where it is kept.
    session: Option<&'a Path>,
    /// The system prompt of the command line, which wins over that of a session.
    system: Option<&'a str>,
    reasoning: Reasoning,
    tools: Tools,
    last: Option<Statistics>,
}

/// An answer that was written out.
struct Written {
    ending: Ending,
    /// The tools that it calls.
    calls: Vec<ToolCall>,
    statistics: Statistics,
}

/// What an answer took.
struct Statistics {
    prompt: usize,
    known: usize,
    reading: Duration,
    written: usize,
    writing: Duration,
}

impl Talk<'_> {
    fn hold(mut self) -> Result<(), Failure> {
        let mut input = Input::new()?;
        if let Some(path) = self.session.filter(|path| path.exists()) {
            self.chat.load(path)?;
            if let Some(system) = self.system {
                self.chat.set_system(Some(system.to_owned()));
            }
            if input.is_terminal() {
                eprintln!("going on with {}: {} turns", path.display(), self.chat.turns().len());
            }
        } else if input.is_terminal() {
            eprintln!("/help lists what else can be done; Ctrl-C stops an answer, Ctrl-D ends");
        }
        loop {
            self.interrupt.clear();
            let line = match input.line()? {
                Line::Text(line) => line,
                Line::Interrupted => continue,
                Line::End => return Ok(()),
            };
            let done = match Command::parse(&line) {
                None if line.trim().is_empty() => Ok(true),
                None => self.say(line.trim_end_matches('\n'), &mut input),
                Some(Ok(command)) => self.obey(&command, &mut input),
                Some(Err(reason)) => Err(Failure::Usage(reason)),
            };
            match done {
                Ok(true) => (),
                Ok(false) => return Ok(()),
                // A terminal goes on: the person sees what went wrong. A pipe ends with it.
                Err(failure @ (Failure::Failed(_) | Failure::Usage(_))) if input.is_terminal() => {
                    let _ = failure.report();
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    fn say(&mut self, text: &str, input: &mut Input) -> Result<bool, Failure> {
        let written = write_out(self.chat.say(text), &self.interrupt, self.reasoning)?;
        self.after(written, input)
    }

    /// What follows an answer: tools run that it calls, and the model goes on with what they gave.
    fn after(&mut self, mut written: Written, input: &mut Input) -> Result<bool, Failure> {
        for round in 0.. {
            if written.ending != Ending::Calls {
                break;
            }
            if round == MOST_ROUNDS {
                self.chat.undo();
                return Err(Failure::Failed(format!(
                    "the model called tools {MOST_ROUNDS} times without an answer, and the message was taken back; ask \
                     otherwise"
                )));
            }
            let results = self.tools.answer(&written.calls, input, &self.interrupt)?;
            written = write_out(self.chat.answer_calls(results), &self.interrupt, self.reasoning)?;
        }
        self.explain(written)
    }

    /// An answer is kept, and its end explained.
    fn explain(&mut self, written: Written) -> Result<bool, Failure> {
        let ending = written.ending;
        self.last = Some(written.statistics);
        let terminal = stderr().is_terminal();
        match ending {
            Ending::Context if terminal => {
                eprintln!("(the context is full; --overflow shift or summarise lets old turns give way)");
            }
            Ending::Length if terminal => eprintln!("(as long as -n allows)"),
            _ => (),
        }
        self.keep()?;
        if ending == Ending::Abandoned && !std::io::stdin().is_terminal() {
            return Err(Failure::Interrupted(None));
        }
        Ok(true)
    }

    /// Saves the conversation, where a file is given.
    fn keep(&self) -> Result<(), Failure> {
        if let Some(path) = self.session {
            patiently("saving", || self.chat.save(path))?;
        }
        Ok(())
    }

    /// Does what a command says; whether the conversation goes on.
    fn obey(&mut self, command: &Command, input: &mut Input) -> Result<bool, Failure> {
        match command {
            Command::Help => eprintln!("{HELP}"),
            Command::Quit => return Ok(false),
            Command::System(None) => eprintln!("{}", self.chat.system().unwrap_or("(no system prompt)")),
            Command::System(Some(text)) => {
                self.chat.set_system(Some(text.clone()).filter(|text| !text.is_empty()));
                self.keep()?;
            }
            Command::Save(path) => {
                let bytes = self.chat.save(path)?;
                eprintln!("saved {} ({:.1} MiB)", path.display(), bytes as f64 / f64::from(1 << 20));
            }
            Command::Load(path) => {
                self.chat.load(path)?;
                for turn in self.chat.turns() {
                    eprintln!("{}: {}", turn.role, harmless(&turn.content));
                }
                self.keep()?;
            }
            Command::Undo => {
                if !self.chat.undo() {
                    eprintln!("there is nothing to undo");
                }
                self.keep()?;
            }
            Command::Retry => {
                // Another seed, or the answer would be the same.
                let sampler = self.chat.sampler().clone();
                let seed = sampler.sampling().seed.wrapping_add(1);
                self.chat.set_sampler(sampler.with_seed(seed));
                let Some(answer) = self.chat.retry() else {
                    eprintln!("there is nothing to answer again");
                    return Ok(true);
                };
                let written = write_out(answer, &self.interrupt, self.reasoning)?;
                return self.after(written, input);
            }
            Command::Clear => {
                self.chat.clear();
                self.keep()?;
            }
            Command::Context => {
                let used = self.chat.context();
                eprintln!(
                    "{} of {} tokens used by {} turns{}",
                    used.tokens,
                    used.context,
                    used.turns,
                    if used.dropped > 0 { format!("; {} gave way", used.dropped) } else { String::new() }
                );
            }
            Command::Stats => match &self.last {
                None => eprintln!("nothing has been answered yet"),
                Some(last) => last.show(&self.chat),
            },
        }
        Ok(true)
    }
}

impl Statistics {
    fn show(&self, chat: &Chat<'_>) {
        let rate = |tokens: usize, time: Duration| match time.as_secs_f64() {
            0.0 => 0.0,
            seconds => tokens as f64 / seconds,
        };
        let read = self.prompt - self.known;
        eprintln!(
            "{} tokens of prompt, {} of them known, {read} read at {:.0} t/s; {} written at {:.1} t/s",
            self.prompt,
            self.known,
            rate(read, self.reading),
            self.written,
            rate(self.written, self.writing),
        );
        let guesses = chat.generator().counts();
        if guesses.drafted > 0 {
            eprintln!("{} of {} guessed tokens stood", guesses.accepted, guesses.drafted);
        }
        let engine = chat.engine();
        eprintln!(
            "{} x {}, {:.0} MiB beside the file, template: {}",
            engine.threads().token,
            engine.level().name(),
            engine.plan().bytes() as f64 / f64::from(1 << 20),
            chat.template(),
        );
    }
}

/// Writes an answer to stdout as it comes.
fn write_out(
    mut answer: Answer<'_, '_>,
    interrupt: &Interrupt,
    reasoning: Reasoning,
) -> Result<Written, Failure> {
    let terminal = stdout().is_terminal();
    let (mut news, mut thoughts) = (News::begin(), Thoughts::new(reasoning));
    let start = Instant::now();
    let mut reading = None;
    let (mut calls, mut failed): (_, Option<Error>) = (Vec::new(), None);
    while !interrupt.is_raised() {
        match answer.next() {
            None => break,
            Some(Ok(Piece::Reading { done, total })) if done == total => reading = Some(start.elapsed()),
            Some(Ok(Piece::Reading { done, total })) => {
                news.show(format_args!("reading {done}/{total} tokens"));
            }
            Some(Ok(Piece::MakingRoom { done, total })) => {
                news.show(format_args!(" (making room: {done}/{total} tokens)"));
            }
            Some(Ok(Piece::Thought(text))) => {
                if thoughts.is_visible() {
                    news.end();
                    thoughts.show(&text);
                } else {
                    news.show(format_args!("thinking: {} tokens", answer.tokens().len()));
                }
            }
            Some(Ok(Piece::Text(text))) => {
                news.end();
                thoughts.end();
                let text = if terminal { harmless(&text) } else { text.as_str().into() };
                stdout().write_all(text.as_bytes())?;
                stdout().flush()?;
            }
            Some(Ok(Piece::Call(call))) => calls.push(call),
            Some(Err(error)) => failed = Some(error),
        }
    }
    news.end();
    thoughts.end();
    let (prompt, known) = answer.prompt_tokens();
    let (written, reading) = (answer.tokens().len(), reading.unwrap_or_else(|| start.elapsed()));
    let ending = answer.ending().unwrap_or(Ending::Abandoned);
    let is_line_open = !answer.text().is_empty();
    drop(answer);
    if is_line_open || failed.is_none() && ending != Ending::Calls {
        writeln!(stdout())?;
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let writing = start.elapsed().saturating_sub(reading);
    Ok(Written { ending, calls, statistics: Statistics { prompt, known, reading, written, writing } })
}
