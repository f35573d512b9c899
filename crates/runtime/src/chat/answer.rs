//! An answer as it comes.
//!
//! In: a conversation whose last turn waits for one. Out: news of the reading, then pieces of text. Dropping the iterator ends
//! the answer where it stands, and the conversation goes on from there.

use std::collections::VecDeque;

use super::align::common;
use super::summary::Summary;
use super::talk::Talk;
use super::{Chat, Overflow, Turn};
use crate::Error;
use crate::prompt::Prompt;
use crate::speech::{Manner, Speech, Spoken};
use crate::stop::Stop;
use crate::tools::ToolCall;

/// What comes of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// So many tokens of the prompt have been read, of so many that had to be.
    Reading {
        /// Read so far.
        done: usize,
        /// To read in all.
        total: usize,
    },
    /// The context was full. So many tokens of what that costs are done: of a summary, or of what is read anew.
    MakingRoom {
        /// Done so far.
        done: usize,
        /// To do at most.
        total: usize,
    },
    /// The next words of a thought. Never half a character.
    Thought(String),
    /// The next words. Never half a character.
    Text(String),
    /// A tool that the model wants to be called: see [`Ending::Calls`].
    Call(ToolCall),
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The model said so.
    End,
    /// The model waits for what the tools give that it called: see [`Chat::answer_calls`].
    Calls,
    /// A stop text came.
    Stop,
    /// It is as long as it may be.
    Length,
    /// The context is full.
    Context,
    /// It was dropped, or an error came.
    Abandoned,
}

/// What is done next.
#[derive(Debug)]
enum Phase {
    /// Finding out which turns find room.
    Fitting,
    Summarising(Box<Summary>),
    /// Reading what the engine has not been fed of `target`.
    Reading,
    Writing,
}

/// An answer as it comes: an iterator of [pieces](Piece).
#[derive(Debug)]
pub struct Answer<'c, 's> {
    chat: &'c mut Chat<'s>,
    /// What the conversation is again where nothing comes of this, and mirostat's limit.
    before: Talk,
    limit: f32,
    phase: Phase,
    /// The tokens to be read: the prompt, and in a full context what stays of the answer.
    target: Vec<u32>,
    /// How many of them were known.
    known: usize,
    /// The length of the first prompt, and how many tokens of it were known.
    prompt: (usize, usize),
    /// Tokens of the answer.
    answered: Vec<u32>,
    /// The first of them that is in the context.
    kept: usize,
    speech: Speech,
    /// Tokens that a thought may have.
    think: Option<usize>,
    stop: Stop,
    thought: String,
    text: String,
    calls: Vec<ToolCall>,
    ready: VecDeque<Piece>,
    ending: Option<Ending>,
}

impl<'c, 's> Answer<'c, 's> {
    pub(super) fn new(chat: &'c mut Chat<'s>, before: Talk, limit: f32) -> Self {
        Self {
            // What a constraint promises is complete, and no text cuts it.
            stop: Stop::new(if chat.generator.is_free() { &chat.options.stop } else { &[] }),
            speech: Speech::new(chat.engine.vocabulary(), Manner::default(), false),
            think: None,
            chat,
            before,
            limit,
            phase: Phase::Fitting,
            target: Vec::new(),
            known: 0,
            prompt: (0, 0),
            answered: Vec::new(),
            kept: 0,
            thought: String::new(),
            text: String::new(),
            calls: Vec::new(),
            ready: VecDeque::new(),
            ending: None,
        }
    }

    /// The tokens of the prompt, and how many of them did not have to be read. Both are 0 before the first piece.
    pub const fn prompt_tokens(&self) -> (usize, usize) {
        self.prompt
    }

    /// The tokens of the answer so far.
    pub fn tokens(&self) -> &[u32] {
        &self.answered
    }

    /// The text so far, without thoughts.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Why it ended, once it has.
    pub const fn ending(&self) -> Option<Ending> {
        self.ending
    }

    fn step(&mut self) -> Result<(), Error> {
        match &mut self.phase {
            Phase::Fitting => self.fit(),
            Phase::Summarising(summary) => {
                if let Some(text) = summary.step(self.chat)? {
                    self.chat.talk.first = summary.first;
                    // A model that writes nothing leaves what it wrote before.
                    if !text.is_empty() {
                        self.chat.talk.summary = Some(text);
                    }
                    self.phase = Phase::Fitting;
                    // A summary that leaves no room is worth less than the answer.
                    let kept = self.answered.len() - self.kept;
                    if matches!(self.chat.fitted(kept), Err(Error::ContextFull { .. })) {
                        self.chat.talk.summary = None;
                    }
                } else {
                    let (done, total) = summary.progress(self.chat);
                    self.ready.push_back(Piece::MakingRoom { done, total });
                }
                Ok(())
            }
            Phase::Reading => self.read(),
            Phase::Writing => self.write(),
        }
    }

