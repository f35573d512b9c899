//! From words to tokens: text as it is, or a conversation as the model's template writes it out.
//!
//! The one place that knows where BOS belongs: where the file asks for it, unless a template has written it.

use std::ops::ControlFlow;

use serde_json::Value as Json;
use stonechat_core::Vocabulary;
use stonechat_core::vocabulary::{self, Encode};

use crate::template::{ChatTemplate, Options};
use crate::{Engine, Error};

/// A prompt, ready to be fed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prompt {
    /// What the template wrote.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
}

/// The tokens of `text`.
pub fn encode(
    vocabulary: &Vocabulary<'_>,
    text: &[u8],
    options: Encode,
) -> Result<Vec<u32>, vocabulary::Error> {
    let mut scratch = vec![0; vocabulary.scratch_for(text, options)];
    let mut tokens = Vec::new();
    vocabulary.encode(text, options, &mut scratch, &mut |token| {
        tokens.push(token);
        ControlFlow::Continue(())
    })?;
    Ok(tokens)
}

/// The tokens of a text that is taken as it is, after the BOS that the file asks for.
pub fn encode_raw(vocabulary: &Vocabulary<'_>, text: &[u8]) -> Result<Vec<u32>, vocabulary::Error> {
    encode(vocabulary, text, Encode { bos: vocabulary.add_bos(), special: false })
}

/// A conversation as the template writes it out, ready for the model's turn, and how that is to be encoded. Of `options`, the
/// texts of BOS and EOS are the vocabulary's.
pub fn write_out(
    vocabulary: &Vocabulary<'_>,
    template: &ChatTemplate,
    messages: &[Json],
    options: Options<'_>,
) -> Result<(String, Encode), Error> {
    let spelled = |token: Option<u32>| {
        let token = token.and_then(|token| vocabulary.token(token));
        token.map(|token| String::from_utf8_lossy(token.text).into_owned()).unwrap_or_default()
    };
    let (bos, eos) = (spelled(vocabulary.bos()), spelled(vocabulary.eos()));
    let options = Options { add_generation_prompt: true, bos: &bos, eos: &eos, ..options };
    let text = template.render(messages, options)?;
    // A template that writes BOS itself must not get a second one.
    let add_bos = vocabulary.add_bos() && (bos.is_empty() || !text.starts_with(&bos));
    Ok((text, Encode { bos: add_bos, special: true }))
}

impl Engine {
    /// The tokens of `text`.
    pub fn encode(&self, text: &[u8], options: Encode) -> Result<Vec<u32>, Error> {
        encode(self.vocabulary(), text, options).map_err(|error| self.failed(error))
    }

    /// The tokens of a text that is taken as it is: see [`encode_raw`].
    pub fn encode_raw(&self, text: &[u8]) -> Result<Vec<u32>, Error> {
        encode_raw(self.vocabulary(), text).map_err(|error| self.failed(error))
    }

    /// A conversation as the model reads it, ready for the model's turn: see [`write_out`].
    pub fn encode_chat(
        &self,
        template: &ChatTemplate,
        messages: &[Json],
        options: Options<'_>,
    ) -> Result<Prompt, Error> {
        let (text, encode) = write_out(self.vocabulary(), template, messages, options)?;
        let tokens = self.encode(text.as_bytes(), encode)?;
        Ok(Prompt { text, tokens })
    }
}
