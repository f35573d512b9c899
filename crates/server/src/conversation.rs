//! Conversations as OpenAI's interface has them, made into what chat templates take.
//!
//! In: messages and tools. Out: messages whose content is text and whose calls have their arguments as objects, ready for the
//! model's template. A template that knows no tools is told of them in the system prompt, in the form that most models were
//! trained on (Hermes').

use serde_json::{Map, Value, json};
use stonechat_runtime::speech::Manner;
use stonechat_runtime::template::Options;
use stonechat_runtime::{CallFormat, Grammar, prompt};

use crate::error::ApiError;
use crate::fields::kind;
use crate::model::Served;
use crate::question::schema_grammar;

/// A conversation that waits for an answer.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// What was said, as templates take it.
    pub messages: Vec<Value>,
    /// Functions that the model may call.
    pub tools: Vec<Value>,
    /// Whether it has to.
    pub choice: ToolChoice,
    /// Further variables for the template.
    pub variables: Map<String, Value>,
}

/// Which tools are called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ToolChoice {
    /// What the model likes.
    #[default]
    Auto,
    /// None.
    None,
    /// Any, but one.
    Required,
    /// This one.
    Named(String),
}

/// A conversation as the model reads it.
#[derive(Clone, Debug)]
pub struct Written {
    /// What the template wrote.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// How the answer marks thoughts and calls.
    pub manner: Manner,
    /// Whether it begins within a thought.
    pub thinking: bool,
    /// The call that it has to be.
    pub call: Option<Grammar>,
}

/// Messages, each checked.
pub fn messages(value: Value) -> Result<Vec<Value>, ApiError> {
    let Value::Array(list) = value else {
        return Err(ApiError::param(
            "messages",
            format!("messages is {}; write an array of messages", kind(&value)),
        ));
    };
    if list.is_empty() {
        return Err(ApiError::param("messages", "there is no message; write at least one"));
    }
    list.into_iter()
        .enumerate()
        .map(|(number, value)| message(&format!("messages[{number}]"), value))
        .collect()
}

/// A message as templates take it.
pub fn message(name: &str, value: Value) -> Result<Value, ApiError> {
    let wrong = |field: &str, what: String| {
        ApiError::param(format!("{name}{field}"), format!("{name}{field} {what}"))
    };
    let Value::Object(mut message) = value else {
        return Err(wrong("", format!("is {}; write an object with role and content", kind(&value))));
    };
    let role = match message.get("role").and_then(Value::as_str) {
        Some("developer" | "system") => "system",
        Some("function" | "tool") => "tool",
        Some("user") => "user",
        Some("assistant") => "assistant",
        Some(other) => {
            return Err(wrong(
                ".role",
                format!("is '{other}'; write system, developer, user, assistant or tool"),
            ));
        }
        None => {
            return Err(wrong(
                ".role",
                "is missing; write system, developer, user, assistant or tool".into(),
            ));
        }
    };
    message.insert("role".into(), role.into());
    let content = content(&format!("{name}.content"), message.remove("content").unwrap_or_default())?;
    let calls = calls(&format!("{name}.tool_calls"), message.remove("tool_calls").unwrap_or_default())?;
    match content {
        Some(text) => message.insert("content".into(), text.into()),
        None if role == "assistant" => message.insert("content".into(), "".into()),
        None => return Err(wrong(".content", "is missing; write a text".into())),
    };
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Ok(message.into())
}

/// What a message says: a text, or parts that are texts.
fn content(name: &str, value: Value) -> Result<Option<String>, ApiError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Array(parts) => {
            let mut text = String::new();
            for (number, part) in parts.iter().enumerate() {
                let said = part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str);
                match (part.get("type").and_then(Value::as_str), said) {
                    (Some("text" | "input_text" | "output_text" | "refusal"), Some(said)) => text += said,
                    (Some(kind), _) => {
                        let name = format!("{name}[{number}]");
                        let message = format!("{name} is of type '{kind}', but the model reads text alone");
                        return Err(ApiError::param(name, message));
                    }
                    (None, _) => {
                        let name = format!("{name}[{number}].type");
                        return Err(ApiError::param(&name, format!("{name} is missing; write \"text\"")));
                    }
                }
            }
            Ok(Some(text))
        }
        other => Err(ApiError::param(name, format!("{name} is {}; write a text", kind(&other)))),
    }
}

