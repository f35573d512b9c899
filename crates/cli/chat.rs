//! `stonechat chat`: a conversation.
//!
//! At a terminal lines are edited, remembered and answered as they come; through a pipe each line is a message and each
//! answer goes to stdout. Lines that begin with a slash are for the program.

mod command;
mod input;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use stonechat_core::Sampler;
use stonechat_kernels::LevelName;
use stonechat_runtime::chat::{Answer, ChatOptions, Ending, Piece};
use stonechat_runtime::{Chat, Engine, Error, Home, Interrupt, PromptCache};

use crate::args::{CacheSize, ChatArgs};
use crate::engine;
use crate::failure::Failure;
use crate::sampling::Prepared;
use crate::terminal::{Reading, harmless};
use command::{Command, HELP};
use input::{Input, Line};

/// Runs the verb.
pub fn run(args: &ChatArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let sampling = args.sampling.settings()?;
    let predict = args.predict()?;
    #[cfg(feature = "grammar")]
    let grammar = args.grammar.read()?;
    #[allow(unused_mut, reason = "nothing changes it where there are no grammars")]
    let (engine, mut generator) =
        engine::load_with_draft(args.model.model.as_deref(), &args.engine, &args.draft, cpu)?;
    #[cfg(feature = "grammar")]
    generator.set_constraint(grammar.map(|grammar| grammar.of(&engine)).transpose()?);
    let interrupt = Interrupt::catch()?;
    let mut prepared = Prepared::new(&args.sampling, sampling, engine.vocabulary())?;
    let sampler = prepared.sampler(engine.vocabulary())?;
    let options = ChatOptions {
        system: args.system.clone(),
        overflow: args.overflow.into(),
        stop: args.stop.clone(),
        predict,
        cache: prompt_cache(args.prompt_cache, &engine),
    };
    let talk = Talk {
        chat: Chat::new(engine, generator, sampler.clone(), options)?,
        interrupt,
        session: args.session.as_deref(),
        sampler,
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
    sampler: Sampler<'a>,
    last: Option<Statistics>,
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
                None => self.say(line.trim_end_matches('\n')),
                Some(Ok(command)) => self.obey(&command),
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

    fn say(&mut self, text: &str) -> Result<bool, Failure> {
        let answer = self.chat.say(text)?;
        let (ending, statistics) = write_out(answer, &self.interrupt)?;
        self.after(ending, statistics)
    }

    /// What follows an answer: it is kept, and its end explained.
    fn after(&mut self, ending: Ending, statistics: Statistics) -> Result<bool, Failure> {
        self.last = Some(statistics);
        let terminal = stderr().is_terminal();
        match ending {
            Ending::Context if terminal => {
                eprintln!("(the context is full; --overflow shift or summarise lets old turns give way)");
            }
            Ending::Length if terminal => eprintln!("(as long as -n allows)"),
            _ => (),
        }
        if let Some(path) = self.session {
            self.chat.save(path)?;
        }
        if ending == Ending::Abandoned && !std::io::stdin().is_terminal() {
            return Err(Failure::Interrupted(None));
        }
        Ok(true)
    }

    /// Does what a command says; whether the conversation goes on.
    fn obey(&mut self, command: &Command) -> Result<bool, Failure> {
        match command {
            Command::Help => eprintln!("{HELP}"),
            Command::Quit => return Ok(false),
            Command::System(None) => eprintln!("{}", self.chat.system().unwrap_or("(no system prompt)")),
            Command::System(Some(text)) => {
                self.chat.set_system(Some(text.clone()).filter(|text| !text.is_empty()));
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
            }
            Command::Undo => {
                if !self.chat.undo() {
                    eprintln!("there is nothing to undo");
                }
            }
            Command::Retry => {
                // Another seed, or the answer would be the same.
                let seed = self.sampler.sampling().seed.wrapping_add(1);
                self.sampler = self.sampler.clone().with_seed(seed);
                self.chat.set_sampler(self.sampler.clone());
                let Some(answer) = self.chat.retry() else {
                    eprintln!("there is nothing to answer again");
                    return Ok(true);
                };
                let (ending, statistics) = write_out(answer?, &self.interrupt)?;
                return self.after(ending, statistics);
            }
            Command::Clear => self.chat.clear(),
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
fn write_out(mut answer: Answer<'_, '_>, interrupt: &Interrupt) -> Result<(Ending, Statistics), Failure> {
    let (prompt, known) = answer.prompt_tokens();
    let terminal = stdout().is_terminal();
    let mut progress = Reading::begin();
    let start = Instant::now();
    let mut reading = None;
    let mut failed: Option<Error> = None;
    while !interrupt.is_raised() {
        match answer.next() {
            None => break,
            Some(Ok(Piece::Reading { done, total })) => progress.show(done, total),
            Some(Ok(Piece::Text(text))) => {
                progress.end();
                reading.get_or_insert_with(|| start.elapsed());
                let text = if terminal { harmless(&text) } else { text.as_str().into() };
                stdout().write_all(text.as_bytes())?;
                stdout().flush()?;
            }
            Some(Err(error)) => failed = Some(error),
        }
    }
    progress.end();
    let (written, reading) = (answer.tokens().len(), reading.unwrap_or_else(|| start.elapsed()));
    let ending = answer.ending().unwrap_or(Ending::Abandoned);
    drop(answer);
    writeln!(stdout())?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let writing = start.elapsed().saturating_sub(reading);
    Ok((ending, Statistics { prompt, known, reading, written, writing }))
}
