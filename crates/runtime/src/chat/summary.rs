//! What the model writes of turns that give way.
//!
//! A step is a piece of the prompt or a token, so that whoever waits can be told how far it is, and can stop it.

use serde_json::{Map, Value as Json};

use super::Chat;
use super::talk::Turn;
use crate::Error;
use crate::speech::{Speech, Spoken};
use crate::template::ENABLE_THINKING;

/// Tokens of a summary at most, or a quarter of the context.
const LENGTH: usize = 160;
/// What asks for a summary.
const ASK: &str = "Summarise the conversation below in a few sentences. Keep names, numbers, decisions and what \
                   was promised. Write nothing else.";

/// A summary in the making. The engine's tokens are its own until it is done.
#[derive(Debug)]
pub(super) struct Summary {
    /// The first turn that stays.
    pub first: usize,
    prompt: Vec<u32>,
    /// Tokens of the prompt that were known.
    known: usize,
    written: usize,
    /// Tokens of the summary at most.
    length: usize,
    speech: Speech,
    text: String,
}

impl Summary {
    /// A summary of the turns before `first`, and of what had given way before.
    pub fn begin(chat: &mut Chat<'_>, first: usize) -> Result<Self, Error> {
        let mut text = String::new();
        if let Some(summary) = &chat.talk.summary {
            text.push_str(summary);
            text.push('\n');
        }
        for turn in &chat.talk.turns[chat.talk.first..first] {
            text.push_str(&turn.role);
            text.push_str(": ");
            text.push_str(&turn.content);
            text.push('\n');
        }
        let mut variables: Map<String, Json> = chat.variables.clone();
        if chat.template.knows_thinking() {
            variables.insert(ENABLE_THINKING.into(), false.into());
        }
        let context = chat.engine.session().context();
        let length = LENGTH.min(context / 4);
        let most = context - length;
        let prompt = loop {
            let asked = Turn::new("user", format!("{ASK}\n\n{text}"));
            let prompt = chat.encode_turns(&[&asked], &variables, None)?;
            if prompt.tokens.len() <= most || text.is_empty() {
                break prompt;
            }
            // What is too long even to be read loses its beginning.
            let cut = text.len() - text.len() * most * 9 / (prompt.tokens.len() * 10);
            let cut = (cut.max(1)..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            text.drain(..cut);
        };
        if prompt.tokens.len() > most {
            // Not even the question fits.
            return Err(Error::ContextFull { tokens: prompt.tokens.len(), room: length, context });
        }
        chat.align(&prompt.tokens, false)?;
        chat.begins = None;
        chat.wind_back(prompt.tokens.len() - 1);
        let speech = chat.speech(&prompt, chat.template.manner().without_tools());
        let known = chat.tokens.len();
        Ok(Self { first, prompt: prompt.tokens, known, written: 0, length, speech, text: String::new() })
    }

    /// How many tokens are read and written, of how many at most.
    pub fn progress(&self, chat: &Chat<'_>) -> (usize, usize) {
        (chat.tokens.len() - self.known, self.prompt.len() - self.known + self.length)
    }

    /// Goes on; the summary once it is done.
    pub fn step(&mut self, chat: &mut Chat<'_>) -> Result<Option<String>, Error> {
        if self.written == 0 && chat.tokens.len() < self.prompt.len() {
            chat.read(&self.prompt)?;
            return Ok(None);
        }
        let room = chat.engine.session().context() - chat.tokens.len();
        let mut ended = self.written >= self.length || room == 0;
        // A thought would take the place of the summary.
        let closing = chat.closing(&self.speech, Some(0))?;
        let from = chat.tokens.len();
        if ended {
        } else if closing.is_empty() {
            let token = chat.generator.next(&mut chat.engine, &chat.sampler, &mut chat.tokens)?;
            if chat.engine.vocabulary().is_end_of_generation(token) {
                chat.tokens.pop();
                ended = true;
            }
        } else if closing.len() <= room {
            chat.generator.force(&mut chat.engine, &mut chat.tokens, &closing)?;
        } else {
            ended = true;
        }
        let text = &mut self.text;
        let mut hear = |spoken| {
            if let Spoken::Text(part) = spoken {
                text.push_str(&part);
            }
        };
        for token in &chat.tokens[from..] {
            let heard = self.speech.token(chat.engine.vocabulary(), *token, &mut hear);
            heard.map_err(|error| chat.engine.failed(error))?;
        }
        self.written += chat.tokens.len() - from;
        if ended {
            self.speech.finish(&mut hear);
            return Ok(Some(self.text.trim().to_owned()));
        }
        Ok(None)
    }
}