    /// Finds the turns that fit, which then are to be read.
    fn fit(&mut self) -> Result<(), Error> {
        let kept = self.answered.len() - self.kept;
        let fitted = match self.chat.fitted(kept) {
            Ok(fitted) => fitted,
            // In the middle of an answer, it is the answer that gives way.
            Err(Error::ContextFull { .. }) if kept > 0 => return self.halve(),
            Err(error) => return Err(error),
        };
        if fitted.first > self.chat.talk.first && self.chat.options.overflow == Overflow::Summarise {
            self.phase = Phase::Summarising(Box::new(Summary::begin(self.chat, fitted.first)?));
            return Ok(());
        }
        self.chat.talk.first = fitted.first;
        let gave_way = self.chat.begins.is_some_and(|first| first < fitted.first);
        self.aim(fitted.prompt, gave_way)
    }

    /// Lets the older half of the answer give way, or as much as it takes.
    fn halve(&mut self) -> Result<(), Error> {
        let (context, room) = (self.chat.engine.session().context(), self.chat.room());
        let fitted = self.chat.written(self.chat.talk.first)?;
        while self.answered.len() - self.kept > 1 {
            self.kept += (self.answered.len() - self.kept) / 2;
            if fitted.prompt.tokens.len() + (self.answered.len() - self.kept) + room <= context {
                return self.aim(fitted.prompt, self.chat.begins.is_some());
            }
        }
        self.end(Ending::Context);
        Ok(())
    }

    /// The prompt, and what is kept of the answer, are to be in the engine. With `shift` something has just given way.
    fn aim(&mut self, prompt: Prompt, shift: bool) -> Result<(), Error> {
        if self.answered.is_empty() {
            let manner = self.chat.template.manner();
            let manner = if self.chat.tools().is_some() { manner } else { manner.without_tools() };
            self.speech = self.chat.speech(&prompt, manner);
            self.prompt.0 = prompt.tokens.len();
            // What is too short for a grammar is said before anything is computed.
            self.limit_thought(prompt.tokens.len())?;
            self.constrain(prompt.tokens.len())?;
        }
        self.target = prompt.tokens;
        self.target.extend(&self.answered[self.kept..]);
        self.chat.align(&self.target, shift)?;
        self.chat.begins = Some(self.chat.talk.first);
        // The last token's logits are wanted even where all of them are known.
        self.chat.wind_back(self.target.len() - 1);
        self.known = self.chat.tokens.len();
        if self.answered.is_empty() {
            self.prompt.1 = self.known;
        }
        self.phase = Phase::Reading;
        Ok(())
    }

    /// A piece of what is to be read.
    fn read(&mut self) -> Result<(), Error> {
        self.chat.read(&self.target)?;
        let (done, total) = (self.chat.tokens.len() - self.known, self.target.len() - self.known);
        self.ready.push_back(match self.answered[..] {
            [] => Piece::Reading { done, total },
            _ => Piece::MakingRoom { done, total },
        });
        if done == total {
            self.phase = Phase::Writing;
        }
        Ok(())
    }

    /// The next token, or those that end a thought.
    fn write(&mut self) -> Result<(), Error> {
        if self.chat.options.predict.is_some_and(|most| self.answered.len() >= most) {
            self.full(Ending::Length);
            return Ok(());
        }
        self.constrain(self.chat.tokens.len())?;
        let closing = self.chat.closing(&self.speech, self.think)?;
        // A token must be fed before the one after it can be picked.
        if self.chat.tokens.len() + closing.len().max(1) > self.chat.engine.session().context() {
            // What a constraint has seen of the answer cannot give way.
            if self.chat.options.overflow == Overflow::Stop || self.chat.generator.is_constrained() {
                self.full(Ending::Context);
            } else {
                self.phase = Phase::Fitting;
            }
            return Ok(());
        }
        let chat = &mut *self.chat;
        if !closing.is_empty() {
            chat.generator.force(&mut chat.engine, &mut chat.tokens, &closing)?;
            return closing.into_iter().try_for_each(|token| self.hear(token));
        }
        let token = chat.generator.next(&mut chat.engine, &chat.sampler, &mut chat.tokens)?;
        if chat.engine.vocabulary().is_end_of_generation(token) {
            chat.tokens.pop();
            if self.speech.may_end() {
                self.end(Ending::End);
            }
            return Ok(());
        }
        self.hear(token)
    }

    /// A token was written.
    fn hear(&mut self, token: u32) -> Result<(), Error> {
        self.answered.push(token);
        let mut spoken = Vec::new();
        let heard = self.speech.token(self.chat.engine.vocabulary(), token, &mut |part| spoken.push(part));
        heard.map_err(|error| self.chat.engine.failed(error))?;
        if self.note(spoken) {
            self.ending = Some(Ending::Stop);
            self.settle();
        }
        Ok(())
    }

