//! What a model says, token by token: thoughts, words and calls of tools, each told from the others.
//!
//! In: tokens as they are picked. Out: parts, as soon as it is certain what they are. Control tokens are no text, unless
//! they are the tags of a thought or a call, which are read and taken away.

use stonechat_core::Vocabulary;
use stonechat_core::vocabulary::{Error, Utf8Stream};

use crate::thinking::{Said, ThoughtSplitter, ThoughtTags};
use crate::tools::{CallFormat, CallReader, Part, ToolCall};

/// How a family of models marks what is no plain word; by default not at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Manner {
    /// The tags of thoughts.
    pub thoughts: Option<ThoughtTags>,
    /// How calls are written. Of gpt-oss, whose answers are in channels, even where no tools are given.
    pub calls: Option<CallFormat>,
}

/// A part of what a model says. None is empty.
#[derive(Clone, PartialEq, Debug)]
pub enum Spoken {
    /// What it thinks.
    Thought(String),
    /// What it answers.
    Text(String),
    /// A tool that it calls.
    Call(ToolCall),
}

/// Reads what a model says. See the [module](self).
#[derive(Debug)]
pub struct Speech {
    stream: Utf8Stream,
    thoughts: Option<ThoughtSplitter>,
    calls: Option<CallReader>,
    manner: Manner,
    /// Tokens of thoughts.
    thought: usize,
    /// The thought is to end.
    over: bool,
    buffer: Vec<u8>,
}

impl Speech {
    /// Of a model with this vocabulary and this manner, which begins within a thought or not.
    pub fn new(vocabulary: &Vocabulary<'_>, manner: Manner, thinking: bool) -> Self {
        Self {
            stream: Utf8Stream::new(),
            thoughts: manner.thoughts.map(|tags| ThoughtSplitter::new(tags, thinking)),
            calls: manner.calls.map(CallReader::new),
            manner,
            thought: 0,
            over: false,
            buffer: vec![0; vocabulary.max_piece_len()],
        }
    }

    /// Whether the model is within a thought.
    pub fn is_thinking(&self) -> bool {
        self.thoughts.as_ref().is_some_and(ThoughtSplitter::is_thinking)
    }

    /// What is to be written to end a thought for which there are no more than `budget` tokens, if one is at its end.
    pub fn closing(&self, budget: Option<usize>) -> Option<&'static str> {
        let over = self.over || budget.is_some_and(|budget| self.thought >= budget);
        self.manner.thoughts.filter(|_| over && self.is_thinking()).map(|tags| tags.ending)
    }

    /// The model would end here. Whether that may be: within a thought it may not, which is closed, so that an answer follows.
    pub fn may_end(&mut self) -> bool {
        self.over = self.is_thinking();
        !self.over
    }

    /// From here on all that is written is the answer, to the letter: a constraint holds, and what looks like a thought or a
    /// call is text.
    pub fn is_answer_from_here(&mut self, out: &mut dyn FnMut(Spoken)) {
        self.finish(out);
        self.manner = Manner::default();
    }

    /// Takes a token and hands out what is certain.
    pub fn token(
        &mut self,
        vocabulary: &Vocabulary<'_>,
        token: u32,
        out: &mut dyn FnMut(Spoken),
    ) -> Result<(), Error> {
        let was_thinking = self.is_thinking();
        let mut len = vocabulary.piece(token, false, &mut self.buffer)?.len();
        if len == 0 && self.manner != Manner::default() {
            let piece = vocabulary.piece(token, true, &mut self.buffer)?;
            len = if self.manner.has_mark(piece) { piece.len() } else { 0 };
        }
        let Self { stream, thoughts, calls, buffer, .. } = self;
        stream.push(&buffer[..len], &mut |text| tell(thoughts, calls, text, out));
        self.thought += usize::from(was_thinking && self.is_thinking());
        Ok(())
    }

    /// Hands out what was held back: nothing more comes.
    pub fn finish(&mut self, out: &mut dyn FnMut(Spoken)) {
        let Self { stream, thoughts, calls, .. } = self;
        std::mem::take(stream).finish(&mut |text| tell(thoughts, calls, text, out));
        if let Some(thoughts) = thoughts.take() {
            thoughts.finish(&mut |said| part(calls, said, out));
        }
        if let Some(calls) = calls.take() {
            calls.finish(&mut |part| out(part.into()));
        }
    }
}

impl Manner {
    /// The same where no tools are given, so that what looks like a call is none.
    #[must_use]
    pub fn without_tools(self) -> Self {
        Self { calls: self.calls.filter(|format| *format == CallFormat::GptOss), ..self }
    }

    /// Whether a control token is a part of a tag.
    fn has_mark(&self, token: &[u8]) -> bool {
        let Ok(token) = str::from_utf8(token) else { return false };
        let thoughts = self.thoughts.iter().flat_map(|tags| [tags.open, tags.close]);
        let calls = self.calls.iter().flat_map(|format| format.marks()).copied();
        !token.is_empty() && thoughts.chain(calls).any(|mark| mark.contains(token))
    }
}

/// Text to its parts.
fn tell(
    thoughts: &mut Option<ThoughtSplitter>,
    calls: &mut Option<CallReader>,
    text: &str,
    out: &mut dyn FnMut(Spoken),
) {
    match thoughts {
        Some(thoughts) => thoughts.push(text, &mut |said| part(calls, said, out)),
        None => part(calls, Said::Answer(text.to_owned()), out),
    }
}

fn part(calls: &mut Option<CallReader>, said: Said, out: &mut dyn FnMut(Spoken)) {
    match (said, calls) {
        (Said::Thought(text), _) => out(Spoken::Thought(text)),
        (Said::Answer(text), Some(calls)) => calls.push(&text, &mut |part| out(part.into())),
        (Said::Answer(text), None) if text.is_empty() => (),
        (Said::Answer(text), None) => out(Spoken::Text(text)),
    }
}

impl From<Part> for Spoken {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => Self::Text(text),
            Part::Call(call) => Self::Call(call),
        }
    }
}
