//! Chat templates: the Jinja text in a model file that says how a conversation becomes a prompt.
//!
//! In goes a template and a conversation; out comes the prompt as the model was trained to read it, the same text
//! that transformers' `apply_chat_template` gives: its whitespace rules, its helpers (`raise_exception`,
//! `strftime_now`, `tojson` without HTML escapes), Python's methods on strings and dicts, and the way Python prints
//! what is no string. Templates come out of files that strangers made: they can reach nothing outside the
//! conversation, and one that never ends is stopped.
//!
//! Messages are what OpenAI's API takes: objects with `role`, `content`, and where they have them `tool_calls`,
//! `tool_call_id`, `name`, `reasoning_content`. Tools are its function definitions.

use std::collections::BTreeMap;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value as Json;

use crate::Error;
use crate::speech::Manner;
use crate::thinking::ThoughtTags;
use crate::tools::CallFormat;

mod helpers;
mod python;

/// What stops a template that never ends: far more steps than a conversation of a thousand messages takes.
const FUEL: u64 = 20_000_000;

/// The template for files that bring none, and its name.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' \
    + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The variable by which many templates let a model think or not.
pub const ENABLE_THINKING: &str = "enable_thinking";

/// What a template is given beside the messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Ends the prompt with the words that open the model's turn.
    pub add_generation_prompt: bool,
    /// The text of the model's token that begins a sequence; empty where it has none.
    pub bos: &'a str,
    /// The text of the model's token that ends a sequence; empty where it has none.
    pub eos: &'a str,
    /// Functions that the model may call.
    pub tools: Option<&'a [Json]>,
    /// Texts that the model may look into: objects with `title` and `text`.
    pub documents: Option<&'a [Json]>,
    /// Further variables that some templates know: `enable_thinking`, `reasoning_effort`, `date_string`. A name of those
    /// above takes its place.
    pub more: Option<&'a serde_json::Map<String, Json>>,
    /// The time that a template is told; by default the clock's.
    pub now: Option<SystemTime>,
}

/// A template, read and checked.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    name: &'static str,
    manner: Manner,
    knows_tools: bool,
    knows_thinking: bool,
}

impl ChatTemplate {
    /// Reads the template of a model file (`tokenizer.chat_template`).
    pub fn new(source: &str) -> Result<Self, Error> {
        Self::named("chat template", source)
    }

    /// The widely used form `<|im_start|>role … <|im_end|>`, for model files without a template.
    #[allow(clippy::missing_panics_doc)]
    pub fn chatml() -> Self {
        Self::named("chatml", CHATML).expect("the constant is a template, as a test shows")
    }

    /// The file's own template, or [`chatml`](Self::chatml).
    pub fn new_or_chatml(source: Option<&str>) -> Result<Self, Error> {
        source.map_or_else(|| Ok(Self::chatml()), Self::new)
    }

    fn named(name: &'static str, source: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // As transformers sets up Jinja.
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|error| broken(name, &error))?,
        );
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(python::print);
        environment.add_function("raise_exception", helpers::raise_exception);
        environment.add_function("strftime_now", helpers::strftime_now);
        environment.add_test("iterable", python::is_iterable);
        environment.add_test("sequence", python::is_sequence);
        environment.add_filter("tojson", helpers::tojson);
        environment.add_filter("string", python::text);
        environment.set_fuel(Some(FUEL));
        environment
            .add_template_owned(name, helpers::without_generation_tags(source))
            .map_err(|error| broken(name, &error))?;
        let manner =
            Manner { thoughts: ThoughtTags::of_template(source), calls: CallFormat::of_template(source) };
        let knows_tools = source.contains("tools");
        Ok(Self { environment, name, manner, knows_tools, knows_thinking: source.contains(ENABLE_THINKING) })
    }

    /// Which template this is: `chat template` for the file's own, else the fallback's name, `chatml`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How answers to this template's prompts mark thoughts and calls.
    pub const fn manner(&self) -> Manner {
        self.manner
    }

    /// Whether it shows a model the tools that it may call.
    pub const fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    /// Whether the variable [`ENABLE_THINKING`] lets a model think or not.
    pub const fn knows_thinking(&self) -> bool {
        self.knows_thinking
    }

    /// The prompt for a conversation. What the template itself objects to (`raise_exception`) is an error with the template's
    /// words.
    pub fn render(&self, messages: &[Json], options: Options<'_>) -> Result<String, Error> {
        let messages: Vec<Value> =
            messages.iter().map(|message| value(&with_reasoning(message.clone()))).collect();
        // Named by transformers in every rendering, so templates compare them with none.
        let list = |list: Option<&[Json]>| {
            list.map_or_else(|| Value::from(()), |list| list.iter().map(value).collect())
        };
        let mut variables = BTreeMap::from([
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(options.add_generation_prompt)),
            ("bos_token", Value::from(options.bos)),
            ("eos_token", Value::from(options.eos)),
            ("tools", list(options.tools)),
            ("documents", list(options.documents)),
        ]);
        let more = options.more.into_iter().flatten();
        variables.extend(more.map(|(name, json)| (name.as_str(), value(json))));
        if let Some(now) = options.now.and_then(|now| now.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            variables.insert(helpers::NOW, Value::from(now.as_secs()));
        }
        self.environment
            .get_template(self.name)
            .and_then(|template| template.render(Value::from(variables)))
            .map_err(|error| broken(self.name, &error))
    }
}

/// JSON as a template sees it.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(bool) => Value::from(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(items) => Value::from_pairs(items.iter().map(|(key, item)| (key.as_str(), value(item)))),
    }
}

/// Gives a message's thoughts the names by which templates ask for them, as transformers does: `reasoning_content`, which
/// is standard, and `thinking`, which gpt-oss knows.
fn with_reasoning(mut message: Json) -> Json {
    let names = ["reasoning_content", "thinking", "reasoning"];
    if let Some(object) = message.as_object_mut() {
        let thoughts = names.iter().find_map(|name| object.get(*name).filter(|value| !value.is_null()));
        if let Some(thoughts) = thoughts.cloned() {
            object.entry("thinking").or_insert_with(|| thoughts.clone());
            object.insert("reasoning_content".to_owned(), thoughts);
        }
    }
    message
}

/// Sorts out whose objection it is: the template's own to the conversation, or ours to the template.
fn broken(name: &'static str, error: &minijinja::Error) -> Error {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    if let Some(words) = detail.strip_prefix(helpers::RAISED) {
        return Error::Conversation { words: words.to_owned() };
    }
    let mut reason = detail;
    match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".clone_into(&mut reason),
        // These kinds say it all; for others the kind is the better half of the sentence.
        ErrorKind::SyntaxError | ErrorKind::InvalidOperation => (),
        kind if error.detail().is_some() => reason = format!("{kind}: {reason}"),
        _ => (),
    }
    Error::Template { name, line: error.line(), reason }
}

#[cfg(test)]
mod tests;
