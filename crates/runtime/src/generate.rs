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

use crate::choose::Chooser;
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
    chooser: Chooser,
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
pub const MOST_WAITING: usize = 16;

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
            chooser: Chooser::default(),
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
        self.chooser = Chooser::new(constraint);
    }

    /// Lets the constraint hold from the next token on, for an answer of at most `most` tokens. An error where no answer that
    /// it allows is so short. Nothing happens where there is no constraint.
    pub fn begin_answer(&mut self, most: usize) -> Result<(), Error> {
        self.chooser.begin_answer(most)
    }

    /// Lets the constraint hold no longer.
    pub fn end_answer(&mut self) {
        self.chooser.end_answer();
    }

    /// The tokens of the shortest answer that the constraint allows; 0 where there is none.
    pub const fn fewest(&self) -> usize {
        self.chooser.fewest()
    }

    /// Tokens that a thought may have before an answer, where both and the tokens `closing` between them are to find room for
    /// `most`: at most `think`. An error where there is no room even without a thought. Nothing changes where there is no
    /// constraint: only those promise an answer.
    pub fn thought(&self, think: Option<usize>, closing: usize, most: usize) -> Result<Option<usize>, Error> {
        if self.is_free() {
            return Ok(think);
        }
        let fewest = self.fewest() + closing;
        let room = most.checked_sub(fewest).ok_or(Error::NoAnswerSoShort { fewest, most })?;
        Ok(Some(think.map_or(room, |think| think.min(room))))
    }

    /// Whether there is no constraint.
    pub const fn is_free(&self) -> bool {
        self.chooser.is_free()
    }

    /// Whether there is a constraint that does not hold yet.
    pub const fn awaits_answer(&self) -> bool {
        !self.chooser.is_free() && !self.chooser.is_constrained()
    }

    /// Whether a constraint holds.
    pub const fn is_constrained(&self) -> bool {
        self.chooser.is_constrained()
    }

    /// Whether a constraint holds and the answer, with what was computed ahead, is what it asks for.
    pub fn is_complete(&mut self) -> bool {
        self.chooser.is_complete()
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
        self.chooser.take_back(self.ready.len());
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
        if let Some(token) = self.chooser.forced()? {
            self.ready.push_back(token);
            // A long text that has to come is fed as it comes, so that nobody waits for all of it at once.
            if written - fed >= MOST_WAITING {
                engine.feed(&tokens[fed..])?;
            }
            return Ok(());
        }
        if fed == written {
            let token = engine.with_session(|session| self.chooser.choose(session, 0, sampler, tokens))?;
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
            let back = drafted - accepted;
            let chosen = engine.with_session(|session| self.chooser.choose(session, back, sampler, tokens));
            let token = match chosen {
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
        let possible = self.chooser.possible(&self.guesses)?;
        self.guesses.truncate(possible);
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
