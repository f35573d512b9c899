//! `/v1/responses`: OpenAI's newer interface, as far as text and functions go. Nothing is kept between requests.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value, json};
use stonechat_runtime::{Grammar, ToolCall};

use super::chat::question;
use super::{arguments, stream, usage};
use crate::answer::{Answer, Finish, News, Reason, Whole};
use crate::conversation::{self, Conversation};
use crate::error::ApiError;
use crate::fields::{Fields, kind};
use crate::ids;
use crate::model::{Served, seconds};
use crate::question::{Question, Writing, schema_grammar};
use crate::state::Shared;

/// Fields that change nothing here.
const IGNORED: [&str; 15] = [
    "include",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "top_logprobs",
    "truncation",
    "user",
    "verbosity",
    "background",
];

/// Answers.
pub async fn respond(State(state): State<Shared>, fields: Fields) -> Result<Response, ApiError> {
    let (served, (question, told, streams)) = state.prepare(move |served| read(fields, served)).await?;
    let answer = Answer::ask(&served, &Arc::new(question), 0)?;
    let head = Head {
        id: ids::name("resp_"),
        created: seconds(SystemTime::now()),
        model: served.name().to_owned(),
        told,
    };
    if streams {
        return Ok(stream::events(events(answer, head), false));
    }
    let whole = Whole::of(answer).await?;
    let mut output = Vec::new();
    if !whole.thought.is_empty() {
        output.push(reasoning(&ids::name("rs_"), &whole.thought));
    }
    if !whole.text.is_empty() || whole.calls.is_empty() {
        output.push(message(&ids::name("msg_"), &whole.text, "completed"));
    }
    output.extend(whole.calls.iter().map(|call| function_call(&ids::name("fc_"), call)));
    Ok(Json(head.response(Some(&whole.finish), &output)).into_response())
}

/// Reads a request: the question, what of it is told once more, and whether the answer is sent as it comes.
fn read(mut fields: Fields, served: &Arc<Served>) -> Result<(Question, Map<String, Value>, bool), ApiError> {
    served.check_name(fields.take::<String>("model")?.as_deref())?;
    for field in ["previous_response_id", "conversation", "prompt"] {
        if fields.take::<Value>(field)?.is_some() {
            let message =
                format!("nothing is kept here that {field} could name; send the whole conversation as input");
            return Err(ApiError::param(field, message));
        }
    }
    let streams = fields.take("stream")?.unwrap_or(false);
    let mut writing = Writing::take(&mut fields, served)?;
    writing.choices = 1;
    let most = fields.count("max_output_tokens", 1, usize::MAX)?;
    writing.limit(most);
    let format = take_text_format(&mut fields, served)?;
    let instructions: Option<String> = fields.take("instructions")?;
    let mut messages: Vec<Value> =
        instructions.iter().map(|text| json!({ "role": "system", "content": text })).collect();
    messages.extend(input(fields.need("input")?)?);
    let tools = conversation::tools(fields.take("tools")?)?;
    let choice = conversation::tool_choice(fields.take("tool_choice")?, &tools)?;
    let mut variables = Map::new();
    if let Some(mut reasoning) = fields.object("reasoning")? {
        if let Some(effort) = reasoning.take::<String>("effort")? {
            variables.insert("reasoning_effort".into(), effort.into());
        }
        reasoning.ignore(&["summary", "generate_summary"]);
        reasoning.finish()?;
    }
    fields.ignore(&IGNORED);
    fields.finish()?;
    let mut told = Map::new();
    told.insert("instructions".into(), json!(instructions));
    told.insert("max_output_tokens".into(), json!(most));
    told.insert("temperature".into(), json!(writing.sampling.temperature));
    told.insert("top_p".into(), json!(writing.sampling.top_p));
    let flat = tools.iter().map(|tool| {
        let mut tool = tool["function"].clone();
        tool["type"] = "function".into();
        tool["strict"] = false.into();
        tool
    });
    told.insert("tools".into(), flat.collect());
    let conversation = Conversation { messages, tools, choice, variables };
    let question = question(conversation, writing, format, None, served).map_err(|mut error| {
        if error.param.as_deref() == Some("messages") {
            error.param = Some("input".into());
        }
        error
    })?;
    Ok((question, told, streams))
}

/// What `text.format` asks answers to match.
fn take_text_format(fields: &mut Fields, served: &Served) -> Result<Option<Grammar>, ApiError> {
    let Some(mut text) = fields.object("text")? else { return Ok(None) };
    let Some(mut format) = text.object("format")? else { return Ok(None) };
    let of = |error: ApiError| error.of("text.format");
    match format.need::<String>("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => schema_grammar(served, &json!({ "type": "object" })).map(Some).map_err(of),
        "json_schema" => schema_grammar(served, &format.need("schema")?).map(Some).map_err(of),
        other => Err(ApiError::param(
            "text.format.type",
            format!("there is no format '{other}'; there are text, json_object and json_schema"),
        )),
    }
}

