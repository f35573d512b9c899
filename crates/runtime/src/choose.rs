//! Choosing the next token: the one that a sampler picks, of those that a constraint allows.
//!
//! In: a session that was fed the tokens so far, and a sampler. Out: a token. All who generate choose here: the loop of one
//! text, and whoever computes several.

use stonechat_core::{Sampler, Session};

use crate::Error;
use crate::constraint::Constraint;

/// After so many tokens that would leave no room to complete an answer, the completion begins.
const TRIES: usize = 8;

/// Chooses tokens; by default whatever is picked.
#[derive(Debug, Default)]
pub struct Chooser {
    constraint: Option<Box<dyn Constraint>>,
    /// The tokens of the shortest answer that it allows.
    fewest: usize,
    /// Whether the constraint holds now.
    constrained: bool,
}

impl Chooser {
    /// Chooses what `constraint` allows, if there is one, from [`begin_answer`](Self::begin_answer) on.
    pub fn new(mut constraint: Option<Box<dyn Constraint>>) -> Self {
        let fewest = constraint.as_mut().map_or(0, |constraint| constraint.fewest());
        Self { constraint, fewest, constrained: false }
    }

    /// Lets the constraint hold from the next token on, for an answer of at most `most` tokens. An error where no answer that
    /// it allows is so short. Nothing happens where there is no constraint.
    pub fn begin_answer(&mut self, most: usize) -> Result<(), Error> {
        if let Some(constraint) = &mut self.constraint {
            constraint.begin(most)?;
            self.constrained = true;
        }
        Ok(())
    }

    /// Lets the constraint hold no longer.
    pub fn end_answer(&mut self) {
        self.constrained = false;
    }

    /// The tokens of the shortest answer that the constraint allows; 0 where there is none.
    pub const fn fewest(&self) -> usize {
        self.fewest
    }

    /// Whether there is no constraint.
    pub const fn is_free(&self) -> bool {
        self.constraint.is_none()
    }

    /// Whether a constraint holds.
    pub const fn is_constrained(&self) -> bool {
        self.constrained
    }

    /// Whether a constraint holds and what was chosen is what it asks for.
    pub fn is_complete(&mut self) -> bool {
        self.holding().is_some_and(|constraint| constraint.is_complete())
    }

    /// Chooses the next token where there is no choice: nothing has to be computed for it.
    pub fn forced(&mut self) -> Result<Option<u32>, Error> {
        self.holding().map_or(Ok(None), |constraint| constraint.forced())
    }

    /// Chooses the token that follows the one `back` places before the last that the session was fed, `tokens` being those up to
    /// it.
    pub fn choose(
        &mut self,
        session: &mut Session<'_>,
        back: usize,
        sampler: &Sampler<'_>,
        tokens: &[u32],
    ) -> Result<u32, Error> {
        let Some(constraint) = self.holding() else {
            return Ok(session.pick_back(back, sampler, tokens));
        };
        if let Some(token) = constraint.forced()? {
            return Ok(token);
        }
        let limit = sampler.mirostat_limit();
        for _ in 0..TRIES {
            let Some(allowed) = constraint.allowed()? else { break };
            let token = session.pick_back_among(back, Some(allowed), sampler, tokens);
            if constraint.choose(token)? {
                return Ok(token);
            }
            sampler.set_mirostat_limit(limit);
        }
        constraint.shortest()
    }

    /// How many of these could be chosen one after another.
    pub fn possible(&mut self, tokens: &[u32]) -> Result<usize, Error> {
        self.holding().map_or(Ok(tokens.len()), |constraint| constraint.possible(tokens))
    }

    /// Forgets the last tokens that were chosen, so many of them.
    pub fn take_back(&mut self, tokens: usize) {
        if let Some(constraint) = self.holding() {
            constraint.take_back(tokens);
        }
    }

    /// The constraint that holds.
    fn holding(&mut self) -> Option<&mut Box<dyn Constraint>> {
        self.constraint.as_mut().filter(|_| self.constrained)
    }
}
