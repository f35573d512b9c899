//! From a prompt that has been read to an answer, token by token.

use std::time::Instant;

use stonechat_core::Sampler;
use stonechat_core::vocabulary::Encode;
use stonechat_runtime::speech::{Manner, Speech};
use stonechat_runtime::{Engine, Generator, Interrupt};

use super::output::Output;
use crate::failure::Failure;

/// A prompt, and how its answer is to be read.
pub struct Question {
    pub tokens: Vec<u32>,
    pub manner: Manner,
    /// Whether the answer begins within a thought.
    pub thinking: bool,
}

impl Question {
    /// What reads an answer.
    pub fn speech(&self, engine: &Engine) -> Speech {
        Speech::new(engine.vocabulary(), self.manner, self.thinking)
    }
}

/// An answer that is complete.
pub struct Answer {
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop: &'static str,
    /// When the first token was there.
    pub first: Option<Instant>,
    pub seconds: f64,
}

/// What writes answers.
pub struct Writer<'w> {
    pub engine: &'w mut Engine,
    pub generator: &'w mut Generator,
    pub interrupt: &'w Interrupt,
    /// Tokens of an answer at most.
    pub most: usize,
    /// Tokens of a thought at most.
    pub think: Option<usize>,
}

impl Writer<'_> {
    /// Writes an answer. The engine has been fed the prompt, or all but its last token. `picked` is told of each token that
    /// the model picked, and whether it is one that ends the answer.
    pub fn write(
        &mut self,
        prompt: &[u32],
        sampler: &Sampler<'_>,
        output: &mut Output,
        picked: &mut dyn FnMut(&Engine, u32, bool) -> Result<(), Failure>,
    ) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let mut tokens = Vec::with_capacity(prompt.len() + self.most);
        tokens.extend(prompt);
        if self.generator.is_constrained() {
            output.is_answer_from_here();
        }
        let (mut stop, mut first) = ("length", None);
        while tokens.len() < prompt.len() + self.most {
            if self.interrupt.is_raised() {
                stop = "interrupt";
                break;
            }
            if let Some(closing) = output.speech.closing(self.think) {
                let closing = self.engine.encode(closing.as_bytes(), Encode { bos: false, special: true })?;
                if tokens.len() + closing.len() > prompt.len() + self.most {
                    break;
                }
                self.generator.force(self.engine, &mut tokens, &closing)?;
                closing.into_iter().try_for_each(|token| output.token(self.engine, token))?;
                continue;
            }
            if self.generator.awaits_answer() && !output.speech.is_thinking() {
                self.generator.begin_answer(prompt.len() + self.most - tokens.len())?;
                output.is_answer_from_here();
            }
            let token = self.generator.next(self.engine, sampler, &mut tokens)?;
            first.get_or_insert_with(Instant::now);
            let ends = self.engine.vocabulary().is_end_of_generation(token);
            picked(self.engine, token, ends)?;
            if ends {
                tokens.pop();
                if output.speech.may_end() {
                    stop = "end";
                    break;
                }
                continue;
            }
            output.token(self.engine, token)?;
        }
        if stop == "length" && self.generator.is_complete() {
            stop = "end";
        }
        self.generator.end_answer();
        let seconds = begun.elapsed().as_secs_f64();
        output.end()?;
        Ok(Answer { ids: tokens.split_off(prompt.len()), stop, first, seconds })
    }
}
