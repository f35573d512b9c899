//! What to do with a conversation that is longer than the context.
//!
//! In: the conversation and the tokens that the engine has been fed. Out: an engine whose tokens are those of the turns that
//! stay, with room for an answer. Turns go whole and the oldest first; more of them than needed, so that it does
//! not happen at each turn.

use std::ops::Range;

use super::{Chat, Overflow, Turn};
use crate::Error;

/// Of the context, this part is free after turns gave way.
const FREE: usize = 2;
/// An answer begins with room for so many tokens, or for a quarter of the context.
const ROOM: usize = 64;
/// Tokens of a summary at most.
const SUMMARY: usize = 160;
/// What asks for a summary.
const SUMMARISE: &str = "Summarise the conversation below in a few sentences. Keep names, numbers, decisions and what \
                         was promised. Write nothing else.";
/// As many tokens that agree are no chance.
const SAME: usize = 8;

impl Chat<'_> {
    /// The tokens that an answer should find room for.
    fn room(&self) -> usize {
        (self.engine.session().context() / 4).clamp(1, ROOM)
    }

    /// The conversation as tokens, of which enough turns gave way that an answer fits behind. `answered` are the tokens of the
    /// answer so far.
    pub(super) fn fitted(&mut self, answered: &[u32]) -> Result<Vec<u32>, Error> {
        let context = self.engine.session().context();
        let room = self.room();
        let all = self.written(self.talk.first, self.talk.summary.as_deref())?;
        if all.len() + answered.len() + room <= context {
            return Ok([&all[..], answered].concat());
        }
        let too_long = |tokens| Error::ContextFull { tokens, room, context };
        if self.options.overflow == Overflow::Stop {
            return Err(too_long(all.len() + answered.len()));
        }
        let free = (context / FREE).max(room);
        let (first, mut tokens) = self.first_that_fits(context, free, room, answered.len())?;
        if self.options.overflow == Overflow::Summarise && first > self.talk.first {
            let summary = self.summarise(first)?;
            self.talk.summary = Some(summary);
            tokens = self.written(first, self.talk.summary.as_deref())?;
            if tokens.len() + answered.len() + room > context {
                return Err(too_long(tokens.len() + answered.len()));
            }
        }
        self.talk.first = first;
        tokens.extend(answered);
        Ok(tokens)
    }

    /// From which turn on the conversation leaves `free` tokens of the context, or at least `room`; and its tokens.
    fn first_that_fits(
        &self,
        context: usize,
        free: usize,
        room: usize,
        answered: usize,
    ) -> Result<(usize, Vec<u32>), Error> {
        let turns = &self.talk.turns;
        // Each begins with what somebody said: a model that reads an answer first is confused, and templates object.
        let starts = (self.talk.first + 1..turns.len()).filter(|turn| turns[*turn].role == "user");
        let mut last = None;
        for first in starts {
            let tokens = self.written(first, self.talk.summary.as_deref())?;
            let len = tokens.len() + answered;
            last = Some((first, tokens));
            if len + free <= context {
                break;
            }
        }
        let first = self.talk.first;
        let last = last.map_or_else(
            || self.written(first, self.talk.summary.as_deref()).map(|tokens| (first, tokens)),
            Ok,
        )?;
        let tokens = last.1.len() + answered;
        if tokens + room > context {
            return Err(Error::ContextFull { tokens, room, context });
        }
        Ok(last)
    }

    /// Makes the engine's tokens the beginning of `target`, as long a one as can be had without computing.
    pub(super) fn align(&mut self, target: &[u32]) -> Result<(), Error> {
        self.generator.take_back(&mut self.engine, &self.tokens);
        self.tokens.truncate(self.engine.position());
        if let Some(dropped) = dropped(&self.tokens, target)
            && self.engine.session().can_drop_positions()
        {
            self.engine.with_session(|session| session.drop_positions(dropped.clone()).err()).map_or(
                Ok(()),
                |error| {
                    self.tokens.truncate(dropped.start);
                    Err(self.engine.failed(error))
                },
            )?;
            self.tokens.drain(dropped);
            self.pure = false;
        }
        let same = Some(common(&self.tokens, target)).filter(|same| *same >= SAME).unwrap_or(0);
        let same = self.engine.wind_back(same);
        self.tokens.truncate(same);
        if same == 0 {
            self.pure = true;
            if let Some(cache) = &self.options.cache {
                let most = target.len() - 1;
                let known = self.engine.with_session(|session| cache.restore(session, &target[..most]));
                self.tokens.extend(&target[..known]);
            }
        }
        Ok(())
    }

    /// What the model writes of the turns before `first`.
    fn summarise(&mut self, first: usize) -> Result<String, Error> {
        let mut text = String::new();
        if let Some(summary) = &self.talk.summary {
            text.push_str(summary);
            text.push('\n');
        }
        for turn in &self.talk.turns[self.talk.first..first] {
            text.push_str(&turn.role);
            text.push_str(": ");
            text.push_str(&turn.content);
            text.push('\n');
        }
        let context = self.engine.session().context();
        let most = context.saturating_sub(SUMMARY.min(context / 4));
        let prompt = loop {
            let asked = Turn::new("user", format!("{SUMMARISE}\n\n{text}"));
            let tokens = self.encode_turns(&[&asked])?;
            if tokens.len() <= most || text.is_empty() {
                break tokens;
            }
            // What is too long even to be read loses its beginning.
            let cut = text.len() - text.len() * most * 9 / (tokens.len() * 10);
            let cut = (cut.max(1)..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            text.drain(..cut);
        };
        self.align(&prompt)?;
        self.engine.feed(&prompt[self.tokens.len()..])?;
        self.tokens = prompt;
        let written = self.tokens.len();
        while self.tokens.len() < written + SUMMARY && self.tokens.len() < context {
            let token = self.generator.next(&mut self.engine, &self.sampler, &mut self.tokens)?;
            if self.engine.vocabulary().is_end_of_generation(token) {
                self.tokens.pop();
                break;
            }
        }
        let summary = self.engine.text(&self.tokens[written..])?;
        Ok(summary.trim().to_owned())
    }
}