    /// Takes parts. Whether a stop text is complete: then what follows does not count.
    fn note(&mut self, parts: Vec<Spoken>) -> bool {
        for part in parts {
            match part {
                Spoken::Thought(text) => {
                    self.thought.push_str(&text);
                    self.ready.push_back(Piece::Thought(text));
                }
                Spoken::Text(text) => {
                    let mut out = String::new();
                    let stopped = self.stop.push(&text, &mut out);
                    self.say(out);
                    if stopped {
                        return true;
                    }
                }
                Spoken::Call(call) => {
                    self.calls.push(call.clone());
                    self.ready.push_back(Piece::Call(call));
                }
            }
        }
        false
    }

    fn say(&mut self, text: String) {
        self.text.push_str(&text);
        if !text.is_empty() {
            self.ready.push_back(Piece::Text(text));
        }
    }

    /// Ends the answer where there is no room for more of it: under a constraint it is complete.
    fn full(&mut self, ending: Ending) {
        let ending = if self.chat.generator.is_complete() { Ending::End } else { ending };
        self.end(ending);
    }

    /// Lets a constraint hold where thoughts end, with `fed` tokens in the context by then.
    fn constrain(&mut self, fed: usize) -> Result<(), Error> {
        let Chat { generator, options, engine, .. } = &mut *self.chat;
        if !generator.awaits_answer() || self.speech.is_thinking() {
            return Ok(());
        }
        let left = options.predict.map_or(usize::MAX, |most| most.saturating_sub(self.answered.len()));
        generator.begin_answer(left.min(engine.session().context().saturating_sub(fed)))?;
        let mut spoken = Vec::new();
        self.speech.is_answer_from_here(&mut |part| spoken.push(part));
        self.note(spoken);
        Ok(())
    }

    /// Finds out how long a thought may be, if the answer begins with one: what a constraint promises must find room behind it.
    fn limit_thought(&mut self, fed: usize) -> Result<(), Error> {
        let Chat { generator, options, engine, .. } = &*self.chat;
        self.think = options.think;
        if self.speech.is_thinking() {
            let closing = self.chat.closing(&self.speech, Some(0))?.len();
            let room = engine.session().context().saturating_sub(fed);
            self.think =
                generator.thought(options.think, closing, room.min(options.predict.unwrap_or(room)))?;
        }
        Ok(())
    }

    /// Ends the answer, with what is left to say.
    fn end(&mut self, ending: Ending) {
        let mut parts = Vec::new();
        self.speech.finish(&mut |part| parts.push(part));
        if !self.note(parts) {
            let mut out = String::new();
            self.stop.finish(&mut out);
            self.say(out);
        }
        let calls = ending == Ending::End && !self.calls.is_empty();
        self.ending = Some(if calls { Ending::Calls } else { ending });
        self.settle();
    }

    /// Makes the answer a turn, and keeps what the prompt cost.
    fn settle(&mut self) {
        let chat = &mut *self.chat;
        chat.generator.take_back(&mut chat.engine, &chat.tokens);
        chat.generator.end_answer();
        let (content, reasoning) = (self.text.clone(), std::mem::take(&mut self.thought));
        // Nobody will answer the calls of an answer that did not end.
        let calls = if self.ending == Some(Ending::Calls) { self.calls.clone() } else { Vec::new() };
        chat.talk.turns.push(Turn { reasoning, calls, ..Turn::new("assistant", content) });
        if let Some(cache) = chat.options.cache.as_ref().filter(|_| chat.shifted.is_none()) {
            let read = common(&chat.tokens, &self.target).min(chat.engine.position());
            // What is not kept is computed again: no reason to fail.
            let _ = cache.keep(chat.engine.session(), &chat.tokens[..read]);
        }
    }

    /// Ends the answer where it stands. Where nothing was answered, nothing was said.
    fn abandon(&mut self) {
        self.ready.clear();
        if self.text.is_empty() {
            self.ending = Some(Ending::Abandoned);
            let chat = &mut *self.chat;
            chat.drop_ahead();
            chat.generator.end_answer();
            // Turns that gave way come back.
            if chat.talk.first != self.before.first {
                chat.part_ways();
            }
            chat.talk = std::mem::take(&mut self.before);
            chat.sampler.set_mirostat_limit(self.limit);
        } else {
            self.end(Ending::Abandoned);
            self.ready.clear();
        }
    }
}

impl Iterator for Answer<'_, '_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(piece));
            }
            if self.ending.is_some() {
                return None;
            }
            if let Err(error) = self.step() {
                self.abandon();
                return Some(Err(error));
            }
        }
    }
}

impl Drop for Answer<'_, '_> {
    fn drop(&mut self) {
        if self.ending.is_none() {
            self.abandon();
        }
    }
}
