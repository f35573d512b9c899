//! A place for a text: a sequence of the engine, and the job that is being done there.
//!
//! In: a job. Out: its events. Which tokens are fed, and when, is the worker's business.

use std::time::Instant;

use stonechat_core::sampler::{Candidate, Probabilities};
use stonechat_core::{Error as CoreError, Sampler, Sampling};
use stonechat_runtime::generate::MOST_WAITING;
use stonechat_runtime::{Chooser, Engine, Error};
use tokio::sync::mpsc::UnboundedSender;

use super::{Activity, End, Event, Job, LogProb, SlotState, Usage};

/// A place for a text. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The text. The sequence of the slot's number was fed the first of these.
    pub tokens: Vec<u32>,
    /// So many of them.
    pub fed: usize,
    /// Up to so many they are fed alone, because a batch that would have fed them failed.
    pub alone: usize,
    /// When it was used last.
    pub used: u64,
    pub work: Option<Work>,
}

/// A job that is being done.
#[derive(Debug)]
pub(super) struct Work {
    sender: UnboundedSender<Event>,
    sampling: Sampling,
    biases: Vec<(u32, f32)>,
    /// Mirostat's limit, which is all that a sampler remembers.
    limit: f32,
    chooser: Chooser,
    logprobs: Option<usize>,
    /// Tokens of the answer at most, and how it ends then.
    most: usize,
    full: End,
    /// Which job of all it is.
    pub number: u64,
    begun: Instant,
    /// When its prompt had been read.
    written_since: Option<Instant>,
    pub usage: Usage,
}

impl Work {
    /// Begins a job. What is wrong with it is found here, before it is computed together with others.
    pub fn new(
        job: &mut Job,
        sender: UnboundedSender<Event>,
        engine: &Engine,
        number: u64,
    ) -> Result<Self, (UnboundedSender<Event>, Error)> {
        match Self::check(job, engine) {
            Ok((sampler, chooser, most)) => Ok(Self {
                limit: sampler.mirostat_limit(),
                sampling: job.sampling,
                biases: std::mem::take(&mut job.biases),
                chooser,
                logprobs: job.logprobs,
                most,
                full: if most == job.most { End::Length } else { End::ContextFull },
                sender,
                number,
                begun: Instant::now(),
                written_since: None,
                usage: Usage { prompt_tokens: job.tokens.len(), ..Usage::default() },
            }),
            Err(error) => Err((sender, error)),
        }
    }

    fn check(job: &mut Job, engine: &Engine) -> Result<(Sampler<'static>, Chooser, usize), Error> {
        let (context, known) = (engine.session().context(), engine.model().hyperparameters().vocabulary);
        let tokens = job.tokens.len();
        let wrong = if tokens == 0 {
            Some(CoreError::NoTokens)
        } else if tokens > context {
            Some(CoreError::ContextFull { position: 0, tokens, context })
        } else {
            let stranger = job.tokens.iter().find(|token| **token as usize >= known);
            stranger.map(|token| CoreError::TokenOutOfRange { token: *token, tokens: known })
        };
        if let Some(wrong) = wrong {
            return Err(engine.failed(wrong));
        }
        let sampler = Sampler::new(job.sampling).map_err(|error| engine.failed(error))?;
        sampler.clone().with_biases(&job.biases).map_err(|error| engine.failed(error))?;
        let most = job.most.min(context - tokens);
        let mut chooser = Chooser::new(job.constraint.take());
        chooser.begin_answer(most)?;
        Ok((sampler, chooser, most))
    }