/// A text, or items of a conversation, as messages.
fn input(value: Value) -> Result<Vec<Value>, ApiError> {
    let list = match value {
        Value::String(text) => return Ok(vec![json!({ "role": "user", "content": text })]),
        Value::Array(list) if !list.is_empty() => list,
        Value::Array(_) => return Err(ApiError::param("input", "input is empty; write a text or items")),
        other => {
            return Err(ApiError::param(
                "input",
                format!("input is {}; write a text or items", kind(&other)),
            ));
        }
    };
    let mut messages: Vec<Value> = Vec::new();
    for (number, item) in list.into_iter().enumerate() {
        let name = format!("input[{number}]");
        let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
        match item.get("type").and_then(Value::as_str).unwrap_or("message") {
            "message" => messages.push(conversation::message(&name, item)?),
            "function_call" => {
                let call = json!({
                    "id": text("call_id"), "type": "function",
                    "function": { "name": text("name"), "arguments": text("arguments") },
                });
                let called =
                    conversation::message(&name, json!({ "role": "assistant", "tool_calls": [call] }))?;
                // Calls that come together are one turn.
                let before = messages
                    .last_mut()
                    .and_then(|last| last.get_mut("tool_calls"))
                    .and_then(Value::as_array_mut);
                match before {
                    Some(calls) => calls.extend(called["tool_calls"].as_array().cloned().unwrap_or_default()),
                    None => messages.push(called),
                }
            }
            "function_call_output" => {
                let output = match item.get("output") {
                    Some(Value::String(output)) => output.clone(),
                    Some(output) => output.to_string(),
                    None => {
                        return Err(ApiError::param(
                            format!("{name}.output"),
                            format!("{name}.output is missing"),
                        ));
                    }
                };
                messages.push(json!({ "role": "tool", "tool_call_id": text("call_id"), "content": output }));
            }
            // What was thought before is not shown again.
            "reasoning" => (),
            other => {
                let message = format!(
                    "{name} is of type '{other}'; there are message, function_call and function_call_output"
                );
                return Err(ApiError::param(name, message));
            }
        }
    }
    if messages.is_empty() {
        return Err(ApiError::param("input", "input has no message; write at least one"));
    }
    Ok(messages)
}

/// What stands in every response.
struct Head {
    id: String,
    created: u64,
    model: String,
    told: Map<String, Value>,
}

impl Head {
    fn response(&self, finish: Option<&Finish>, output: &[Value]) -> Value {
        let (status, incomplete) = match finish.map(|finish| finish.reason) {
            None => ("in_progress", Value::Null),
            Some(Reason::Length) => ("incomplete", json!({ "reason": "max_output_tokens" })),
            Some(_) => ("completed", Value::Null),
        };
        let mut response = json!({
            "id": self.id, "object": "response", "created_at": self.created, "status": status, "error": null,
            "incomplete_details": incomplete, "model": self.model, "output": output, "parallel_tool_calls": true,
            "previous_response_id": null, "store": false, "tool_choice": "auto", "truncation": "disabled",
            "metadata": {}, "text": { "format": { "type": "text" } }, "usage": finish.map(usage::of_response),
        });
        if let Some(response) = response.as_object_mut() {
            response.extend(self.told.clone());
        }
        response
    }
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

fn message(id: &str, text: &str, status: &str) -> Value {
    let content = if status == "completed" { vec![part(text)] } else { Vec::new() };
    json!({ "type": "message", "id": id, "status": status, "role": "assistant", "content": content })
}

fn reasoning(id: &str, text: &str) -> Value {
    json!({ "type": "reasoning", "id": id, "summary": [], "content": [{ "type": "reasoning_text", "text": text }] })
}

fn function_call(id: &str, call: &ToolCall) -> Value {
    json!({
        "type": "function_call", "id": id, "call_id": call.id, "name": call.name, "arguments": arguments(call),
        "status": "completed",
    })
}

/// The item that is being written.
enum Open {
    Thought { id: String, text: String },
    Text { id: String, text: String },
}

/// Events of a response, numbered.
struct Events {
    number: usize,
    ready: Vec<(Option<&'static str>, Value)>,
    output: Vec<Value>,
    open: Option<Open>,
}

impl Events {
    fn say(&mut self, name: &'static str, fields: Value) {
        let mut event = json!({ "type": name, "sequence_number": self.number });
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.number += 1;
        self.ready.push((Some(name), event));
    }