/// How many tokens two texts begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Which of `there` are to be dropped so that what stays agrees with `target` for as long as it can: what stands before them is
/// the beginning of both, and what follows them goes on as `target` does.
fn dropped(there: &[u32], target: &[u32]) -> Option<Range<usize>> {
    let same = common(there, target);
    let rest = &target[same..];
    let (mut best, mut most) = (None, SAME - 1);
    for at in same + 1..there.len() {
        let agree = common(&there[at..], rest);
        if agree > most {
            (best, most) = (Some(same..at), agree);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(there: &[u32], target: &[u32]) -> usize {
        let mut tokens = there.to_vec();
        if let Some(dropped) = dropped(there, target) {
            tokens.drain(dropped);
        }
        common(&tokens, target)
    }

    #[test]
    fn what_stays_is_found_behind_what_goes() {
        let there: Vec<u32> = (0..100).collect();
        // Ten at the beginning stay, twenty go, the rest stays and something new follows.
        let target: Vec<u32> = (0..10).chain(30..100).chain(500..520).collect();
        assert_eq!(dropped(&there, &target), Some(10..30));
        assert_eq!(after(&there, &target), 80);
    }

    #[test]
    fn a_few_tokens_in_common_are_chance() {
        let there: Vec<u32> = (0..100).collect();
        let target: Vec<u32> = (0..10).chain(30..35).chain(500..600).collect();
        assert_eq!(dropped(&there, &target), None);
        assert_eq!(dropped(&there, &there), None);
        assert_eq!(dropped(&there, &there[..40]), None);
        assert_eq!(dropped(&[], &there), None);
    }
}
