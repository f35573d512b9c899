//! An answer as it comes.
//!
//! In: a conversation whose last turn waits for one. Out: news of the reading, then pieces of text. Dropping the iterator ends
//! the answer where it stands, and the conversation goes on from there.

use stonechat_core::vocabulary::Utf8Stream;

use super::stop::Stop;
use super::{Chat, Overflow, Turn};
use crate::Error;

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
    /// The next words. Never half a character.
    Text(String),
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The model said so.
    End,
    /// A stop text came.
    Stop,
    /// It is as long as it may be.
    Length,
    /// The context is full.
    Context,
    /// It was dropped, or an error came.
    Abandoned,
}

impl Ending {
    /// A word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Context => "context",
            Self::Abandoned => "interrupt",
        }
    }
}

/// An answer as it comes: an iterator of [pieces](Piece).
#[derive(Debug)]
pub struct Answer<'c, 's> {
    chat: &'c mut Chat<'s>,
    /// The whole prompt.
    prompt: Vec<u32>,
    /// How many tokens of it were known when the answer began.
    known: usize,
    /// Tokens of the answer.
    answered: Vec<u32>,
    text: String,
    stream: Utf8Stream,
    stop: Stop,
    ending: Option<Ending>,
}

impl<'c, 's> Answer<'c, 's> {
    pub(super) fn begin(chat: &'c mut Chat<'s>) -> Result<Self, Error> {
        let prompt = chat.fitted(&[])?;
        chat.align(&prompt)?;
        // The last token's logits are wanted even where all of them are known.
        if chat.tokens.len() == prompt.len() {
            let before = chat.engine.wind_back(prompt.len() - 1);
            chat.tokens.truncate(before);
        }
        // A grammar ends the answer before the context is full.
        let room = chat.engine.session().context().saturating_sub(prompt.len());
        chat.generator.begin_answer(room.min(chat.options.predict.unwrap_or(usize::MAX)))?;
        let (known, stop) = (chat.tokens.len(), Stop::new(&chat.options.stop));
        let (answered, text, stream) = (Vec::new(), String::new(), Utf8Stream::new());
        Ok(Self { chat, prompt, known, answered, text, stream, stop, ending: None })
    }

    /// The tokens of the prompt, and how many of them did not have to be read.
    pub fn prompt_tokens(&self) -> (usize, usize) {
        (self.prompt.len(), self.known)
    }

    /// The tokens of the answer so far.
    pub fn tokens(&self) -> &[u32] {
        &self.answered
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Why it ended, once it has.
    pub const fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// A batch of the prompt.
    fn read(&mut self) -> Result<Piece, Error> {
        let chat = &mut *self.chat;
        let batch = chat.engine.plan().limits().batch;
        let from = chat.tokens.len();
        let tokens = &self.prompt[from..self.prompt.len().min(from + batch)];
        chat.engine.feed(tokens)?;
        chat.tokens.extend(tokens);
        Ok(Piece::Reading { done: chat.tokens.len() - self.known, total: self.prompt.len() - self.known })
    }

    /// The next text; nothing at the end.
    fn write(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if self.chat.options.predict.is_some_and(|most| self.answered.len() >= most) {
                return Ok(self.full(Ending::Length));
            }
            // The next token must be fed before the one after it can be picked.
            if self.chat.tokens.len() >= self.chat.engine.session().context() && !self.make_room()? {
                return Ok(self.full(Ending::Context));
            }
            let chat = &mut *self.chat;
            let token = chat.generator.next(&mut chat.engine, &chat.sampler, &mut chat.tokens)?;
            if chat.engine.vocabulary().is_end_of_generation(token) {
                chat.tokens.pop();
                return Ok(self.end(Ending::End));
            }
            self.answered.push(token);
            let (mut out, mut stopped) = (String::new(), false);
            let piece = chat.engine.piece(token)?;
            let stop = &mut self.stop;
            self.stream.push(&piece, &mut |part| {
                if !stopped {
                    stopped = stop.push(part, &mut out);
                }
            });
            self.text.push_str(&out);
            if stopped {
                self.ending = Some(Ending::Stop);
                self.settle();
            }
            if !out.is_empty() {
                return Ok(Some(Piece::Text(out)));
            }
            if stopped {
                return Ok(None);
            }
        }
    }

