//! A conversation with a model: turns in, answers out, within a context that is never long enough.
//!
//! In: an [`Engine`], and what a person says. Out: the answer, piece by piece, as an iterator that can be dropped at any
//! time. The conversation is a list of turns; before each answer it is written out by the model's template, and what of
//! it the engine has not been fed yet is read. When the context is full, [`Overflow`] says what gives way. A conversation
//! is saved with the state of the engine, so that going on with it reads nothing again.

mod answer;
mod fit;
mod stop;

use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stonechat_core::Sampler;
use stonechat_core::vocabulary::Encode;

use crate::output::Durability;
use crate::state::{self, Keep, Kept, Key, Problem};
use crate::template::{ChatTemplate, Message, Options};
use crate::{Constraint, Engine, Error, Generator, PromptCache};

pub use answer::{Answer, Ending, Piece};

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
    /// What gives way when the context is full.
    pub overflow: Overflow,
    /// Texts that end an answer, and are not part of it.
    pub stop: Vec<String>,
    /// Tokens of an answer at most.
    pub predict: Option<usize>,
    /// Where beginnings that were computed once are found.
    pub cache: Option<PromptCache>,
}

/// Who said something, and what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Turn {
    fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }
}

/// A conversation. See the [module](self).
#[derive(Debug)]
pub struct Chat<'s> {
    engine: Engine,
    generator: Generator,
    sampler: Sampler<'s>,
    template: ChatTemplate,
    options: ChatOptions,
    talk: Talk,
    /// The tokens that the engine has been fed, and the last one that was picked, if it has not.
    tokens: Vec<u32>,
    /// Whether the engine's state is what feeding `tokens` alone would give: not after a shift.
    pure: bool,
}

/// What is known of a conversation, and saved with it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Talk {
    /// All turns but the system prompt.
    turns: Vec<Turn>,
    /// The first of them that is in the context.
    first: usize,
    /// What the model wrote of those before it.
    summary: Option<String>,
    system: Option<String>,
}

