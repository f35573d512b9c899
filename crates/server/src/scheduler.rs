//! Who is served when: texts wait in a queue, and are computed one after another on a thread of its own.
//!
//! In: [`Job`]s, tokens and what the answer must be like. Out: [`Event`]s, the answer's tokens as they are picked. What an answer
//! says does not depend on who else is served. Of the prompt, the beginning that the last text shared with it is not read again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stonechat_core::sampler::{Candidate, Probabilities, Sampling};
use stonechat_core::{Sampler, sampler};
use stonechat_runtime::pace::Pace;
use stonechat_runtime::{Constraint, Engine, Error, Generator};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is asked of the model: tokens in, tokens out. Text, templates, stop texts and tools are others' business.
#[derive(Debug)]
pub struct Job {
    /// The prompt, with the token that begins a text; not empty.
    pub tokens: Vec<u32>,
    /// Tokens of the answer at most; the context may end it sooner.
    pub most: usize,
    /// How tokens are picked.
    pub sampling: Sampling,
    /// Added to the logits of tokens.
    pub biases: Vec<(u32, f32)>,
    /// What the answer must be like, from its first token on.
    pub constraint: Option<Box<dyn Constraint>>,
    /// How many of the most likely tokens are told with each; none where not even its own probability is wanted.
    pub logprobs: Option<usize>,
}

/// What comes of a job.
#[derive(Debug)]
pub enum Event {
    /// It has begun, or a piece of its prompt has been read.
    Reading {
        /// Tokens of the prompt that did not have to be read.
        known: usize,
        /// Tokens that were read.
        read: usize,
        /// Tokens of the prompt.
        of: usize,
    },
    /// A token was picked that does not end the answer.
    Token {
        /// Which.
        id: u32,
        /// How likely it was, where that was asked.
        logprob: Option<LogProb>,
    },
    /// The answer is whole. Nothing follows.
    End {
        /// Why it ended.
        why: End,
        /// What it took.
        usage: Usage,
    },
    /// The job could not be done. Nothing follows.
    Failed(Error),
}

/// How likely the model held a token, and others in its place.
#[derive(Clone, PartialEq, Debug)]
pub struct LogProb {
    /// The log of its probability.
    pub logprob: f32,
    /// The most likely tokens with the logs of their probabilities.
    pub most_likely: Vec<(u32, f32)>,
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The model said so.
    EndOfText,
    /// It is as long as it may be.
    Length,
    /// The context is full.
    ContextFull,
}

/// What an answer took.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that did not have to be read.
    pub known_tokens: usize,
    /// Tokens of the answer.
    pub generated_tokens: usize,
    /// Seconds of reading.
    pub prompt_seconds: f64,
    /// Seconds of writing.
    pub generated_seconds: f64,
}

/// The queue is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    /// When to try again.
    pub retry_after: Duration,
}

/// What the scheduler may take on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SchedulerOptions {
    /// Jobs that may wait.
    pub queue: usize,
}

/// What is done with a text at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Activity {
    /// Nothing.
    #[default]
    Idle,
    /// The prompt is being read.
    Reading,
    /// The answer is being written.
    Writing,
}

/// A place for a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlotState {
    /// What is done there.
    pub activity: Activity,
    /// Tokens of its text.
    pub tokens: usize,
    /// Tokens that find room.
    pub context: usize,
}

/// What was done since the start.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Counters {
    /// Jobs that wait now.
    pub waiting: usize,
    /// Answers that came to their end.
    pub answered: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs whose answer nobody wanted any more.
    pub cancelled: u64,
    /// Jobs that found the queue full.
    pub refused: u64,
    /// Tokens of prompts that were read.
    pub prompt_tokens: u64,
    /// Tokens of prompts that did not have to be read.
    pub known_tokens: u64,
    /// Tokens that were written.
    pub generated_tokens: u64,
    /// Seconds of reading.
    pub prompt_seconds: f64,
    /// Seconds of writing.
    pub generated_seconds: f64,
}

