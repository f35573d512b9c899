//! From a prompt, as text or ids, to tokens.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
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

/// Variables for a chat template.
pub type Variables = Arc<Map<String, Value>>;

/// Reads a JSON object.
pub fn variables(text: &str) -> Result<Variables, String> {
    serde_json::from_str(text).map(Arc::new).map_err(|error| format!("it must be a JSON object: {error}"))
}

/// The template in a file, or the named one.
pub fn template(file: &Path) -> Result<ChatTemplate, Failure> {
    if file == Path::new("chatml") {
        return Ok(ChatTemplate::chatml());
    }
    let source = std::fs::read_to_string(file).map_err(|error| Failure::at(file.display(), error))?;
    Ok(ChatTemplate::new(&source)?)
}

/// The tokens of a prompt as the user's turn of a conversation.
pub fn chat(
    vocabulary: &Vocabulary<'_>,
    template: &ChatTemplate,
    more: Option<&Map<String, Value>>,
    prompt: &PromptArgs,
    text: Option<&str>,
) -> Result<Vec<u32>, Failure> {
    let content = given(prompt, text)?;
    let spelled = |token: Option<u32>| {
        let token = token.and_then(|token| vocabulary.token(token));
        token.map(|token| String::from_utf8_lossy(token.text).into_owned()).unwrap_or_default()
    };
    let (bos, eos) = (spelled(vocabulary.bos()), spelled(vocabulary.eos()));
    let options = Options { add_generation_prompt: true, bos: &bos, eos: &eos, more, ..Options::default() };
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
