//! What to do with a conversation that is longer than the context.
//!
//! In: the conversation. Out: its prompt, of which enough turns gave way that an answer fits behind. Turns go whole and the
//! oldest first; more of them than needed, so that it does not happen at each turn.

use super::{Chat, Overflow};
use crate::Error;
use crate::prompt::Prompt;

/// Of the context, this part is free after turns gave way.
const FREE: usize = 2;
/// An answer begins with room for so many tokens, or for a quarter of the context.
const ROOM: usize = 64;

/// A prompt that leaves room for an answer.
pub(super) struct Fitted {
    pub prompt: Prompt,
    /// The turn that it begins with.
    pub first: usize,
}

impl Chat<'_> {
    /// The tokens that an answer should find room for.
    pub(super) fn room(&self) -> usize {
        (self.engine.session().context() / 4).clamp(1, ROOM).max(self.generator.fewest())
    }

    /// The prompt behind which an answer fits that has `answered` tokens already. If there is none, the error says so.
    pub(super) fn fitted(&self, answered: usize) -> Result<Fitted, Error> {
        let (context, room) = (self.engine.session().context(), self.room());
        let mut fitted = self.written(self.talk.first)?;
        let len = |fitted: &Fitted| fitted.prompt.tokens.len() + answered;
        if len(&fitted) + room <= context {
            return Ok(fitted);
        }
        if self.options.overflow != Overflow::Stop {
            // Each begins with what somebody said: a model that reads an answer first is confused, and templates object.
            let turns = self.talk.turns.iter().enumerate().skip(self.talk.first + 1);
            let free = (context / FREE).max(room);
            for (first, _) in turns.filter(|(_, turn)| turn.role == "user") {
                fitted = self.written(first)?;
                if len(&fitted) + free <= context {
                    break;
                }
            }
        }
        if len(&fitted) + room > context {
            return Err(Error::ContextFull { tokens: len(&fitted), room, context });
        }
        Ok(fitted)
    }

    /// The conversation from turn `first` on.
    pub(super) fn written(&self, first: usize) -> Result<Fitted, Error> {
        let opening = self.talk.opening(self.talk.summary.as_deref());
        let turns: Vec<_> = opening.iter().chain(&self.talk.turns[first..]).collect();
        Ok(Fitted { prompt: self.encode_turns(&turns, &self.variables, self.tools())?, first })
    }
}
