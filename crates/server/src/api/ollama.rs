//! Ollama's interface: `/api/chat`, `/api/generate` and what tells of models.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use stonechat_runtime::{Grammar, ToolCall};

use super::{chat, logprobs, stream};
use crate::answer::{Answer, Finish, News, PLAIN, Reason, Whole};
use crate::conversation::{self, Conversation};
use crate::error::ApiError;
use crate::fields::{Fields, kind};
use crate::model::Served;
use crate::question::{MOST_LOGPROBS, Question, Writing, schema_grammar};
use crate::state::Shared;

/// Which of the two an answer is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Chat,
    Generate,
}

impl Form {
    /// What an answer says, or a part of it.
    fn said(self, text: &str, thought: &str, calls: &[ToolCall]) -> Value {
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(index, call)| {
                json!({ "id": call.id, "function": { "index": index, "name": call.name, "arguments": call.arguments } })
            })
            .collect();
        let mut said = match self {
            Self::Chat => json!({ "role": "assistant", "content": text }),
            Self::Generate => json!({ "response": text }),
        };
        if !thought.is_empty() {
            said["thinking"] = thought.into();
        }
        if !calls.is_empty() {
            said["tool_calls"] = calls.into();
        }
        match self {
            Self::Chat => json!({ "message": said }),
            Self::Generate => said,
        }
    }
}

/// `/api/chat`: an answer to a conversation.
pub async fn chat(State(state): State<Shared>, fields: Fields) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let (served, (question, streams)) = state.prepare(move |served| read_chat(fields, served)).await?;
    Box::pin(respond(served, question, streams, Form::Chat, begun)).await
}

/// `/api/generate`: an answer to a prompt.
pub async fn generate(State(state): State<Shared>, fields: Fields) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let (served, (question, streams)) = state.prepare(move |served| read_generate(fields, served)).await?;
    Box::pin(respond(served, question, streams, Form::Generate, begun)).await
}

async fn respond(
    served: Arc<Served>,
    question: Question,
    streams: bool,
    form: Form,
    begun: Instant,
) -> Result<Response, ApiError> {
    let answer = Answer::ask(&served, &Arc::new(question), 0)?;
    if streams {
        return Ok(stream::lines(parts(served, answer, form, begun)));
    }
    let whole = Whole::of(answer).await?;
    let mut body = part(&served, form.said(&whole.text, &whole.thought, &whole.calls));
    if !whole.tokens.is_empty() {
        body["logprobs"] = logprobs::of_chat(&served, &whole.tokens).into();
    }
    end(&mut body, &whole.finish, begun);
    Ok(Json(body).into_response())
}

/// An answer as it comes.
fn parts(served: Arc<Served>, answer: Answer, form: Form, begun: Instant) -> impl Stream<Item = Value> {
    async_stream::stream! {
        let mut held = Vec::new();
        let mut news = std::pin::pin!(answer.news());
        while let Some(news) = news.next().await {
            let said = match news {
                Ok(News::Text(text)) => form.said(&text, "", &[]),
                Ok(News::Thought(thought)) => form.said("", &thought, &[]),
                Ok(News::Call(call)) => form.said("", "", &[call]),
                Ok(News::Tokens(tokens)) => {
                    held.extend(tokens);
                    continue;
                }
                Ok(News::Reading { .. }) => continue,
                Ok(News::Finish(finish)) => {
                    let mut last = part(&served, form.said("", "", &[]));
                    if !held.is_empty() {
                        last["logprobs"] = logprobs::of_chat(&served, &held).into();
                    }
                    end(&mut last, &finish, begun);
                    yield last;
                    return;
                }
                Err(error) => {
                    yield json!({ "error": error.message });
                    return;
                }
            };
            let mut part = part(&served, said);
            if !held.is_empty() {
                part["logprobs"] = logprobs::of_chat(&served, &std::mem::take(&mut held)).into();
            }
            yield part;
        }
    }
}

fn part(served: &Served, said: Value) -> Value {
    let mut part = json!({ "model": served.name(), "created_at": Timestamp::now().to_string() });
    if let (Some(part), Value::Object(said)) = (part.as_object_mut(), said) {
        part.extend(said);
        part.insert("done".into(), false.into());
    }
    part
}

/// Adds what stands at the end of an answer. Times are in nanoseconds.
fn end(part: &mut Value, finish: &Finish, begun: Instant) {
    let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
    let usage = finish.usage;
    part["done"] = true.into();
    part["done_reason"] = if finish.reason == Reason::Length { "length" } else { "stop" }.into();
    part["total_duration"] = nanoseconds(begun.elapsed().as_secs_f64()).into();
    part["load_duration"] = 0.into();
    part["prompt_eval_count"] = usage.prompt_tokens.into();
    part["prompt_eval_duration"] = nanoseconds(usage.prompt_seconds).into();
    part["eval_count"] = usage.generated_tokens.into();
    part["eval_duration"] = nanoseconds(usage.generated_seconds).into();
}

fn read_chat(mut fields: Fields, served: &Arc<Served>) -> Result<(Question, bool), ApiError> {
    let common = Common::take(&mut fields, served)?;
    let messages = conversation::messages(called(fields.need("messages")?))?;
    let tools = conversation::tools(fields.take("tools")?)?;
    let conversation = Conversation { messages, tools, ..Conversation::default() };
    common.ask(conversation, served)
}

