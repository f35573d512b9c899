//! Token after token: the loop around the model.
//!
//! In: an engine, a sampler, the tokens so far. Out: the next token. Where a [`Draft`] guesses what follows, several tokens
//! are computed in one batch, and the guesses stand as far as plain decoding would have picked them: since bits do
//! not depend on the batch, the text is exactly that of plain decoding, greedy or sampled. How many are guessed follows
//! from how many stood.

use std::collections::VecDeque;

use stonechat_core::Sampler;

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

    /// The token that follows `tokens`, added to them. All but the last of `tokens` must have been fed to the engine, or all.
    ///
    /// # Panics
    /// If others have been fed.
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

    /// Forgets what was computed ahead: afterwards the engine has been fed `tokens`, or all but the last of them.
    pub fn take_back(&mut self, engine: &mut Engine, tokens: &[u32]) {
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
        let fed = engine.position();
        assert!(tokens.len() <= fed + 1 && fed <= tokens.len(), "all tokens but the last have been fed");
        if fed == tokens.len() {
            self.ready.push_back(engine.pick(sampler, tokens));
            return Ok(());
        }
        self.guess(engine, sampler, tokens)?;
        let (written, drafted) = (tokens.len(), self.guesses.len());
        tokens.extend(&self.guesses);
        // The logits after each guess are wanted, too.
        let fed = engine.feed_each(&tokens[written - 1..], 0, &mut |_, _| ());
        tokens.truncate(written);
        fed?;
        let mut accepted = 0;
        loop {
            let token = engine.with_session(|session| session.pick_back(drafted - accepted, sampler, tokens));
            self.ready.push_back(token);
            if self.guesses.get(accepted) != Some(&token) {
                break;
            }
            tokens.push(token);
            accepted += 1;
        }
        tokens.truncate(written);
        engine.wind_back(written + accepted);
        self.learn(drafted, accepted);
        Ok(())
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
        let most = self.now.min(limits.outputs.min(limits.batch) - 1).min(room);
        if most == 0 {
            return Ok(());
        }
        draft.draft(tokens, most, sampler, &mut self.guesses)?;
        self.guesses.truncate(most);
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
