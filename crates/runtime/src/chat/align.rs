//! From the tokens that the engine has been fed to those that it should have been fed, by computing as little as possible.
//!
//! What both begin with stays. Where turns have just given way, what follows them moves down, as llama.cpp's context shift
//! does it: it remembers what it saw of them. In all other cases the engine's state afterwards is exactly what feeding the
//! tokens would give: a conversation that is taken back, or told something else, must not depend on what was said in
//! between.

use std::ops::Range;

use super::Chat;
use crate::Error;

/// As many tokens that agree are no chance.
const SAME: usize = 8;

impl Chat<'_> {
    /// Makes the engine's tokens the beginning of `target`, as long a one as can be had without computing. With `shift`
    /// they are those of `target` with more in between, which has just given way.
    pub(super) fn align(&mut self, target: &[u32], shift: bool) -> Result<(), Error> {
        self.drop_ahead();
        if shift
            && self.engine.session().can_drop_positions()
            && let Some(dropped) = dropped(&self.tokens, target)
        {
            let failed = self.engine.with_session(|session| session.drop_positions(dropped.clone()).err());
            if let Some(error) = failed {
                self.tokens.truncate(dropped.start);
                return Err(self.engine.failed(error));
            }
            self.shifted = Some(self.shifted.map_or(dropped.start, |at| at.min(dropped.start)));
            self.tokens.drain(dropped);
        }
        let same = Some(common(&self.tokens, target)).filter(|same| *same >= SAME).unwrap_or(0);
        self.wind_back(same);
        if self.tokens.is_empty()
            && let Some(cache) = &self.options.cache
        {
            let most = target.len() - 1;
            let known = self.engine.with_session(|session| cache.restore(session, &target[..most]));
            self.tokens.extend(&target[..known]);
        }
        Ok(())
    }

    /// Forgets what the engine computed ahead, and what it has not been fed.
    pub(super) fn drop_ahead(&mut self) {
        self.generator.take_back(&mut self.engine, &self.tokens);
        self.wind_back(self.engine.position());
    }

    /// Forgets all tokens from `position` on, or more where the model cannot do that.
    pub(super) fn wind_back(&mut self, position: usize) {
        let position = self.engine.wind_back(position.min(self.tokens.len()));
        self.tokens.truncate(position);
        self.shifted = self.shifted.filter(|at| *at < position);
    }

    /// Forgets all tokens.
    pub(super) fn forget_tokens(&mut self) {
        self.drop_ahead();
        self.wind_back(0);
        self.begins = None;
    }

    /// The conversation is no longer what was fed: what remembers turns that gave way is forgotten, and nothing moves
    /// down.
    pub(super) fn part_ways(&mut self) {
        self.drop_ahead();
        if let Some(shifted) = self.shifted {
            self.wind_back(shifted);
        }
        self.begins = None;
    }
}

/// How many tokens two texts begin with alike.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
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
