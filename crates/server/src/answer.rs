//! An answer as it comes.
//!
//! In: a [`Question`], and the tokens that the scheduler hands out. Out: [`News`]: thoughts, words and calls, as soon as it is certain
//! what they are, and at the end why it ended and what it took. Dropped, it ends the work within a token.
//!
//! Where a thought has to be cut short, or a grammar begins behind a thought, a second job goes on where the first one stood:
//! the scheduler knows its beginning, so that nothing is read twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::Stream;
use serde_json::{Map, Value};
use stonechat_core::vocabulary::Encode;
use stonechat_runtime::speech::{Manner, Speech, Spoken};
use stonechat_runtime::stop::Stop;
use stonechat_runtime::{Constraint, Grammar, ToolCall};

use crate::error::ApiError;
use crate::ids;
use crate::model::Served;
use crate::question::Question;
use crate::scheduler::{self, End, Event, Job, LogProb, Usage};

/// Between two tries to go on where the queue is full: others' answers end meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// What comes of a question.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// A piece of the prompt has been read.
    Reading {
        /// Tokens that did not have to be read.
        known: usize,
        /// Tokens that were read.
        read: usize,
        /// Tokens of the prompt.
        of: usize,
    },
    /// The next words of a thought.
    Thought(String),
    /// The next words of the answer.
    Text(String),
    /// A tool that the model wants to be called.
    Call(ToolCall),
    /// Tokens of the answer, where their probabilities were asked for. They may come before or behind their words.
    Tokens(Vec<(u32, LogProb)>),
    /// The answer is whole: nothing follows.
    Finish(Finish),
}

/// Why an answer ended, and what it took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Finish {
    /// Why.
    pub reason: Reason,
    /// What it took.
    pub usage: Usage,
    /// Tokens of thoughts.
    pub thought_tokens: usize,
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The model said so, or a stop text came.
    Stop,
    /// It is as long as it may be.
    Length,
    /// The model waits for what the tools give that it called.
    Calls,
}

impl Reason {
    /// By OpenAI's names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Calls => "tool_calls",
        }
    }
}

/// An answer as it comes. See the [module](self).
pub struct Answer {
    served: Arc<Served>,
    question: Arc<Question>,
    seed: u64,
    /// The job at work, if one is.
    events: Option<scheduler::Answer>,
    /// The grammar that holds once the thought is over.
    grammar: Option<Grammar>,
    speech: Speech,
    stop: Stop,
    /// Tokens of a thought at most.
    think: Option<usize>,
    tokens: Vec<u32>,
    thought_tokens: usize,
    /// What a call that a grammar holds has said so far.
    call: String,
    called: bool,
    ready: VecDeque<News>,
    usage: Usage,
    finished: bool,
    begun: Instant,
    first: Option<Instant>,
}

impl Answer {
    /// Asks. `choice` counts the answers to the same question.
    pub fn ask(served: &Arc<Served>, question: &Arc<Question>, choice: usize) -> Result<Self, ApiError> {
        let vocabulary = served.tokenizer().vocabulary();
        let q = &**question;
        let mut grammar = q.grammar.clone();
        let stops: &[String] = if grammar.is_some() { &[] } else { &q.writing.stop };
        let speech = Speech::new(vocabulary, q.manner, q.thinking);
        let think = match &mut grammar {
            Some(grammar) if speech.is_thinking() => Some(thought_room(served, q, grammar)?),
            _ => q.think,
        };
        let seed = q.writing.sampling.seed.wrapping_add(choice as u64);
        let mut answer = Self {
            events: None,
            served: Arc::clone(served),
            question: Arc::clone(question),
            seed,
            grammar,
            speech,
            stop: Stop::new(stops),
            think,
            tokens: Vec::new(),
            thought_tokens: 0,
            call: String::new(),
            called: false,
            ready: VecDeque::new(),
            usage: Usage::default(),
            finished: false,
            begun: Instant::now(),
            first: None,
        };
        let job = answer.job();
        answer.events = Some(served.scheduler.submit(job)?);
        Ok(answer)
    }

    /// As a stream, whose last item is [`News::Finish`] or an error.
    pub fn news(mut self) -> impl Stream<Item = Result<News, ApiError>> {
        async_stream::stream! {
            while let Some(news) = self.next().await.transpose() {
                let failed = news.is_err();
                yield news;
                if failed {
                    break;
                }
            }
        }
    }