fn read_generate(mut fields: Fields, served: &Arc<Served>) -> Result<(Question, bool), ApiError> {
    let common = Common::take(&mut fields, served)?;
    let prompt: String = fields.take("prompt")?.unwrap_or_default();
    if fields.take::<String>("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::param("suffix", "a suffix cannot be held to; leave it out"));
    }
    if fields.take::<Vec<Value>>("images")?.is_some_and(|images| !images.is_empty()) {
        return Err(ApiError::param("images", "the model reads text alone; leave images out"));
    }
    if fields.take("raw")?.unwrap_or(false) {
        let prompt = served.encode_raw(&prompt)?;
        let Common { writing, grammar, streams, .. } = common;
        let mut question = Question {
            prompt,
            manner: PLAIN,
            thinking: false,
            think: None,
            writing,
            grammar,
            is_call: false,
        };
        question.check(served)?;
        return Ok((question, streams));
    }
    let system = fields.take::<String>("system")?.map(|text| json!({ "role": "system", "content": text }));
    let messages = system.into_iter().chain([json!({ "role": "user", "content": prompt })]).collect();
    common.ask(Conversation { messages, ..Conversation::default() }, served)
}

/// Ollama's clients send arguments as objects and no ids: that is what templates take. Results name their tool.
fn called(mut messages: Value) -> Value {
    for message in messages.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(name) = message.remove("tool_name") {
            message.insert("name".into(), name);
        }
        if let Some(thought) = message.remove("thinking") {
            message.insert("reasoning_content".into(), thought);
        }
        if message.get("images").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            message.remove("images");
        }
    }
    messages
}

/// What both have in common.
struct Common {
    writing: Writing,
    grammar: Option<Grammar>,
    streams: bool,
    think: Option<usize>,
    variables: Map<String, Value>,
}

impl Common {
    fn take(fields: &mut Fields, served: &Arc<Served>) -> Result<Self, ApiError> {
        let name: Option<String> = fields.take("model")?;
        let name = name.as_deref().map(|name| name.strip_suffix(":latest").unwrap_or(name));
        served.check_name(name)?;
        let streams = fields.take("stream")?.unwrap_or(true);
        // Names are llama.cpp's, of which Ollama is made.
        let mut options = match fields.take::<Value>("options")? {
            Some(options) => Fields::within("options", options)?,
            None => Fields::within("options", json!({}))?,
        };
        let most = options.take::<i64>("num_predict")?;
        let mut writing = Writing::take(&mut options, served)?;
        writing.limit(most.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0));
        writing.choices = 1;
        if fields.take("logprobs")?.unwrap_or(false) {
            writing.logprobs = Some(fields.count("top_logprobs", 0, MOST_LOGPROBS)?.unwrap_or(0));
        }
        let grammar = match fields.take::<Value>("format")? {
            None => None,
            Some(Value::String(empty)) if empty.is_empty() => None,
            Some(Value::String(json)) if json == "json" => {
                Some(schema_grammar(served, &json!({ "type": "object" }))?)
            }
            Some(schema @ Value::Object(_)) => {
                Some(schema_grammar(served, &schema).map_err(|error| error.of("format"))?)
            }
            Some(other) => {
                return Err(ApiError::param(
                    "format",
                    format!("format is {}; write \"json\" or a JSON schema", kind(&other)),
                ));
            }
        };
        let mut variables = Map::new();
        let think = match fields.take::<Value>("think")? {
            Some(Value::Bool(false)) => Some(0),
            Some(Value::Bool(true)) => {
                variables.insert(stonechat_runtime::template::ENABLE_THINKING.into(), true.into());
                None
            }
            Some(Value::String(effort)) => {
                variables.insert("reasoning_effort".into(), effort.into());
                None
            }
            _ => None,
        };
        Ok(Self { writing, grammar, streams, think, variables })
    }

    fn ask(self, mut conversation: Conversation, served: &Arc<Served>) -> Result<(Question, bool), ApiError> {
        conversation.variables = self.variables;
        let question = chat::question(conversation, self.writing, self.grammar, self.think, served)?;
        Ok((question, self.streams))
    }
}

/// The details of a model.
fn details(served: &Served) -> Value {
    let facts = &served.facts;
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": size(facts.parameters),
        "quantization_level": facts.format.to_uppercase(),
    })
}

/// A number of weights for people: 134.52M.
fn size(parameters: u64) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.2}B", n / 1e9),
        n if n >= 1e6 => format!("{:.2}M", n / 1e6),
        n => format!("{:.2}K", n / 1e3),
    }
}

/// `/api/tags`: what is served.
pub async fn tags(State(state): State<Shared>) -> Json<Value> {
    let served = state.served();
    let modified = Timestamp::try_from(served.facts.modified).unwrap_or_default().to_string();
    let model = |name: &String| json!({ "name": name, "model": name, "modified_at": modified, "size": served.facts.bytes, "details": details(&served) });
    Json(json!({ "models": served.names.iter().map(model).collect::<Vec<_>>() }))
}

/// `/api/show`: more about a model.
pub async fn show(State(state): State<Shared>, mut fields: Fields) -> Result<Json<Value>, ApiError> {
    let served = state.served();
    let name = fields.take::<String>("model")?.or(fields.take("name")?);
    served.check_name(name.as_deref().map(|name| name.strip_suffix(":latest").unwrap_or(name)))?;
    let facts = &served.facts;
    let mut capabilities = vec!["completion", "tools"];
    if served.template.manner().thoughts.is_some() {
        capabilities.push("thinking");
    }
    let architecture = facts.architecture;
    Ok(Json(json!({
        "details": details(&served),
        "template": facts.template.as_deref().unwrap_or_default(),
        "capabilities": capabilities,
        "modified_at": Timestamp::try_from(facts.modified).unwrap_or_default().to_string(),
        "model_info": {
            "general.architecture": architecture,
            "general.parameter_count": facts.parameters,
            format!("{architecture}.context_length"): facts.trained_context,
            format!("{architecture}.embedding_length"): facts.embedding,
        },
    })))
}

/// `/api/version`.
pub async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}