    /// Whether nobody waits for what comes of it.
    pub fn is_unwanted(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether the answer is being written.
    pub const fn is_writing(&self) -> bool {
        self.written_since.is_some()
    }

    /// Tells an event. That nobody may hear it is noticed before the next step.
    fn tell(&self, event: Event) {
        let _ = self.sender.send(event);
    }

    /// Ends it.
    pub fn end(mut self, outcome: Result<End, Error>) -> Usage {
        self.count_time();
        self.tell(match outcome {
            Ok(why) => Event::End { why, usage: self.usage },
            Err(error) => Event::Failed(error),
        });
        self.usage
    }

    fn count_time(&mut self) {
        match self.written_since {
            None => self.usage.prompt_seconds = self.begun.elapsed().as_secs_f64(),
            Some(since) => self.usage.generated_seconds = since.elapsed().as_secs_f64(),
        }
    }
}

impl Slot {
    /// How many tokens wait to be fed.
    pub const fn waiting(&self) -> usize {
        self.tokens.len() - self.fed
    }

    /// The tokens that were fed.
    pub fn known(&self) -> &[u32] {
        &self.tokens[..self.fed]
    }

    /// What others are told of it.
    pub fn state(&self, context: usize) -> SlotState {
        let activity = match &self.work {
            None => Activity::Idle,
            Some(work) if work.is_writing() => Activity::Writing,
            Some(_) => Activity::Reading,
        };
        SlotState { activity, tokens: self.tokens.len(), context }
    }

    /// Tells how much of the prompt has been read.
    pub fn tell_reading(&self) {
        if let Some(work) = self.work.as_ref().filter(|work| !work.is_writing()) {
            let (known, of) = (work.usage.known_tokens, work.usage.prompt_tokens);
            work.tell(Event::Reading { known, read: self.fed.min(of).saturating_sub(known), of });
        }
    }

    /// All tokens have been fed, and the session has the sequence at hand: the next token is chosen, and those that must follow
    /// it. Gives how the answer ended, if it did, and how many tokens were written.
    pub fn write(
        &mut self,
        engine: &mut Engine,
        memory: &mut Vec<Candidate>,
    ) -> (usize, Result<Option<End>, Error>) {
        let Self { tokens, work, fed, .. } = self;
        let Some(work) = work else { return (0, Ok(None)) };
        if work.written_since.is_none() {
            work.count_time();
            work.written_since = Some(Instant::now());
        }
        let before = work.usage.generated_tokens;
        let ended = work.choose_some(engine, tokens, *fed, memory);
        (work.usage.generated_tokens - before, ended)
    }
}

impl Work {
    fn choose_some(
        &mut self,
        engine: &mut Engine,
        tokens: &mut Vec<u32>,
        fed: usize,
        memory: &mut Vec<Candidate>,
    ) -> Result<Option<End>, Error> {
        let (sampling, biases) = (self.sampling, std::mem::take(&mut self.biases));
        let at = |error: CoreError| engine.failed(error);
        let sampler = Sampler::new(sampling).map_err(at)?.with_biases(&biases).map_err(at)?;
        sampler.set_mirostat_limit(self.limit);
        let ended = loop {
            if self.usage.generated_tokens == self.most {
                break Ok(Some(if self.chooser.is_complete() { End::EndOfText } else { self.full }));
            }
            let chosen = if tokens.len() == fed {
                engine.with_session(|session| self.chooser.choose(session, 0, &sampler, tokens)).map(Some)
            } else {
                self.chooser.forced()
            };
            let id = match chosen {
                Ok(Some(id)) => id,
                Ok(None) => break Ok(None),
                Err(error) => break Err(error),
            };
            if engine.vocabulary().is_end_of_generation(id) {
                break Ok(Some(End::EndOfText));
            }
            let logprob = self.logprobs.map(|most| {
                memory.resize(engine.logits().len(), bytemuck::Zeroable::zeroed());
                let said = Probabilities::of(engine.logits(), memory);
                let logprob = said.log(id);
                LogProb { logprob, most_likely: said.most_likely(most, memory).collect() }
            });
            tokens.push(id);
            self.usage.generated_tokens += 1;
            self.tell(Event::Token { id, logprob });
            // How likely a token was is only known where it was computed.
            if self.logprobs.is_some() || tokens.len() - fed >= MOST_WAITING {
                break Ok(None);
            }
        };
        self.limit = sampler.mirostat_limit();
        self.biases = biases;
        ended
    }
}