    /// The next news; nothing after [`News::Finish`].
    pub async fn next(&mut self) -> Result<Option<News>, ApiError> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Ok(Some(news));
            }
            if self.finished {
                return Ok(None);
            }
            let event = match &mut self.events {
                Some(events) => events.next().await,
                None => None,
            };
            match event {
                // What a second job reads is the answer so far.
                Some(Event::Reading { .. }) if !self.tokens.is_empty() => (),
                Some(Event::Reading { known, read, of }) => {
                    (self.usage.prompt_tokens, self.usage.known_tokens) = (of, known);
                    self.ready.push_back(News::Reading { known, read, of });
                }
                Some(Event::Token { id, logprob }) => {
                    if self.first.is_none() {
                        self.first = Some(Instant::now());
                        self.served.metrics.first_token(self.begun.elapsed());
                    }
                    self.hear(id, logprob)?;
                    if !self.finished {
                        self.turn().await?;
                    }
                }
                Some(Event::End { why, usage }) => {
                    self.add(usage);
                    if why == End::EndOfText && !self.speech.may_end() {
                        self.turn().await?;
                    } else {
                        self.end(why);
                    }
                }
                Some(Event::Failed(error)) => {
                    self.finished = true;
                    self.served.metrics.answered("error", &self.usage, self.begun.elapsed());
                    return Err(error.into());
                }
                None => {
                    self.finished = true;
                    self.served.metrics.answered("error", &self.usage, self.begun.elapsed());
                    return Err(ApiError::fallen());
                }
            }
        }
    }

    /// The job that goes on from here.
    fn job(&mut self) -> Job {
        let writing = &self.question.writing;
        let thinking = self.speech.is_thinking();
        let grammar = if thinking { None } else { self.grammar.take() };
        if grammar.is_some() {
            let ready = &mut self.ready;
            self.speech.is_answer_from_here(&mut |spoken| ready.extend(news(spoken)));
        }
        Job {
            tokens: [&self.question.prompt[..], &self.tokens].concat(),
            most: writing.most.saturating_sub(self.tokens.len()),
            sampling: stonechat_core::sampler::Sampling { seed: self.seed, ..writing.sampling },
            biases: writing.biases.clone(),
            constraint: grammar.map(|grammar| Box::new(grammar) as Box<dyn Constraint>),
            logprobs: writing.logprobs,
        }
    }

    /// Takes a token.
    fn hear(&mut self, id: u32, logprob: Option<LogProb>) -> Result<(), ApiError> {
        let served = Arc::clone(&self.served);
        let was_thinking = self.speech.is_thinking();
        self.tokens.push(id);
        let mut spoken = Vec::new();
        let heard = self.speech.token(served.tokenizer().vocabulary(), id, &mut |part| spoken.push(part));
        heard.map_err(|error| served.tokenizer().failed(error))?;
        let thinks = was_thinking || self.speech.is_thinking();
        self.thought_tokens += usize::from(thinks);
        if let Some(logprob) = logprob.filter(|_| !thinks) {
            self.ready.push_back(News::Tokens(vec![(id, logprob)]));
        }
        if self.say(spoken) {
            self.finish(Reason::Stop);
        }
        Ok(())
    }

    /// Hands parts on. Whether a stop text is complete: then what follows does not count.
    fn say(&mut self, spoken: Vec<Spoken>) -> bool {
        for part in spoken {
            match part {
                Spoken::Text(text) if self.question.is_call => self.call.push_str(&text),
                Spoken::Text(text) => {
                    let mut out = String::new();
                    let stopped = self.stop.push(&text, &mut out);
                    self.text(out);
                    if stopped {
                        return true;
                    }
                }
                Spoken::Thought(text) => self.ready.push_back(News::Thought(text)),
                Spoken::Call(call) => self.call(call),
            }
        }
        false
    }

    fn text(&mut self, text: String) {
        if !text.is_empty() {
            self.ready.push_back(News::Text(text));
        }
    }

    fn call(&mut self, mut call: ToolCall) {
        // A name that was not the model's own would be that of another call in the next answer.
        if call.id.strip_prefix("call").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
            call.id = ids::call();
        }
        self.called = true;
        self.ready.push_back(News::Call(call));
    }

    /// Where a thought is over, or has to be: goes on with another job.
    async fn turn(&mut self) -> Result<(), ApiError> {
        if let Some(closing) = self.speech.closing(self.think) {
            let closing = self.served.encode(closing, Encode { bos: false, special: true })?;
            let room = self.served.facts.context.saturating_sub(self.question.prompt.len());
            if self.tokens.len() + closing.len() >= room.min(self.question.writing.most) {
                self.finish(Reason::Length);
                return Ok(());
            }
            self.usage.generated_tokens += closing.len();
            closing.into_iter().try_for_each(|token| self.hear(token, None))?;
        } else if self.grammar.is_none() || self.speech.is_thinking() {
            return Ok(());
        }
        // What was computed so far is dropped, and known to the next.
        self.events = None;
        self.usage.generated_tokens = self.tokens.len();
        loop {
            let job = self.job();
            let grammar = job.constraint.is_some().then(|| self.question.grammar.clone()).flatten();
            if let Ok(events) = self.served.scheduler.submit(job) {
                self.events = Some(events);
                return Ok(());
            }
            // Who was admitted is not turned away in the middle of a sentence.
            self.grammar = grammar.or(self.grammar.take());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Adds what a job took.
    fn add(&mut self, usage: Usage) {
        self.usage.prompt_seconds += usage.prompt_seconds;
        self.usage.generated_seconds += usage.generated_seconds;
    }

    /// Ends the answer, with what is left to say.
    fn end(&mut self, why: End) {
        let mut spoken = Vec::new();
        self.speech.finish(&mut |part| spoken.push(part));
        if !self.say(spoken) {
            let mut out = String::new();
            self.stop.finish(&mut out);
            self.text(out);
        }
        if self.question.is_call
            && let Some(call) = read_call(&self.call)
        {
            self.call(call);
        }
        self.finish(match why {
            End::EndOfText if self.called => Reason::Calls,
            End::EndOfText => Reason::Stop,
            End::Length | End::ContextFull => Reason::Length,
        });
    }

    fn finish(&mut self, reason: Reason) {
        self.finished = true;
        self.events = None;
        let now = Instant::now();
        let usage = &mut self.usage;
        usage.generated_tokens = self.tokens.len();
        if usage.prompt_seconds == 0.0 {
            // A stop text came before the scheduler had said what it all took.
            let first = self.first.unwrap_or(now);
            usage.prompt_seconds = (first - self.begun).as_secs_f64();
            usage.generated_seconds = (now - first).as_secs_f64();
        }
        self.served.metrics.answered(reason.name(), usage, self.begun.elapsed());
        let finish = Finish { reason, usage: *usage, thought_tokens: self.thought_tokens };
        self.ready.push_back(News::Finish(finish));
    }
}

/// The tokens that a thought may have, where what a grammar promises is to find room behind it.
fn thought_room(served: &Served, question: &Question, grammar: &mut Grammar) -> Result<usize, ApiError> {
    let closing = question.manner.thoughts.map_or("", |tags| tags.ending);
    let closing = served.encode(closing, Encode { bos: false, special: true })?.len();
    let room = served.facts.context.saturating_sub(question.prompt.len()).min(question.writing.most);
    let fewest = grammar.fewest() + closing;
    let most =
        room.checked_sub(fewest).ok_or(stonechat_runtime::Error::NoAnswerSoShort { fewest, most: room })?;
    Ok(question.think.map_or(most, |think| think.min(most)))
}

fn news(spoken: Spoken) -> Option<News> {
    match spoken {
        Spoken::Thought(text) => Some(News::Thought(text)),
        Spoken::Text(text) => Some(News::Text(text)),
        Spoken::Call(_) => None,
    }
}

/// A call as the grammar of a call has it.
fn read_call(text: &str) -> Option<ToolCall> {
    let call: Map<String, Value> = serde_json::from_str(text).ok()?;
    let name = call.get("name")?.as_str()?.to_owned();
    let arguments = call.get("arguments")?.as_object()?.clone();
    Some(ToolCall { id: ids::call(), name, arguments })
}

/// A manner in which nothing is but text.
pub const PLAIN: Manner = Manner { thoughts: None, calls: None };

/// An answer that is whole.
#[derive(Clone, PartialEq, Debug)]
pub struct Whole {
    /// What the model thought.
    pub thought: String,
    /// What it answered.
    pub text: String,
    /// The tools that it called.
    pub calls: Vec<ToolCall>,
    /// The tokens of the answer, where their probabilities were asked for.
    pub tokens: Vec<(u32, LogProb)>,
    /// Why it ended, and what it took.
    pub finish: Finish,
}

impl Whole {
    /// Waits for all of an answer.
    pub async fn of(mut answer: Answer) -> Result<Self, ApiError> {
        let (mut thought, mut text, mut calls, mut tokens) =
            (String::new(), String::new(), Vec::new(), Vec::new());
        while let Some(news) = answer.next().await? {
            match news {
                News::Reading { .. } => (),
                News::Thought(more) => thought += &more,
                News::Text(more) => text += &more,
                News::Call(call) => calls.push(call),
                News::Tokens(more) => tokens.extend(more),
                News::Finish(finish) => return Ok(Self { thought, text, calls, tokens, finish }),
            }
        }
        Err(ApiError::internal("the answer ended without an end"))
    }
}

/// Asks a question, as many times as it wants answers.
pub fn ask(served: &Arc<Served>, question: Question) -> Result<Vec<Answer>, ApiError> {
    let question = Arc::new(question);
    (0..question.writing.choices).map(|choice| Answer::ask(served, &question, choice)).collect()
}

/// Waits for all answers.
pub async fn all(answers: Vec<Answer>) -> Result<Vec<Whole>, ApiError> {
    futures_util::future::try_join_all(answers.into_iter().map(Whole::of)).await
}

/// News of all answers as they come, each with the answer's number.
pub fn news_of_all(answers: Vec<Answer>) -> impl Stream<Item = (usize, Result<News, ApiError>)> {
    use futures_util::StreamExt;
    let streams = answers.into_iter().enumerate();
    futures_util::stream::select_all(
        streams.map(|(number, answer)| answer.news().map(move |news| (number, news)).boxed()),
    )
}