    /// Lets turns give way in the middle of the answer, or else the older half of the answer. Whether there is room
    /// now.
    fn make_room(&mut self) -> Result<bool, Error> {
        if self.chat.options.overflow == Overflow::Stop || self.chat.generator.is_constrained() {
            return Ok(false);
        }
        let target = match self.chat.fitted(&self.answered) {
            Ok(target) => target,
            Err(Error::ContextFull { .. }) => {
                let prompt = self.chat.written(self.chat.talk.first, self.chat.talk.summary.as_deref())?;
                let later = &self.answered[self.answered.len() / 2..];
                if prompt.len() + later.len() >= self.chat.engine.session().context() {
                    return Ok(false);
                }
                [&prompt[..], later].concat()
            }
            Err(error) => return Err(error),
        };
        self.chat.align(&target)?;
        // What could not be moved is read anew, in one piece: this is rare.
        let (chat, last) = (&mut *self.chat, target.len() - 1);
        if chat.tokens.len() < last {
            chat.engine.feed(&target[chat.tokens.len()..last])?;
        }
        chat.tokens = target;
        chat.engine.wind_back(last);
        Ok(true)
    }

    /// Ends the answer where there is no room for more of it: under a grammar it is complete.
    fn full(&mut self, ending: Ending) -> Option<Piece> {
        let ending = if self.chat.generator.is_complete() { Ending::End } else { ending };
        self.end(ending)
    }

    /// Ends the answer, with what is left to say.
    fn end(&mut self, ending: Ending) -> Option<Piece> {
        let mut out = String::new();
        let stop = &mut self.stop;
        let mut stopped = false;
        self.stream.finish(&mut |part| {
            if !stopped {
                stopped = stop.push(part, &mut out);
            }
        });
        self.stop.finish(&mut out);
        self.text.push_str(&out);
        self.ending = Some(ending);
        self.settle();
        (!out.is_empty()).then_some(Piece::Text(out))
    }

    /// Makes the answer a turn, and keeps what the prompt cost.
    fn settle(&mut self) {
        let chat = &mut *self.chat;
        chat.generator.take_back(&mut chat.engine, &chat.tokens);
        chat.generator.end_answer();
        chat.talk.turns.push(Turn::new("assistant", self.text.clone()));
        if let Some(cache) = chat.options.cache.as_ref().filter(|_| chat.pure) {
            let read = self.prompt.len().min(chat.engine.position());
            // What is not kept is computed again: no reason to fail.
            let _ = cache.keep(chat.engine.session(), &chat.tokens[..read]);
        }
    }
}

impl Iterator for Answer<'_, '_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ending.is_some() {
            return None;
        }
        let piece = if self.answered.is_empty() && self.chat.tokens.len() < self.prompt.len() {
            self.read().map(Some)
        } else {
            self.write()
        };
        if piece.is_err() {
            self.ending = Some(Ending::Abandoned);
        }
        piece.transpose()
    }
}

impl Drop for Answer<'_, '_> {
    fn drop(&mut self) {
        match self.ending {
            None if self.answered.is_empty() => {
                self.chat.generator.end_answer();
                // Nothing was answered, so nothing was said.
                self.chat.talk.turns.pop();
            }
            None => {
                self.end(Ending::Abandoned);
            }
            Some(Ending::Abandoned) => {
                self.chat.talk.turns.pop();
                self.chat.generator.take_back(&mut self.chat.engine, &self.chat.tokens);
                self.chat.generator.end_answer();
            }
            Some(_) => (),
        }
    }
}
