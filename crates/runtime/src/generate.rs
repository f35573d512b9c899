//! Token after token: the loop around the model.
//!
//! In: an engine, a sampler, the tokens so far. Out: the next token. Where a [`Draft`] guesses what follows, several tokens
//! are computed in one batch, and the guesses stand as far as plain decoding would have picked them: since bits do
//! not depend on the batch, the text is exactly that of plain decoding, greedy or sampled. How many are guessed follows
//! from how many stood.
//!
//! A [`Constraint`] says which tokens may be picked. Where it leaves no choice nothing is computed: tokens that had to come
//! are fed together with the next one that has to be picked.

use std::collections::VecDeque;

use stonechat_core::Sampler;

use crate::constraint::Constraint;
use crate::draft::Draft;
use crate::{Engine, Error};

/// The most tokens that are guessed at once.
pub const MOST_DRAFTED: usize = 15;

/// Generates tokens.
pub struct Generator {
    draft: Option<Box<dyn Draft + Send>>,
    /// Guesses to make at most, and at present.
    most: usize,
    now: usize,
    /// Tokens to wait before guessing anew, after guesses that were wrong.
    pause: usize,
    guesses: Vec<u32>,
    /// Tokens that have been picked and not asked for yet.
    ready: VecDeque<u32>,
    counts: Counts,
    constraint: Option<Box<dyn Constraint>>,
    /// The tokens of the shortest answer that it allows.
    fewest: usize,
    /// Whether the constraint holds now.
    constrained: bool,
}

/// What guessing brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Tokens that were guessed.
    pub drafted: usize,
    /// Those among them that stood.
    pub accepted: usize,
}

/// Guesses that were all wrong are followed by so many tokens without one.
const PAUSE: usize = 4;
/// Tokens that were forced wait for the next one that has to be picked, at most so many of them.
const MOST_WAITING: usize = 16;
/// After so many tokens that would leave no room to complete an answer, the completion begins.
const TRIES: usize = 8;

impl Generator {
    /// Plain decoding.
    pub fn new() -> Self {
        Self {
            draft: None,
            most: 0,
            now: 0,
            pause: 0,
            guesses: Vec::new(),
            ready: VecDeque::new(),
            counts: Counts::default(),
            constraint: None,
            fewest: 0,
            constrained: false,
        }
    }

    /// Decoding with guesses, of at most `most` tokens (and at most [`MOST_DRAFTED`]) at once. The engine must have been
    /// loaded with room for the logits of one token more than these ([`Options::outputs`](crate::engine::Options)); with less
    /// room it guesses less.
    pub fn with_draft(draft: Box<dyn Draft + Send>, most: usize) -> Self {
        let most = most.min(MOST_DRAFTED);
        Self { draft: Some(draft), most, now: most.min(4), ..Self::new() }
    }

