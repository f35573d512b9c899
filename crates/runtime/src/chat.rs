//! A conversation with a model: turns in, answers out, within a context that is never long enough.
//!
//! In: an [`Engine`], and what a person says. Out: the answer, piece by piece, as an iterator that can be dropped at any
//! time. The conversation is a list of turns; before each answer it is written out by the model's template, and what of
//! it the engine has not been fed yet is read. When the context is full, [`Overflow`] says what gives way. A conversation
//! is saved with the state of the engine, so that going on with it reads nothing again.

mod align;
mod answer;
mod fit;
mod keep;
mod summary;
mod talk;

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use stonechat_core::Sampler;
use stonechat_core::vocabulary::Encode;

use crate::pace::Pace;
use crate::prompt::Prompt;
use crate::speech::{Manner, Speech};
use crate::template::{ChatTemplate, ENABLE_THINKING, Options};
use crate::{Constraint, Engine, Error, Generator, PromptCache};

use talk::Talk;

pub use answer::{Answer, Ending, Piece};
pub use talk::Turn;

/// What gives way when the context is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// Nothing: the answer ends, and a message that does not fit is refused.
    Stop,
    /// The oldest turns, whole; the system prompt stays. What the other turns took from them stays, too.
    #[default]
    Shift,
    /// The oldest turns, of which the model writes a summary first.
    Summarise,
}

/// What a conversation is held under.
#[derive(Debug, Default)]
pub struct ChatOptions {
    /// What the model is told before all else.
    pub system: Option<String>,
    /// The template that writes the conversation out; by default the model file's own.
    pub template: Option<ChatTemplate>,
    /// Further variables for the template.
    pub variables: Map<String, Json>,
    /// Tools that the model may call, as OpenAI's interface defines functions.
    pub tools: Vec<Json>,
    /// Tokens of a thought at most, after which it is closed and the answer begins; with 0 the model does not think.
    pub think: Option<usize>,
    /// What gives way when the context is full.
    pub overflow: Overflow,
    /// Texts that end an answer, and are not part of it.
    pub stop: Vec<String>,
    /// Tokens of an answer at most, its thoughts included.
    pub predict: Option<usize>,
    /// Where beginnings that were computed once are found.
    pub cache: Option<PromptCache>,
}

/// What a tool that was called gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallResult {
    /// The call's id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// What the model is told.
    pub content: String,
}

/// A conversation. See the [module](self).
#[derive(Debug)]
pub struct Chat<'s> {
    engine: Engine,
    generator: Generator,
    sampler: Sampler<'s>,
    /// Mirostat's limit where nothing has been said.
    start_limit: f32,
    template: ChatTemplate,
    variables: Map<String, Json>,
    options: ChatOptions,
    talk: Talk,
    /// The tokens that the engine has been fed, and those that were picked since, if it has not.
    tokens: Vec<u32>,
    /// The first token from which on the engine's state remembers turns that gave way.
    shifted: Option<usize>,
    /// The turn with which these tokens begin; none where they are not, or no longer, those of this conversation.
    begins: Option<usize>,
    pace: Pace,
}

/// How full the context is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// Tokens in it.
    pub tokens: usize,
    /// Tokens that fit.
    pub context: usize,
    /// Turns that are in it.
    pub turns: usize,
    /// Turns that had to give way.
    pub dropped: usize,
}

impl<'s> Chat<'s> {
    /// A conversation that has not begun.
    pub fn new(
        engine: Engine,
        generator: Generator,
        sampler: Sampler<'s>,
        mut options: ChatOptions,
    ) -> Result<Self, Error> {
        let template = options.template.take().map_or_else(|| ChatTemplate::of_model(&engine), Ok)?;
        if !options.tools.is_empty() && (!template.knows_tools() || template.manner().calls.is_none()) {
            return Err(Error::NoTools { template: template.name() });
        }
        let mut variables = std::mem::take(&mut options.variables);
        template.let_think(options.think, &mut variables);
        Ok(Self {
            start_limit: sampler.mirostat_limit(),
            talk: Talk::new(options.system.take()),
            engine,
            generator,
            sampler,
            template,
            variables,
            options,
            tokens: Vec::new(),
            shifted: None,
            begins: None,
            pace: Pace::default(),
        })
    }

    /// Says something; the answer comes as it is asked for, and nothing is computed before. Where nothing comes of it, because of
    /// an error or because the answer is dropped before its first word, nothing was said.
    pub fn say(&mut self, text: impl Into<String>) -> Answer<'_, 's> {
        let before = self.talk.clone();
        let limit = self.sampler.mirostat_limit();
        self.talk.say(text.into(), limit);
        Answer::new(self, before, limit)
    }

    /// Answers the last thing said once more. Nothing where nothing has been said. Where nothing comes of it, the
    /// answer that was there stays.
    ///
    /// The same seed gives the same answer: a sampler of another seed is to be [set](Self::set_sampler) first.
    pub fn retry(&mut self) -> Option<Answer<'_, 's>> {
        let (before, limit_now) = (self.talk.clone(), self.sampler.mirostat_limit());
        let (said, limit) = self.talk.take_back()?;
        self.talk.say(said.content, limit);
        self.sampler.set_mirostat_limit(limit);
        // Turns that gave way to the answer come back.
        if self.talk.first != before.first {
            self.part_ways();
        }
        Some(Answer::new(self, before, limit_now))
    }