/// The receiving end of a job. Dropped, it ends the job within a token.
#[derive(Debug)]
pub struct Answer(UnboundedReceiver<Event>);

impl Answer {
    /// The next event; nothing after the last.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    options: SchedulerOptions,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Job, UnboundedSender<Event>)>,
    slot: SlotState,
    counters: Counters,
    /// Nothing new is taken.
    draining: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scheduler {
    /// Starts the thread that computes.
    pub fn start(engine: Engine, options: SchedulerOptions) -> Result<Self, Error> {
        let slot = SlotState { context: engine.session().context(), ..SlotState::default() };
        let state = Mutex::new(State { slot, ..State::default() });
        let shared = Arc::new(Shared { options, state, work: Condvar::new() });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("scheduler".into())
            .spawn(move || Worker { engine, tokens: Vec::new(), pace: Pace::default(), shared: own }.work())
            .map_err(|source| Error::Threads { wanted: 1, started: 0, source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes a job on, unless the queue is full.
    pub fn submit(&self, job: Job) -> Result<Answer, Busy> {
        let (sender, receiver) = unbounded_channel();
        let mut state = self.shared.state();
        let free = usize::from(state.slot.activity == Activity::Idle);
        state.waiting.retain(|(_, sender)| !sender.is_closed());
        if state.draining || state.waiting.len() >= self.shared.options.queue + free {
            state.counters.refused += 1;
            return Err(Busy { retry_after: Duration::from_secs(1 + state.waiting.len() as u64) });
        }
        state.waiting.push_back((job, sender));
        drop(state);
        self.shared.work.notify_one();
        Ok(Answer(receiver))
    }

    /// The places for texts.
    pub fn slots(&self) -> Vec<SlotState> {
        vec![self.shared.state().slot]
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        let state = self.shared.state();
        Counters { waiting: state.waiting.len(), ..state.counters }
    }

    /// Takes nothing new, and waits until all that was taken is done.
    pub fn drain(self) {
        drop(self);
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.state().draining = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread that computes.
struct Worker {
    engine: Engine,
    /// The tokens that the engine has been fed.
    tokens: Vec<u32>,
    pace: Pace,
    shared: Arc<Shared>,
}

/// Why a job ended before its answer did.
enum Cut {
    Cancelled,
    Failed(Error),
}

impl From<Error> for Cut {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Worker {
    fn work(mut self) {
        while let Some((job, sender)) = self.next_job() {
            let mut usage = Usage { prompt_tokens: job.tokens.len(), ..Usage::default() };
            let result = self.answer(job, &sender, &mut usage);
            let mut state = self.shared.state();
            state.slot = SlotState { tokens: self.tokens.len(), activity: Activity::Idle, ..state.slot };
            let counters = &mut state.counters;
            counters.prompt_tokens += (usage.prompt_tokens - usage.known_tokens) as u64;
            counters.known_tokens += usage.known_tokens as u64;
            counters.generated_tokens += usage.generated_tokens as u64;
            counters.prompt_seconds += usage.prompt_seconds;
            counters.generated_seconds += usage.generated_seconds;
            let (count, event) = match result {
                Ok(why) => (&mut counters.answered, Some(Event::End { why, usage })),
                Err(Cut::Failed(error)) => (&mut counters.failed, Some(Event::Failed(error))),
                Err(Cut::Cancelled) => (&mut counters.cancelled, None),
            };
            *count += 1;
            drop(state);
            if let Some(event) = event {
                let _ = sender.send(event);
            }
        }
    }

    fn next_job(&self) -> Option<(Job, UnboundedSender<Event>)> {
        let mut state = self.shared.state();
        loop {
            if let Some((job, sender)) = state.waiting.pop_front() {
                if sender.is_closed() {
                    state.counters.cancelled += 1;
                    continue;
                }
                state.slot.activity = Activity::Reading;
                return Some((job, sender));
            }
            if state.draining {
                return None;
            }
            state = self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn note(&self, activity: Activity, tokens: usize) {
        let mut state = self.shared.state();
        state.slot = SlotState { activity, tokens, ..state.slot };
    }

    /// Reads the prompt and writes the answer.
    fn answer(&mut self, job: Job, sender: &UnboundedSender<Event>, usage: &mut Usage) -> Result<End, Cut> {
        let context = self.engine.session().context();
        let begun = Instant::now();
        // The last token's logits are wanted even where all of them are known.
        let shared = self.tokens.iter().zip(&job.tokens).take_while(|(a, b)| a == b).count();
        let known = self.engine.wind_back(shared.min(job.tokens.len().saturating_sub(1)));
        self.tokens.truncate(known);
        usage.known_tokens = known;
        loop {
            let read = self.tokens.len() - known;
            self.note(Activity::Reading, self.tokens.len());
            usage.prompt_seconds = begun.elapsed().as_secs_f64();
            sender.send(Event::Reading { known, read, of: job.tokens.len() }).map_err(|_| Cut::Cancelled)?;
            let rest = &job.tokens[self.tokens.len()..];
            if rest.is_empty() && !job.tokens.is_empty() {
                break;
            }
            let most = self.engine.plan().limits().batch.min(rest.len());
            let piece = &rest[..self.pace.next(most).min(rest.len())];
            let start = Instant::now();
            if let Err(error) = self.engine.feed(piece) {
                self.tokens.truncate(self.engine.position());
                return Err(error.into());
            }
            self.pace.note(piece.len(), start.elapsed());
            self.tokens.extend(piece);
        }
        let result = self.write(job, sender, usage, context);
        // What was picked and not fed is not known.
        self.tokens.truncate(self.engine.position());
        result
    }

    fn write(
        &mut self,
        job: Job,
        sender: &UnboundedSender<Event>,
        usage: &mut Usage,
        context: usize,
    ) -> Result<End, Cut> {
        let begun = Instant::now();
        let at = |engine: &Engine, error: stonechat_core::Error| engine.failed(error);
        let sampler = Sampler::new(job.sampling).map_err(|error| at(&self.engine, error))?;
        let sampler = sampler.with_biases(&job.biases).map_err(|error| at(&self.engine, error))?;
        let mut memory: Vec<Candidate> = match job.logprobs {
            Some(_) => vec![
                bytemuck::Zeroable::zeroed();
                sampler::memory(self.engine.logits().len(), 0).unwrap_or(0)
            ],
            None => Vec::new(),
        };
        let mut generator = Generator::new();
        let prompt = self.tokens.len();
        let most = job.most.min(context - prompt);
        if job.constraint.is_some() {
            generator.set_constraint(job.constraint);
            generator.begin_answer(most)?;
        }
        loop {
            usage.generated_seconds = begun.elapsed().as_secs_f64();
            usage.generated_tokens = self.tokens.len() - prompt;
            self.note(Activity::Writing, self.tokens.len());
            if usage.generated_tokens == most {
                return Ok(match () {
                    () if generator.is_complete() => End::EndOfText,
                    () if most == job.most => End::Length,
                    () => End::ContextFull,
                });
            }
            let id = generator.next(&mut self.engine, &sampler, &mut self.tokens)?;
            if self.engine.vocabulary().is_end_of_generation(id) {
                self.tokens.pop();
                return Ok(End::EndOfText);
            }
            let logprob = job.logprobs.map(|most| {
                let said = Probabilities::of(self.engine.logits(), &mut memory);
                let logprob = said.log(id);
                LogProb { logprob, most_likely: said.most_likely(most, &mut memory).collect() }
            });
            sender.send(Event::Token { id, logprob }).map_err(|_| Cut::Cancelled)?;
        }
    }
}