    /// What guessing has brought so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Lets answers be as `constraint` says, or as they come. It holds from [`begin_answer`](Self::begin_answer) on.
    pub fn set_constraint(&mut self, constraint: Option<Box<dyn Constraint>>) {
        self.constraint = constraint;
        self.fewest = self.constraint.as_mut().map_or(0, |constraint| constraint.fewest());
        self.constrained = false;
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

    /// Tokens that a thought may have before an answer, where both and the tokens `closing` between them are to find room for
    /// `most`: at most `think`. An error where there is no room even without a thought. Nothing changes where there is no
    /// constraint: only those promise an answer.
    pub fn thought(&self, think: Option<usize>, closing: usize, most: usize) -> Result<Option<usize>, Error> {
        if self.constraint.is_none() {
            return Ok(think);
        }
        let fewest = self.fewest + closing;
        let room = most.checked_sub(fewest).ok_or(Error::NoAnswerSoShort { fewest, most })?;
        Ok(Some(think.map_or(room, |think| think.min(room))))
    }

    /// Whether there is no constraint.
    pub const fn is_free(&self) -> bool {
        self.constraint.is_none()
    }

    /// Whether there is a constraint that does not hold yet.
    pub const fn awaits_answer(&self) -> bool {
        self.constraint.is_some() && !self.constrained
    }

    /// Whether a constraint holds.
    pub const fn is_constrained(&self) -> bool {
        self.constrained
    }

    /// Whether a constraint holds and the answer, with what was computed ahead, is what it asks for.
    pub fn is_complete(&mut self) -> bool {
        self.constrained && self.constraint.as_mut().is_some_and(|constraint| constraint.is_complete())
    }

    /// The token that follows `tokens`, added to them. The engine must have been fed the beginning of `tokens`: all, or all
    /// but the last, or all but those that a constraint forced since.
    ///
    /// # Panics
    /// If it has been fed more than `tokens`.
    pub fn next(
        &mut self,
        engine: &mut Engine,
        sampler: &Sampler<'_>,
        tokens: &mut Vec<u32>,
    ) -> Result<u32, Error> {
        if self.ready.is_empty() {
            self.compute(engine, sampler, tokens)?;
        }
        let token = self.ready.pop_front().expect("computing gives a token");
        tokens.push(token);
        Ok(token)
    }

    /// Forgets what was computed ahead: afterwards the engine has been fed `tokens`, or all but the last of them, or less where
    /// a constraint forced them.
    pub fn take_back(&mut self, engine: &mut Engine, tokens: &[u32]) {
        if let Some(constraint) = self.constraint.as_mut().filter(|_| self.constrained) {
            constraint.take_back(self.ready.len());
        }
        self.ready.clear();
        engine.wind_back(tokens.len());
    }

    /// Adds tokens that the model did not pick, and feeds all.
    pub fn force(&mut self, engine: &mut Engine, tokens: &mut Vec<u32>, forced: &[u32]) -> Result<(), Error> {
        self.take_back(engine, tokens);
        tokens.extend(forced);
        let fed = engine.position();
        engine.feed(&tokens[fed..])
    }

    /// Picks at least one token.
    fn compute(
        &mut self,
        engine: &mut Engine,
        sampler: &Sampler<'_>,
        tokens: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let (fed, written) = (engine.position(), tokens.len());
        assert!(fed <= written, "a beginning of the tokens has been fed");
        if let Some(constraint) = self.constraint.as_mut().filter(|_| self.constrained)
            && let Some(token) = constraint.forced()?
        {
            self.ready.push_back(token);
            // A long text that has to come is fed as it comes, so that nobody waits for all of it at once.
            if written - fed >= MOST_WAITING {
                engine.feed(&tokens[fed..])?;
            }
            return Ok(());
        }
        if fed == written {
            let token = self.choose(engine, 0, sampler, tokens)?;
            self.ready.push_back(token);
            return Ok(());
        }
        self.guess(engine, sampler, tokens)?;
        let drafted = self.guesses.len();
        tokens.extend(&self.guesses);
        // The logits after each guess are wanted, too.
        let computed = engine.feed_each(&tokens[fed..], written - fed - 1, &mut |_, _| ());
        tokens.truncate(written);
        computed?;
        let mut accepted = 0;
        let chosen = loop {
            let token = match self.choose(engine, drafted - accepted, sampler, tokens) {
                Ok(token) => token,
                Err(error) => break Err(error),
            };
            self.ready.push_back(token);
            if self.guesses.get(accepted) != Some(&token) {
                break Ok(());
            }
            tokens.push(token);
            accepted += 1;
        };
        tokens.truncate(written);
        engine.wind_back(written + accepted);
        self.learn(drafted, accepted);
        chosen
    }

    /// Chooses the token that follows the one `back` places before the last that was fed, `tokens` being those up to it.
    fn choose(
        &mut self,
        engine: &mut Engine,
        back: usize,
        sampler: &Sampler<'_>,
        tokens: &[u32],
    ) -> Result<u32, Error> {
        let Some(constraint) = self.constraint.as_mut().filter(|_| self.constrained) else {
            return Ok(engine.with_session(|session| session.pick_back(back, sampler, tokens)));
        };
        if let Some(token) = constraint.forced()? {
            return Ok(token);
        }
        let limit = sampler.mirostat_limit();
        for _ in 0..TRIES {
            let Some(allowed) = constraint.allowed()? else { break };
            let token =
                engine.with_session(|session| session.pick_back_among(back, Some(allowed), sampler, tokens));
            if constraint.choose(token)? {
                return Ok(token);
            }
            sampler.set_mirostat_limit(limit);
        }
        constraint.shortest()
    }

    /// Fills `guesses`, with as many as seem worth it.
    fn guess(&mut self, engine: &Engine, sampler: &Sampler<'_>, tokens: &[u32]) -> Result<(), Error> {
        self.guesses.clear();
        // Guesses that fall are to be forgotten.
        let Some(draft) = self.draft.as_mut().filter(|_| engine.can_wind_back()) else { return Ok(()) };
        if self.pause > 0 {
            self.pause -= 1;
            return Ok(());
        }
        let limits = engine.plan().limits();
        let room = engine.session().context().saturating_sub(tokens.len());
        // All logits that are wanted are computed together, with the last of the tokens that were not fed yet.
        let waiting = tokens.len() - engine.position();
        let most = self.now.min(limits.outputs - 1).min(limits.batch.saturating_sub(waiting)).min(room);
        if most == 0 {
            return Ok(());
        }
        draft.draft(tokens, most, sampler, &mut self.guesses)?;
        self.guesses.truncate(most);
        if let Some(constraint) = self.constraint.as_mut().filter(|_| self.constrained) {
            let possible = constraint.possible(&self.guesses)?;
            self.guesses.truncate(possible);
        }
        Ok(())
    }

    /// More guesses where all stood, fewer where some fell, none for a while where all did.
    fn learn(&mut self, drafted: usize, accepted: usize) {
        if drafted == 0 {
            return;
        }
        self.counts.drafted += drafted;
        self.counts.accepted += accepted;
        if accepted == drafted {
            self.now = (self.now * 2).min(self.most);
        } else {
            self.now = (accepted + 1).max(2).min(self.most);
            if accepted == 0 {
                self.pause = PAUSE;
            }
        }
    }
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator")
            .field("most", &self.most)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
