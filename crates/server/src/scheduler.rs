//! Who is served when: a thread of its own computes several texts at once, token by token, and the others wait in a queue.
//!
//! In: [`Job`]s, tokens and what the answer must be like. Out: [`Event`]s, the answer's tokens as they are picked. Each step takes a
//! token of every answer that is being written, and with it pieces of the prompts that are being read, so short that nobody's
//! words falter. A beginning that a prompt shares with a text that is still there is not read again. What an answer says does not
//! depend on who else is served: that is the core's contract, and which text stands where changes no bit of it.

mod prefix;
mod shares;
mod slot;
mod worker;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use stonechat_core::Sampling;
use stonechat_runtime::{Constraint, Engine, Error, PromptCache};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use worker::Worker;

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

/// The queue is full, or nothing new is taken any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    /// When to try again.
    pub retry_after: Duration,
}

/// What the scheduler may take on. How many texts it computes at once is the engine's matter: as many as it has sequences.
#[derive(Clone, Debug, Default)]
pub struct SchedulerOptions {
    /// Jobs that may wait.
    pub queue: usize,
    /// Where beginnings of texts are kept, and found after a restart.
    pub cache: Option<PromptCache>,
    /// Who is told when the thread that computes has panicked.
    pub alarm: Alarm,
}

/// Rings when a thread that computes has panicked: what it had is lost, and whoever serves with it has to end. Clones are one alarm.
#[derive(Clone, Debug, Default)]
pub struct Alarm(Arc<watch::Sender<bool>>);

impl Alarm {
    pub(crate) fn ring(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has rung.
    pub fn has_rung(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it has.
    pub async fn rung(&self) {
        // The sender is here: it does not go away meanwhile.
        let _ = self.0.subscribe().wait_for(|rung| *rung).await;
    }
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
    /// That of no job: nothing comes.
    pub fn none() -> Self {
        Self(unbounded_channel().1)
    }

    /// The next event; nothing after the last.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The same for a thread that has nothing else to do.
    ///
    /// # Panics
    /// Inside an asynchronous runtime, which would stand still.
    pub fn wait(&mut self) -> Option<Event> {
        self.0.blocking_recv()
    }
}

/// A job, and where its events go.
type Request = (Job, UnboundedSender<Event>);

/// See the [module](self). Dropping it takes nothing new, and waits until all that was taken is done.
#[derive(Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and those who ask it share.
#[derive(Debug)]
struct Shared {
    queue: usize,
    state: Mutex<State>,
    work: Condvar,
    alarm: Alarm,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    slots: Vec<SlotState>,
    /// Jobs that have a slot.
    taken: usize,
    counters: Counters,
    /// Nothing new is taken.
    draining: bool,
    /// The thread has panicked.
    fallen: bool,
    /// The model's file is not whole any more: no job can be done.
    cut_short: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When a job is likely to find room, by what jobs took so far.
    fn retry_after(&self) -> Duration {
        const MOST: f64 = 120.0;
        let Counters { answered, prompt_seconds, generated_seconds, .. } = self.counters;
        let each = (prompt_seconds + generated_seconds) / answered.max(1) as f64;
        let seconds = each * (self.waiting.len() + 1) as f64 / self.slots.len().max(1) as f64;
        Duration::from_secs(seconds.clamp(1.0, MOST).ceil() as u64)
    }
}

impl Scheduler {
    /// Starts the thread that computes.
    pub fn start(engine: Engine, options: SchedulerOptions) -> Result<Self, Error> {
        let session = engine.session();
        let slot = SlotState { context: session.context(), ..SlotState::default() };
        let state = State { slots: vec![slot; session.sequences()], ..State::default() };
        let SchedulerOptions { queue, cache, alarm } = options;
        let shared = Arc::new(Shared { queue, state: Mutex::new(state), work: Condvar::new(), alarm });
        let worker = Worker::new(engine, cache, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("scheduler".into())
            .spawn(move || worker.work())
            .map_err(|source| Error::Threads { wanted: 1, started: 0, source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes a job on, unless the queue is full. Where the thread has panicked nothing comes of it.
    pub fn submit(&self, job: Job) -> Result<Answer, Busy> {
        let (sender, receiver) = unbounded_channel();
        let mut state = self.shared.state();
        if state.fallen {
            return Ok(Answer::none());
        }
        let open = state.waiting.len();
        state.waiting.retain(|(_, sender)| !sender.is_closed());
        state.counters.cancelled += (open - state.waiting.len()) as u64;
        let free = state.slots.len() - state.taken;
        if state.draining || state.waiting.len() >= self.shared.queue + free {
            state.counters.refused += 1;
            return Err(Busy { retry_after: state.retry_after() });
        }
        state.waiting.push_back((job, sender));
        drop(state);
        self.shared.work.notify_one();
        Ok(Answer(receiver))
    }

    /// Whether the model's file was cut short, so that no job can be done any more.
    pub fn is_cut_short(&self) -> bool {
        self.shared.state().cut_short
    }

    /// The places for texts.
    pub fn slots(&self) -> Vec<SlotState> {
        self.shared.state().slots.clone()
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
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
