//! From a prompt, as text or ids, to tokens.

use std::ops::ControlFlow;

use stonechat_core::Vocabulary;
use stonechat_core::vocabulary::Encode;
use stonechat_runtime::ChatTemplate;
use stonechat_runtime::template::{Message, Options};

use crate::args::PromptArgs;
use crate::failure::Failure;

/// The tokens of `text`.
pub fn encode(vocabulary: &Vocabulary<'_>, text: &[u8], options: Encode) -> Result<Vec<u32>, Failure> {
    let mut scratch = vec![0; vocabulary.scratch_for(text, options)];
    let mut tokens = Vec::new();
    vocabulary.encode(text, options, &mut scratch, &mut |token| {
        tokens.push(token);
        ControlFlow::Continue(())
    })?;
    Ok(tokens)
}

/// The tokens of a prompt that is taken as it is, with the BOS that the file asks for.
pub fn raw(
    vocabulary: &Vocabulary<'_>,
    prompt: &PromptArgs,
    text: Option<&str>,
) -> Result<Vec<u32>, Failure> {
    if !prompt.ids.is_empty() {
        return Ok(prompt.ids.clone());
    }
    let text = given(prompt, text)?;
    encode(vocabulary, text.as_bytes(), Encode { bos: vocabulary.add_bos(), special: false })
}

/// The tokens of a prompt as the user's turn of a conversation.
pub fn chat(
    vocabulary: &Vocabulary<'_>,
    template: Option<&str>,
    prompt: &PromptArgs,
    text: Option<&str>,
) -> Result<Vec<u32>, Failure> {
    let content = given(prompt, text)?;
    // An empty one would make every prompt empty.
    let template = ChatTemplate::new_or_chatml(template.filter(|template| !template.trim().is_empty()))?;
    let spelled = |token: Option<u32>| {
        let token = token.and_then(|token| vocabulary.token(token));
        token.map(|token| String::from_utf8_lossy(token.text).into_owned()).unwrap_or_default()
    };
    let (bos, eos) = (spelled(vocabulary.bos()), spelled(vocabulary.eos()));
    let options = Options { add_generation_prompt: true, bos: &bos, eos: &eos };
    let text = template.render(&[Message { role: "user", content }], options)?;
    // A template that writes BOS itself must not get a second one.
    let add_bos = vocabulary.add_bos() && (bos.is_empty() || !text.starts_with(&bos));
    encode(vocabulary, text.as_bytes(), Encode { bos: add_bos, special: true })
}

fn given<'a>(prompt: &'a PromptArgs, text: Option<&'a str>) -> Result<&'a str, Failure> {
    match text.or(prompt.prompt.as_deref()) {
        None => {
            Err(Failure::Usage("there is no prompt; write one after the verb, or with -p or --ids".into()))
        }
        Some(text) => Ok(text),
    }
}
