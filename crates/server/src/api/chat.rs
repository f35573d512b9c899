//! `/v1/chat/completions`: an answer to a conversation.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value, json};

use super::{arguments, logprobs, stream, usage};
use crate::answer::{self, Answer, Finish, News, Whole};
use crate::conversation::{self, Conversation};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::ids;
use crate::model::{Served, seconds};
use crate::question::{MOST_LOGPROBS, Question, Writing, take_format};
use crate::state::Shared;

/// Fields that change nothing here.
pub const IGNORED: [&str; 14] = [
    "cache_prompt",
    "id_slot",
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "timings_per_token",
    "user",
    "verbosity",
    "modalities",
];

/// How an answer is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sending {
    /// As it comes.
    pub stream: bool,
    /// What it took at the end of the stream.
    pub usage: bool,
    /// How far the prompt has been read.
    pub progress: bool,
}

impl Sending {
    /// Takes what a request says of it.
    pub fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let stream = fields.take("stream")?.unwrap_or(false);
        let mut usage = false;
        if let Some(mut options) = fields.object("stream_options")? {
            if !stream {
                return Err(ApiError::param(
                    "stream_options",
                    "stream_options is for stream = true; leave it out",
                ));
            }
            usage = options.take("include_usage")?.unwrap_or(false);
            options.ignore(&["include_obfuscation"]);
            options.finish()?;
        }
        Ok(Self { stream, usage, progress: fields.take("return_progress")?.unwrap_or(false) })
    }
}

/// Answers.
pub async fn complete(State(state): State<Shared>, fields: Fields) -> Result<Response, ApiError> {
    let (served, (question, sending)) = state.prepare(move |served| read(fields, served)).await?;
    let answers = answer::ask(&served, question)?;
    let head = Head { id: ids::name("chatcmpl-"), created: seconds(SystemTime::now()) };
    if sending.stream {
        return Ok(stream::events(chunks(served, answers, head, sending).map(|chunk| (None, chunk)), true));
    }
    let whole = answer::all(answers).await?;
    let finishes: Vec<Finish> = whole.iter().map(|whole| whole.finish).collect();
    let choices = whole.into_iter().enumerate().map(|(index, whole)| choice(&served, index, whole));
    let mut body = head.json("chat.completion", &served);
    body["choices"] = choices.collect();
    body["usage"] = usage::usage(&finishes);
    body["timings"] = usage::timings(&finishes[0]);
    Ok(Json(body).into_response())
}

/// Reads a request.
fn read(mut fields: Fields, served: &Arc<Served>) -> Result<(Question, Sending), ApiError> {
    served.check_name(fields.take::<String>("model")?.as_deref())?;
    let sending = Sending::take(&mut fields)?;
    let mut writing = Writing::take(&mut fields, served)?;
    writing.limit(fields.count("max_tokens", 1, usize::MAX)?);
    writing.limit(fields.count("max_completion_tokens", 1, usize::MAX)?);
    let top = fields.count("top_logprobs", 0, MOST_LOGPROBS)?;
    writing.logprobs = match (fields.take("logprobs")?.unwrap_or(false), top) {
        (true, top) => Some(top.unwrap_or(0)),
        (false, None | Some(0)) => None,
        (false, Some(_)) => {
            return Err(ApiError::param("top_logprobs", "top_logprobs needs logprobs = true"));
        }
    };
    let format = take_format(&mut fields, served)?;
    let think = fields.count("thinking_budget_tokens", 0, usize::MAX)?;
    let conversation = take_conversation(&mut fields)?;
    fields.ignore(&IGNORED);
    fields.finish()?;
    let question = question(conversation, writing, format, think, served)?;
    Ok((question, sending))
}

/// Takes the conversation of a request.
fn take_conversation(fields: &mut Fields) -> Result<Conversation, ApiError> {
    let messages = conversation::messages(fields.need("messages")?)?;
    let tools = conversation::tools(fields.take("tools")?)?;
    let choice = conversation::tool_choice(fields.take("tool_choice")?, &tools)?;
    let mut variables: Map<String, Value> = fields.take("chat_template_kwargs")?.unwrap_or_default();
    if let Some(effort) = fields.take::<String>("reasoning_effort")? {
        if effort == "none" {
            variables.entry(stonechat_runtime::template::ENABLE_THINKING).or_insert(false.into());
        }
        variables.entry("reasoning_effort").or_insert(effort.into());
    }
    Ok(Conversation { messages, tools, choice, variables })
}

