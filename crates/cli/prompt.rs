//! From flags to a prompt.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use stonechat_runtime::{ChatTemplate, Engine};

use crate::args::{PromptArgs, TemplateArgs};
use crate::failure::{Failure, read_text};

/// The tokens of a prompt that is taken as it is, with the BOS that the file asks for.
pub fn raw(engine: &Engine, prompt: &PromptArgs, text: Option<&str>) -> Result<Vec<u32>, Failure> {
    if !prompt.ids.is_empty() {
        return Ok(prompt.ids.clone());
    }
    Ok(engine.encode_raw(given(prompt, text)?.as_bytes())?)
}

/// Variables for a chat template.
pub type Variables = Arc<Map<String, Value>>;

/// Reads a JSON object.
pub fn variables(text: &str) -> Result<Variables, String> {
    serde_json::from_str(text).map(Arc::new).map_err(|error| format!("it must be a JSON object: {error}"))
}

/// The template in a file, or the named one.
pub fn template(file: Option<&Path>) -> Result<Option<ChatTemplate>, Failure> {
    let Some(file) = file else { return Ok(None) };
    if file == Path::new("chatml") {
        return Ok(Some(ChatTemplate::chatml()));
    }
    let source = read_text(file)?;
    Ok(Some(ChatTemplate::new(&source)?))
}

impl TemplateArgs {
    /// The template that was asked for, if any was.
    pub fn template(&self) -> Result<Option<ChatTemplate>, Failure> {
        template(self.chat_template.as_deref())
    }

    /// Its further variables.
    pub fn variables(&self) -> Map<String, Value> {
        self.chat_template_kwargs.as_deref().cloned().unwrap_or_default()
    }
}

/// The text that was given, after the verb or by `-p`.
pub fn given<'a>(prompt: &'a PromptArgs, text: Option<&'a str>) -> Result<&'a str, Failure> {
    match text.or(prompt.prompt.as_deref()) {
        None => {
            Err(Failure::Usage("there is no prompt; write one after the verb, or with -p or --ids".into()))
        }
        Some(text) => Ok(text),
    }
}