/// Calls with their arguments as objects, which clients send as texts.
fn calls(name: &str, value: Value) -> Result<Vec<Value>, ApiError> {
    let wrong = || {
        ApiError::param(
            name,
            format!("{name} is no list of calls; write [{{\"id\", \"type\", \"function\"}}]"),
        )
    };
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list,
        _ => return Err(wrong()),
    };
    let call = |mut call: Value| {
        let function = call.get_mut("function").and_then(Value::as_object_mut)?;
        function.get("name").and_then(Value::as_str)?;
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) if text.trim().is_empty() => json!({}),
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
            Some(Value::Null) | None => json!({}),
            Some(other) => other.clone(),
        };
        function.insert("arguments".into(), arguments);
        let call = call.as_object_mut()?;
        call.entry("type").or_insert_with(|| "function".into());
        Some(Value::Object(std::mem::take(call)))
    };
    list.into_iter().map(|value| call(value).ok_or_else(wrong)).collect()
}

/// Definitions of functions, each checked. OpenAI's newer interface has a function's fields beside its type, not within.
pub fn tools(value: Option<Value>) -> Result<Vec<Value>, ApiError> {
    let list = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(ApiError::param("tools", format!("tools is {}; write an array", kind(&other))));
        }
    };
    list.into_iter().enumerate().map(|(number, value)| tool(number, value)).collect()
}

fn tool(number: usize, mut value: Value) -> Result<Value, ApiError> {
    let wrong = |field: &str, what: &str| {
        let name = format!("tools[{number}]{field}");
        ApiError::param(&name, format!("{name} {what}"))
    };
    if let Some(kind) = value.get("type").and_then(Value::as_str).filter(|kind| *kind != "function") {
        return Err(wrong(".type", &format!("is '{kind}', but the model calls functions alone")));
    }
    let inner = value.get("function").is_some();
    let function = if inner { value.get_mut("function") } else { Some(&mut value) };
    let Some(Value::Object(function)) = function else {
        return Err(wrong("", "is no function; write {\"type\": \"function\", \"function\": {…}}"));
    };
    let Some(name) = function.get("name").and_then(Value::as_str).map(str::to_owned) else {
        return Err(wrong(".function.name", "is missing"));
    };
    let parameters = match function.get("parameters") {
        None | Some(Value::Null) => json!({ "type": "object", "properties": {} }),
        Some(parameters @ Value::Object(_)) => parameters.clone(),
        Some(_) => return Err(wrong(".function.parameters", "is no JSON schema; write an object")),
    };
    let mut definition = Map::new();
    definition.insert("name".into(), name.into());
    // Templates write it out, whether it is there or not.
    let description =
        function.get("description").cloned().filter(Value::is_string).unwrap_or_else(|| "".into());
    definition.insert("description".into(), description);
    definition.insert("parameters".into(), parameters);
    Ok(json!({ "type": "function", "function": definition }))
}

/// What `tool_choice` says.
pub fn tool_choice(value: Option<Value>, tools: &[Value]) -> Result<ToolChoice, ApiError> {
    const NAME: &str = "tool_choice";
    let choice = match value {
        None | Some(Value::Null) => ToolChoice::Auto,
        Some(Value::String(word)) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" | "any" => ToolChoice::Required,
            other => {
                return Err(ApiError::param(
                    NAME,
                    format!("there is no tool_choice '{other}'; write auto, none, required or a function"),
                ));
            }
        },
        Some(object) => {
            let name =
                object.pointer("/function/name").or_else(|| object.get("name")).and_then(Value::as_str);
            let name = name.ok_or_else(|| ApiError::param(NAME, "tool_choice names no function; write {\"type\": \"function\", \"function\": {\"name\": …}}"))?;
            if !tools.iter().any(|tool| tool_name(tool) == name) {
                return Err(ApiError::param(
                    NAME,
                    format!("tool_choice names '{name}', which is not among the tools"),
                ));
            }
            ToolChoice::Named(name.to_owned())
        }
    };
    if choice == ToolChoice::Required && tools.is_empty() {
        return Err(ApiError::param(NAME, "tool_choice asks for a call, but there are no tools"));
    }
    Ok(choice)
}

fn tool_name(tool: &Value) -> &str {
    tool.pointer("/function/name").and_then(Value::as_str).unwrap_or_default()
}