/// A conversation as a question.
pub fn question(
    mut conversation: Conversation,
    writing: Writing,
    format: Option<stonechat_runtime::Grammar>,
    think: Option<usize>,
    served: &Arc<Served>,
) -> Result<Question, ApiError> {
    let think = think.or(served.think);
    served.template.let_think(think, &mut conversation.variables);
    let written = conversation.write(served)?;
    if written.call.is_some() && format.is_some() {
        return Err(ApiError::param(
            "tool_choice",
            "a call that has to be leaves no room for response_format; give one of them",
        ));
    }
    let is_call = written.call.is_some();
    let mut question = Question {
        prompt: written.tokens,
        manner: written.manner,
        thinking: written.thinking,
        think,
        writing,
        grammar: written.call.or(format),
        is_call,
    };
    question.check(served)?;
    Ok(question)
}

/// What stands at the beginning of each object.
struct Head {
    id: String,
    created: u64,
}

impl Head {
    fn json(&self, object: &str, served: &Served) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": served.name(),
            "system_fingerprint": concat!("stonechat-", env!("CARGO_PKG_VERSION")),
        })
    }
}

/// A whole answer.
fn choice(served: &Served, index: usize, whole: Whole) -> Value {
    let mut message = json!({ "role": "assistant", "content": whole.text, "refusal": null });
    if !whole.thought.is_empty() {
        message["reasoning_content"] = whole.thought.into();
    }
    if !whole.calls.is_empty() {
        if message["content"] == "" {
            message["content"] = Value::Null;
        }
        let calls = whole.calls.iter().map(|call| {
            json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments(call) } })
        });
        message["tool_calls"] = calls.collect();
    }
    let tokens = match &whole.tokens[..] {
        [] => Value::Null,
        tokens => json!({ "content": logprobs::of_chat(served, tokens), "refusal": null }),
    };
    json!({ "index": index, "message": message, "logprobs": tokens, "finish_reason": whole.finish.reason.name() })
}

/// Answers as they come.
fn chunks(
    served: Arc<Served>,
    answers: Vec<Answer>,
    head: Head,
    sending: Sending,
) -> impl Stream<Item = Value> {
    async_stream::stream! {
        let chunk = |choices: Value| {
            let mut chunk = head.json("chat.completion.chunk", &served);
            chunk["choices"] = choices;
            if sending.usage {
                chunk["usage"] = Value::Null;
            }
            chunk
        };
        let told = |tokens: Vec<_>| match &tokens[..] {
            [] => Value::Null,
            tokens => json!({ "content": logprobs::of_chat(&served, tokens), "refusal": null }),
        };
        let delta = |index: usize, delta: Value| {
            chunk(json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": null }]))
        };
        let mut calls = vec![0; answers.len()];
        // Tokens go with the words that they made.
        let mut held = vec![Vec::new(); answers.len()];
        let mut finishes = Vec::new();
        for index in 0..answers.len() {
            yield delta(index, json!({ "role": "assistant", "content": "" }));
        }
        let mut news = std::pin::pin!(answer::news_of_all(answers));
        while let Some((index, news)) = news.next().await {
            match news {
                Ok(News::Reading { known, read, of }) => {
                    if sending.progress {
                        let mut progress = delta(index, json!({}));
                        progress["prompt_progress"] = json!({ "total": of, "cache": known, "processed": known + read });
                        yield progress;
                    }
                }
                Ok(News::Thought(text)) => yield delta(index, json!({ "reasoning_content": text })),
                Ok(News::Text(text)) => {
                    let mut words = delta(index, json!({ "content": text }));
                    words["choices"][0]["logprobs"] = told(std::mem::take(&mut held[index]));
                    yield words;
                }
                Ok(News::Tokens(tokens)) => held[index].extend(tokens),
                Ok(News::Call(call)) => {
                    let number = calls[index];
                    calls[index] += 1;
                    let function = json!({ "name": call.name, "arguments": arguments(&call) });
                    let call = json!({ "index": number, "id": call.id, "type": "function", "function": function });
                    yield delta(index, json!({ "tool_calls": [call] }));
                }
                Ok(News::Finish(finish)) => {
                    finishes.push(finish);
                    let reason = finish.reason.name();
                    let tokens = told(std::mem::take(&mut held[index]));
                    let mut last = chunk(json!([{ "index": index, "delta": {}, "logprobs": tokens, "finish_reason": reason }]));
                    last["timings"] = usage::timings(&finish);
                    yield last;
                }
                Err(error) => {
                    yield error.json();
                    return;
                }
            }
        }
        if sending.usage {
            let mut last = chunk(json!([]));
            last["usage"] = usage::usage(&finishes);
            yield last;
        }
    }
}