/// What a saved conversation says beside its tokens.
#[derive(Serialize, Deserialize)]
struct Note {
    talk: Talk,
    pure: bool,
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
        options: ChatOptions,
    ) -> Result<Self, Error> {
        let source = engine.model().gguf().opt_str("tokenizer.chat_template");
        let source = source.map_err(|error| engine.failed(error))?;
        let template = ChatTemplate::new_or_chatml(source.filter(|source| !source.trim().is_empty()))?;
        let talk = Talk { system: options.system.clone(), ..Talk::default() };
        Ok(Self { engine, generator, sampler, template, options, talk, tokens: Vec::new(), pure: true })
    }

    /// Says something; the answer comes as it is asked for.
    pub fn say(&mut self, text: impl Into<String>) -> Result<Answer<'_, 's>, Error> {
        self.talk.turns.push(Turn::new("user", text));
        // What leaves no room for an answer was not said.
        if let Err(error) = self.fitted(&[]) {
            self.talk.turns.pop();
            return Err(error);
        }
        Answer::begin(self)
    }

    /// Answers the last thing said once more. Nothing where nothing has been said.
    ///
    /// The same seed gives the same answer: a sampler of another seed is to be [set](Self::set_sampler) first.
    pub fn retry(&mut self) -> Option<Result<Answer<'_, 's>, Error>> {
        let said = self.talk.turns.iter().rposition(|turn| turn.role == "user")?;
        self.talk.turns.truncate(said + 1);
        Some(Answer::begin(self))
    }

    /// Takes back the last thing said and its answer. Whether there was one.
    pub fn undo(&mut self) -> bool {
        let said = self.talk.turns.iter().rposition(|turn| turn.role == "user");
        if let Some(said) = said {
            self.talk.turns.truncate(said);
            self.talk.first = self.talk.first.min(said);
        }
        said.is_some()
    }

    /// Forgets all turns.
    pub fn clear(&mut self) {
        self.talk = Talk { system: self.talk.system.take(), ..Talk::default() };
    }

    /// Replaces the system prompt; the turns stay.
    pub fn set_system(&mut self, system: Option<String>) {
        self.talk.system = system;
    }

    /// Picks tokens by another sampler from now on.
    pub fn set_sampler(&mut self, sampler: Sampler<'s>) {
        self.sampler = sampler;
    }

    /// Lets answers be as `constraint` says, from the next one on, or as they come.
    pub fn set_constraint(&mut self, constraint: Option<Box<dyn Constraint>>) {
        self.generator.set_constraint(constraint);
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

    /// Saves the conversation with the engine's state, whole or not at all. Returns the length of the file in bytes.
    #[allow(clippy::missing_panics_doc, reason = "text is always JSON")]
    pub fn save(&self, path: &Path) -> Result<u64, Error> {
        let session = self.engine.session();
        let note = Note { talk: self.talk.clone(), pure: self.pure };
        let note = serde_json::to_vec(&note).expect("a conversation is text");
        let fed = &self.tokens[..session.position()];
        let keep = Keep { key: Key::of(session), position: 0, tokens: fed, note: &note };
        state::write(path, &keep, session, Durability::Synced)
    }

    /// Takes up a conversation that was saved, in place of this one. On an error this one goes on, though its
    /// tokens may have to be read again.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let kept = Kept::open(path, &Key::of(self.engine.session()))?;
        let damaged = || Error::State { path: path.to_path_buf(), problem: Problem::Damaged };
        let note: Note = serde_json::from_slice(kept.note()).map_err(|_| damaged())?;
        if note.talk.first > note.talk.turns.len() {
            return Err(damaged());
        }
        // A longer conversation than this context holds is read anew, as far as it fits.
        let tokens = kept.tokens().to_vec();
        self.tokens.clear();
        self.pure = true;
        self.engine.wind_back(0);
        if tokens.len() < self.engine.session().context() {
            let taken = tokens.len();
            self.engine.with_session(|session| kept.restore(session, taken))?;
            self.tokens = tokens;
            self.pure = note.pure;
        }
        self.talk = note.talk;
        Ok(())
    }

    /// The conversation from turn `first` on as tokens, ready for the model's turn.
    fn written(&self, first: usize, summary: Option<&str>) -> Result<Vec<u32>, Error> {
        let system = match (self.talk.system.as_deref(), summary) {
            (system, None) => system.map(str::to_owned),
            (system, Some(summary)) => {
                let before = system.map(|system| format!("{system}\n\n")).unwrap_or_default();
                Some(format!("{before}Summary of the conversation so far: {summary}"))
            }
        };
        let system = system.map(|content| Turn::new("system", content));
        let turns: Vec<&Turn> = system.iter().chain(&self.talk.turns[first..]).collect();
        self.encode_turns(&turns)
    }

    /// Turns as tokens, ready for the model's.
    fn encode_turns(&self, turns: &[&Turn]) -> Result<Vec<u32>, Error> {
        let vocabulary = self.engine.vocabulary();
        let spelled = |token: Option<u32>| {
            let token = token.and_then(|token| vocabulary.token(token));
            token.map(|token| String::from_utf8_lossy(token.text).into_owned()).unwrap_or_default()
        };
        let (bos, eos) = (spelled(vocabulary.bos()), spelled(vocabulary.eos()));
        let messages: Vec<_> =
            turns.iter().map(|turn| Message { role: &turn.role, content: &turn.content }).collect();
        let options = Options { add_generation_prompt: true, bos: &bos, eos: &eos, ..Options::default() };
        let text = self.template.render(&messages, options)?;
        // A template that writes BOS itself must not get a second one.
        let add_bos = vocabulary.add_bos() && (bos.is_empty() || !text.starts_with(&bos));
        self.engine.encode(text.as_bytes(), Encode { bos: add_bos, special: true })
    }
}

impl Engine {
    /// The bytes of a token; none for control tokens.
    fn piece(&self, token: u32) -> Result<Vec<u8>, Error> {
        let mut buffer = vec![0; self.vocabulary().max_piece_len()];
        let piece = self.vocabulary().piece(token, false, &mut buffer).map(<[u8]>::to_vec);
        piece.map_err(|error| self.failed(error))
    }

    /// The text of tokens.
    fn text(&self, tokens: &[u32]) -> Result<String, Error> {
        let mut bytes = Vec::new();
        for token in tokens {
            bytes.extend(self.piece(*token)?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The tokens of `text`.
    pub fn encode(&self, text: &[u8], options: Encode) -> Result<Vec<u32>, Error> {
        let vocabulary = self.vocabulary();
        let mut scratch = vec![0; vocabulary.scratch_for(text, options)];
        let mut tokens = Vec::new();
        let encoded = vocabulary.encode(text, options, &mut scratch, &mut |token| {
            tokens.push(token);
            ControlFlow::Continue(())
        });
        encoded.map_err(|error| self.failed(error))?;
        Ok(tokens)
    }
}