/// What begins a call where the template knows none.
const OPEN: &str = "<tool_call>\n";

impl Conversation {
    /// Writes the conversation out, ready for the model's turn.
    pub fn write(mut self, served: &Served) -> Result<Written, ApiError> {
        if self.choice == ToolChoice::None {
            self.tools.clear();
        }
        let mut manner = served.template.manner();
        if self.tools.is_empty() {
            manner = manner.without_tools();
        }
        let native = served.template.knows_tools() && manner.calls.is_some();
        if !native {
            let asked = !self.tools.is_empty();
            self.messages = without_tools(&self.messages, &self.tools);
            if asked {
                manner.calls = Some(CallFormat::Hermes);
            }
        }
        let mut variables = served.variables.clone();
        variables.extend(std::mem::take(&mut self.variables));
        let tools = Some(&self.tools[..]).filter(|tools| native && !tools.is_empty());
        let options = Options { tools, more: Some(&variables), ..Options::default() };
        let vocabulary = served.tokenizer().vocabulary();
        let (mut text, encode) = prompt::write_out(vocabulary, &served.template, &self.messages, options)?;
        let mut thinking = manner.thoughts.is_some_and(|tags| tags.is_open_at_end_of(&text));
        let call = self.forced()?.map(|schema| schema_grammar(served, &schema)).transpose();
        let call = call.map_err(|error| error.of("tools"))?;
        if call.is_some() {
            // A call that has to be is not thought about.
            if let Some(tags) = manner.thoughts.filter(|_| thinking) {
                text += tags.ending;
                thinking = false;
            }
            if manner.calls == Some(CallFormat::Hermes) {
                text += OPEN;
            }
            manner = Manner::default();
        }
        let tokens = served.encode(&text, encode)?;
        Ok(Written { text, tokens, manner, thinking, call })
    }

    /// The schema of the call that has to be.
    fn forced(&self) -> Result<Option<Value>, ApiError> {
        let of = |tool: &Value| {
            let parameters = tool.pointer("/function/parameters").cloned().unwrap_or_default();
            json!({
                "type": "object",
                "properties": { "name": { "const": tool_name(tool) }, "arguments": object(parameters) },
                "required": ["name", "arguments"],
                "additionalProperties": false,
            })
        };
        let mut schemas: Vec<Value> = match &self.choice {
            ToolChoice::Auto | ToolChoice::None => return Ok(None),
            ToolChoice::Required => self.tools.iter().map(of).collect(),
            ToolChoice::Named(name) => {
                self.tools.iter().filter(|tool| tool_name(tool) == name).map(of).collect()
            }
        };
        // References point into the schema that they stand in, which is a part of this one now.
        if schemas.iter().any(|schema| schema.to_string().contains("\"$ref\"")) {
            let message = "a schema with $ref cannot be held to; write the parameters out, or leave tool_choice to the model";
            return Err(ApiError::param("tools", message));
        }
        Ok(Some(if schemas.len() == 1 { schemas.remove(0) } else { json!({ "anyOf": schemas }) }))
    }
}

/// A schema of arguments, which are an object.
fn object(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.entry("type").or_insert_with(|| "object".into());
    }
    schema
}

/// Messages for a template that knows no tools: tools stand in the system prompt, calls and results in the words of those who
/// made and got them.
fn without_tools(messages: &[Value], tools: &[Value]) -> Vec<Value> {
    let mut plain: Vec<Value> = Vec::with_capacity(messages.len() + 1);
    for message in messages {
        let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        let role = text("role");
        if role == "tool" {
            let result = format!("<tool_response>\n{}\n</tool_response>", text("content"));
            // Results that come together are one message.
            match plain.last_mut().and_then(|last| last.get_mut("results")) {
                Some(Value::String(results)) => {
                    results.push('\n');
                    results.push_str(&result);
                }
                _ => plain.push(json!({ "role": "user", "results": result })),
            }
            continue;
        }
        let mut message = message.clone();
        if let Some(Value::Array(calls)) =
            message.as_object_mut().and_then(|message| message.remove("tool_calls"))
        {
            let calls = calls.iter().map(|call| {
                let part = |name: &str| call.pointer(name).cloned().unwrap_or_default();
                let call =
                    json!({ "name": part("/function/name"), "arguments": part("/function/arguments") });
                format!("{OPEN}{call}\n</tool_call>")
            });
            let words = message.get("content").and_then(Value::as_str).map(str::to_owned);
            let said: Vec<String> =
                words.into_iter().filter(|words| !words.is_empty()).chain(calls).collect();
            message["content"] = said.join("\n").into();
        }
        plain.push(message);
    }
    for message in &mut plain {
        if let Some(results) = message.as_object_mut().and_then(|message| message.remove("results")) {
            message["content"] = results;
        }
    }
    if !tools.is_empty() {
        let told = told(tools);
        match plain.first_mut().filter(|first| first["role"] == "system") {
            Some(system) => {
                let before = system["content"].as_str().unwrap_or_default().to_owned();
                system["content"] = format!("{before}\n\n{told}").trim_start().into();
            }
            None => plain.insert(0, json!({ "role": "system", "content": told })),
        }
    }
    plain
}