    fn thought(&mut self, delta: &str) {
        if !matches!(self.open, Some(Open::Thought { .. })) {
            self.close();
            let id = ids::name("rs_");
            let item = json!({ "type": "reasoning", "id": id, "summary": [], "content": [] });
            self.say(
                "response.output_item.added",
                json!({ "output_index": self.output.len(), "item": item }),
            );
            self.open = Some(Open::Thought { id, text: String::new() });
        }
        let index = self.output.len();
        if let Some(Open::Thought { id, text }) = &mut self.open {
            text.push_str(delta);
            let fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "delta": delta });
            self.say("response.reasoning_text.delta", fields);
        }
    }

    fn text(&mut self, delta: &str) {
        if !matches!(self.open, Some(Open::Text { .. })) {
            self.close();
            let (id, index) = (ids::name("msg_"), self.output.len());
            let item = message(&id, "", "in_progress");
            self.say("response.output_item.added", json!({ "output_index": index, "item": item }));
            let fields =
                json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part("") });
            self.say("response.content_part.added", fields);
            self.open = Some(Open::Text { id, text: String::new() });
        }
        let index = self.output.len();
        if let Some(Open::Text { id, text }) = &mut self.open
            && !delta.is_empty()
        {
            text.push_str(delta);
            let fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "delta": delta, "logprobs": [] });
            self.say("response.output_text.delta", fields);
        }
    }

    fn call(&mut self, call: &ToolCall) {
        self.close();
        let (index, item) = (self.output.len(), function_call(&ids::name("fc_"), call));
        let mut begun = item.clone();
        (begun["arguments"], begun["status"]) = ("".into(), "in_progress".into());
        self.say("response.output_item.added", json!({ "output_index": index, "item": begun }));
        let (id, arguments) = (item["id"].clone(), arguments(call));
        let fields = json!({ "item_id": id, "output_index": index, "delta": arguments });
        self.say("response.function_call_arguments.delta", fields);
        let fields =
            json!({ "item_id": id, "output_index": index, "name": call.name, "arguments": arguments });
        self.say("response.function_call_arguments.done", fields);
        self.done(item);
    }

    /// Ends the item that is being written.
    fn close(&mut self) {
        let index = self.output.len();
        match self.open.take() {
            None => (),
            Some(Open::Thought { id, text }) => {
                let fields =
                    json!({ "item_id": id, "output_index": index, "content_index": 0, "text": text });
                self.say("response.reasoning_text.done", fields);
                self.done(reasoning(&id, &text));
            }
            Some(Open::Text { id, text }) => {
                let place = json!({ "item_id": id, "output_index": index, "content_index": 0 });
                let (mut whole, mut ended) = (place.clone(), place);
                (whole["text"], whole["logprobs"]) = (text.as_str().into(), json!([]));
                ended["part"] = part(&text);
                self.say("response.output_text.done", whole);
                self.say("response.content_part.done", ended);
                self.done(message(&id, &text, "completed"));
            }
        }
    }

    fn done(&mut self, item: Value) {
        let index = self.output.len();
        self.say("response.output_item.done", json!({ "output_index": index, "item": item }));
        self.output.push(item);
    }
}

/// An answer as it comes.
fn events(answer: Answer, head: Head) -> impl Stream<Item = (Option<&'static str>, Value)> {
    async_stream::stream! {
        let mut events = Events { number: 0, ready: Vec::new(), output: Vec::new(), open: None };
        for name in ["response.created", "response.in_progress"] {
            events.say(name, json!({ "response": head.response(None, &[]) }));
        }
        let mut news = std::pin::pin!(answer.news());
        loop {
            for event in std::mem::take(&mut events.ready) {
                yield event;
            }
            match news.next().await {
                Some(Ok(News::Thought(text))) => events.thought(&text),
                Some(Ok(News::Text(text))) => events.text(&text),
                Some(Ok(News::Call(call))) => events.call(&call),
                Some(Ok(News::Reading { .. } | News::Tokens(_))) => (),
                Some(Ok(News::Finish(finish))) => {
                    // There is a message always, be it an empty one.
                    if events.open.is_none() && events.output.iter().all(|item| item["type"] == "reasoning") {
                        events.text("");
                    }
                    events.close();
                    let name = match finish.reason {
                        Reason::Length => "response.incomplete",
                        Reason::Stop | Reason::Calls => "response.completed",
                    };
                    let response = head.response(Some(&finish), &events.output);
                    events.say(name, json!({ "response": response }));
                    for event in std::mem::take(&mut events.ready) {
                        yield event;
                    }
                    return;
                }
                Some(Err(error)) => {
                    let mut response = head.response(None, &events.output);
                    response["status"] = "failed".into();
                    response["error"] = json!({ "code": "server_error", "message": error.message });
                    events.say("response.failed", json!({ "response": response }));
                    for event in std::mem::take(&mut events.ready) {
                        yield event;
                    }
                    return;
                }
                None => return,
            }
        }
    }
}