    /// Tells the model what the tools gave that it called, and lets it go on. Where nothing comes of it, what led to the
    /// calls was not said: a call without a result would confuse the model.
    pub fn answer_calls(&mut self, results: impl IntoIterator<Item = CallResult>) -> Answer<'_, 's> {
        let mut before = self.talk.clone();
        let limit = before.take_back().map_or(self.start_limit, |(_, limit)| limit);
        self.talk.turns.extend(
            results.into_iter().map(|result| Turn {
                of: Some((result.id, result.name)),
                ..Turn::new("tool", result.content)
            }),
        );
        Answer::new(self, before, limit)
    }

    /// Takes back the last thing said and its answer. Whether there was one.
    pub fn undo(&mut self) -> bool {
        let Some((_, limit)) = self.talk.take_back() else { return false };
        self.sampler.set_mirostat_limit(limit);
        self.part_ways();
        true
    }

    /// Forgets all turns.
    pub fn clear(&mut self) {
        self.talk = Talk::new(self.talk.system.take());
        self.sampler.set_mirostat_limit(self.start_limit);
        self.part_ways();
    }

    /// Replaces the system prompt; the turns stay.
    pub fn set_system(&mut self, system: Option<String>) {
        if self.talk.system != system {
            self.talk.system = system;
            self.part_ways();
        }
    }

    /// Picks tokens by another sampler from now on.
    pub fn set_sampler(&mut self, sampler: Sampler<'s>) {
        self.sampler = sampler;
    }

    /// Lets answers be as `constraint` says, from the next one on, or as they come.
    pub fn set_constraint(&mut self, constraint: Option<Box<dyn Constraint>>) {
        self.generator.set_constraint(constraint);
    }

    /// The sampler.
    pub const fn sampler(&self) -> &Sampler<'s> {
        &self.sampler
    }

    /// The system prompt.
    pub fn system(&self) -> Option<&str> {
        self.talk.system.as_deref()
    }

    /// All turns, those that had to give way included.
    pub fn turns(&self) -> &[Turn] {
        &self.talk.turns
    }

    /// The engine.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What generates, for what guessing brought.
    pub const fn generator(&self) -> &Generator {
        &self.generator
    }

    /// The name of the template that writes the conversation out.
    pub fn template(&self) -> &'static str {
        self.template.name()
    }

    /// How full the context is.
    pub fn context(&self) -> Use {
        Use {
            tokens: self.tokens.len(),
            context: self.engine.session().context(),
            turns: self.talk.turns.len() - self.talk.first,
            dropped: self.talk.first,
        }
    }

    /// The tools, where there are any.
    fn tools(&self) -> Option<&[Json]> {
        Some(&self.options.tools[..]).filter(|tools| !tools.is_empty())
    }

    /// Turns as the model reads them, ready for its own.
    fn encode_turns(
        &self,
        turns: &[&Turn],
        variables: &Map<String, Json>,
        tools: Option<&[Json]>,
    ) -> Result<Prompt, Error> {
        let messages: Vec<Json> = turns.iter().map(|turn| turn.message()).collect();
        let options = Options { more: Some(variables), tools, ..Options::default() };
        self.engine.encode_chat(&self.template, &messages, options)
    }

    /// What reads the answer to a prompt.
    fn speech(&self, prompt: &Prompt, manner: Manner) -> Speech {
        let thinking = manner.thoughts.is_some_and(|tags| tags.is_open_at_end_of(&prompt.text));
        Speech::new(self.engine.vocabulary(), manner, thinking)
    }

    /// The tokens that end a thought for which there are no more than `budget`; none where none is at its end.
    fn closing(&self, speech: &Speech, budget: Option<usize>) -> Result<Vec<u32>, Error> {
        let closing = speech.closing(budget).unwrap_or_default();
        self.engine.encode(closing.as_bytes(), Encode { bos: false, special: true })
    }

    /// Feeds the next piece of `target`, with whose beginning the engine's tokens agree.
    fn read(&mut self, target: &[u32]) -> Result<(), Error> {
        let from = self.tokens.len();
        let most = self.engine.plan().limits().batch.min(target.len() - from);
        let piece = &target[from..from + self.pace.next(most)];
        let start = Instant::now();
        self.engine.feed(piece)?;
        self.pace.note(piece.len(), start.elapsed());
        self.tokens.extend(piece);
        Ok(())
    }
}

impl ChatTemplate {
    /// The template of the engine's model, or [`chatml`](Self::chatml) where its file has none.
    pub fn of_model(engine: &Engine) -> Result<Self, Error> {
        let own = engine.model().gguf().opt_str("tokenizer.chat_template");
        let own = own.map_err(|error| engine.failed(error))?;
        // An empty one would make every prompt empty.
        Self::new_or_chatml(own.filter(|own| !own.trim().is_empty()))
    }

    /// Sets the variable by which a template lets a model think, if it knows it and nobody has: not where there are no tokens
    /// for thoughts.
    pub fn let_think(&self, budget: Option<usize>, variables: &mut Map<String, Json>) {
        if let Some(budget) = budget.filter(|_| self.knows_thinking()) {
            variables.entry(ENABLE_THINKING).or_insert_with(|| (budget > 0).into());
        }
    }
}