/// What a model is told of tools.
fn told(tools: &[Value]) -> String {
    let list: Vec<String> = tools.iter().map(Value::to_string).collect();
    format!(
        "You may call these functions:\n<tools>\n{}\n</tools>\nTo call one, write its name and arguments as JSON:\n\
         {OPEN}{{\"name\": <name>, \"arguments\": <arguments>}}\n</tool_call>",
        list.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(list: Value) -> String {
        messages(list).unwrap_err().message
    }

    #[test]
    fn messages_are_brought_to_the_form_that_templates_take() {
        let list = json!([
            { "role": "developer", "content": [{ "type": "text", "text": "Be" }, { "type": "text", "text": " brief." }] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "a", "function": { "name": "f", "arguments": "{\"x\": 1}" } }] },
        ]);
        let made = messages(list).unwrap();
        assert_eq!(made[0], json!({ "role": "system", "content": "Be brief." }));
        assert_eq!(made[1]["tool_calls"][0]["function"]["arguments"], json!({ "x": 1 }));
        assert_eq!(made[1]["content"], "");
    }

    #[test]
    fn what_is_wrong_with_a_message_is_named_with_its_place() {
        assert_eq!(refused(json!([])), "there is no message; write at least one");
        assert_eq!(refused(json!("hi")), "messages is a text; write an array of messages");
        assert_eq!(refused(json!([3])), "messages[0] is a number; write an object with role and content");
        assert!(refused(json!([{ "role": "king" }])).starts_with("messages[0].role is 'king'"));
        assert_eq!(refused(json!([{ "role": "user" }])), "messages[0].content is missing; write a text");
        let picture = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]);
        assert_eq!(
            refused(picture),
            "messages[0].content[0] is of type 'image_url', but the model reads text alone"
        );
    }

    #[test]
    fn a_template_without_tools_is_told_of_them_in_words() {
        let tools = tools(Some(json!([{ "type": "function", "function": { "name": "clock" } }]))).unwrap();
        let list = json!([
            { "role": "user", "content": "What time is it?" },
            { "role": "assistant", "tool_calls": [{ "id": "a", "function": { "name": "clock", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": "a", "content": "nine" },
            { "role": "tool", "tool_call_id": "b", "content": "ten" },
        ]);
        let plain = without_tools(&messages(list).unwrap(), &tools);
        assert!(plain[0]["content"].as_str().unwrap().contains("\"name\":\"clock\""));
        assert_eq!(plain[2]["content"], "<tool_call>\n{\"name\":\"clock\",\"arguments\":{}}\n</tool_call>");
        assert_eq!(
            plain[3],
            json!({ "role": "user", "content": "<tool_response>\nnine\n</tool_response>\n<tool_response>\nten\n</tool_response>" })
        );
    }

    #[test]
    fn a_choice_of_tools_has_to_be_one_that_is_there() {
        let tools = tools(Some(json!([{ "type": "function", "name": "clock" }]))).unwrap();
        let choice =
            |value: Value, tools: &[Value]| tool_choice(Some(value), tools).map_err(|error| error.message);
        assert_eq!(
            choice(json!({ "type": "function", "name": "clock" }), &tools),
            Ok(ToolChoice::Named("clock".into()))
        );
        assert_eq!(choice(json!("none"), &tools), Ok(ToolChoice::None));
        assert!(choice(json!("required"), &[]).is_err());
        assert!(
            choice(json!({ "function": { "name": "watch" } }), &tools).unwrap_err().contains("not among")
        );
    }
}
