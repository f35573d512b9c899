//! `/v1/completions`: how a text goes on, without a template.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use super::chat::{IGNORED, Sending};
use super::{logprobs, stream, usage};
use crate::answer::{self, Answer, Finish, News, PLAIN};
use crate::error::ApiError;
use crate::fields::{Fields, kind};
use crate::ids;
use crate::model::{Served, seconds};
use crate::question::{MOST_CHOICES, Question, Writing, take_format};
use crate::scheduler::LogProb;
use crate::state::Shared;

/// Tokens of an answer where nothing is said: OpenAI's default.
const MOST_TOKENS: usize = 16;

/// Prompts, and what comes before their answers.
struct Asked {
    questions: Vec<Question>,
    /// The prompts' texts, where they are to be told once more.
    echoes: Vec<String>,
    sending: Sending,
}

/// Answers.
pub async fn complete(State(state): State<Shared>, fields: Fields) -> Result<Response, ApiError> {
    let (served, asked) = state.prepare(move |served| read(fields, served)).await?;
    let mut answers = Vec::new();
    for question in asked.questions {
        answers.extend(answer::ask(&served, question)?);
    }
    let (id, created) = (ids::name("cmpl-"), seconds(SystemTime::now()));
    let head = move |served: &Served| json!({ "id": id, "object": "text_completion", "created": created, "model": served.name() });
    let each = answers.len() / asked.echoes.len();
    let echo = move |index: usize| asked.echoes[index / each].clone();
    if asked.sending.stream {
        let chunks = chunks(served, answers, head, echo, asked.sending);
        return Ok(stream::events(chunks.map(|chunk| (None, chunk)), true));
    }
    let whole = answer::all(answers).await?;
    // Each prompt counts once.
    let of_prompt = whole.chunks(each).map(|of| of.iter().map(|whole| whole.finish).collect::<Vec<Finish>>());
    let totals = of_prompt.map(|finishes| usage::usage(&finishes)).reduce(add).unwrap_or_default();
    let choices = whole.iter().enumerate().map(|(index, whole)| {
        let echo = echo(index);
        let tokens = told(&served, &whole.tokens, echo.chars().count());
        choice(index, &(echo + &whole.text), &tokens, Some(whole.finish))
    });
    let mut body = head(&served);
    body["choices"] = choices.collect();
    body["usage"] = totals;
    Ok(Json(body).into_response())
}

/// Adds numbers that have the same names.
fn add(a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Object(mut a), Value::Object(b)) => {
            for (name, value) in b {
                let sum = add(a.remove(&name).unwrap_or_default(), value);
                a.insert(name, sum);
            }
            a.into()
        }
        (a, b) => (a.as_u64().unwrap_or(0) + b.as_u64().unwrap_or(0)).into(),
    }
}

fn told(served: &Served, tokens: &[(u32, LogProb)], offset: usize) -> Value {
    if tokens.is_empty() { Value::Null } else { logprobs::of_completion(served, tokens, offset) }
}

fn choice(index: usize, text: &str, tokens: &Value, finish: Option<Finish>) -> Value {
    let reason = finish.map(|finish| finish.reason.name());
    json!({ "index": index, "text": text, "logprobs": tokens, "finish_reason": reason })
}

/// Reads a request.
fn read(mut fields: Fields, served: &Arc<Served>) -> Result<Asked, ApiError> {
    served.check_name(fields.take::<String>("model")?.as_deref())?;
    let sending = Sending::take(&mut fields)?;
    let mut writing = Writing::take(&mut fields, served)?;
    writing.limit(Some(fields.count("max_tokens", 1, usize::MAX)?.unwrap_or(MOST_TOKENS)));
    writing.logprobs = fields.count("logprobs", 0, 5)?;
    let echo = fields.take("echo")?.unwrap_or(false);
    if let Some(best) = fields.count("best_of", 1, MOST_CHOICES)?
        && best > writing.choices
    {
        return Err(ApiError::param(
            "best_of",
            "best_of above n is not done here; ask for n answers and choose among them",
        ));
    }
    if fields.take::<String>("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::param("suffix", "a suffix cannot be held to; leave it out"));
    }
    let grammar = take_format(&mut fields, served)?;
    let prompts = prompts(&fields.take("prompt")?.unwrap_or_else(|| "".into()), served)?;
    fields.ignore(&IGNORED);
    fields.finish()?;
    if prompts.len() * writing.choices > MOST_CHOICES {
        let message = format!(
            "{} prompts with {} answers each are more than {MOST_CHOICES}; ask for less at once",
            prompts.len(),
            writing.choices
        );
        return Err(ApiError::param("prompt", message));
    }
    let echoes = prompts.iter().map(|(text, _)| if echo { text.clone() } else { String::new() }).collect();
    let question = |(_, prompt)| {
        let (writing, grammar) = (writing.clone(), grammar.clone());
        let mut question = Question {
            prompt,
            manner: PLAIN,
            thinking: false,
            think: None,
            writing,
            grammar,
            is_call: false,
        };
        question.check(served).map_err(|mut error| {
            if error.param.as_deref() == Some("messages") {
                error.param = Some("prompt".into());
            }
            error
        })?;
        Ok(question)
    };
    let questions = prompts.into_iter().map(question).collect::<Result<_, ApiError>>()?;
    Ok(Asked { questions, echoes, sending })
}

/// Texts, or token ids, of one prompt or several, each with its text.
fn prompts(value: &Value, served: &Served) -> Result<Vec<(String, Vec<u32>)>, ApiError> {
    const NAME: &str = "prompt";
    let wrong = |value: &Value| {
        ApiError::param(
            NAME,
            format!("prompt is {}; write a text, token ids, or an array of either", kind(value)),
        )
    };
    let text = |text: &str| Ok((text.to_owned(), served.encode_raw(text)?));
    let ids = |ids: &[Value]| {
        let ids: Option<Vec<u32>> = ids.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect();
        let ids = ids.ok_or_else(|| ApiError::param(NAME, "prompt has numbers that are no token ids"))?;
        served.check_ids(NAME, &ids)?;
        Ok((served.decode(&ids), ids))
    };
    match value {
        Value::String(one) => Ok(vec![text(one)?]),
        Value::Array(list) if list.is_empty() => {
            Err(ApiError::param(NAME, "there is no prompt; write at least one"))
        }
        Value::Array(list) if list.iter().all(Value::is_number) => Ok(vec![ids(list)?]),
        Value::Array(list) => list
            .iter()
            .map(|one| match one {
                Value::String(one) => text(one),
                Value::Array(one) if one.iter().all(Value::is_number) => ids(one),
                other => Err(wrong(other)),
            })
            .collect(),
        other => Err(wrong(other)),
    }
}

/// Answers as they come.
fn chunks(
    served: Arc<Served>,
    answers: Vec<Answer>,
    head: impl Fn(&Served) -> Value,
    echo: impl Fn(usize) -> String,
    sending: Sending,
) -> impl Stream<Item = Value> {
    async_stream::stream! {
        let chunk = |choices: Value| {
            let mut chunk = head(&served);
            chunk["choices"] = choices;
            if sending.usage {
                chunk["usage"] = Value::Null;
            }
            chunk
        };
        let count = answers.len();
        // Tokens go with the words that they made; texts begin where those before them end.
        let (mut held, mut offsets) = (vec![Vec::new(); count], vec![0; count]);
        let mut finishes = Vec::new();
        for index in 0..count {
            let echo = echo(index);
            offsets[index] = echo.chars().count();
            if !echo.is_empty() {
                yield chunk(json!([choice(index, &echo, &Value::Null, None)]));
            }
        }
        let mut news = std::pin::pin!(answer::news_of_all(answers));
        while let Some((index, news)) = news.next().await {
            match news {
                Ok(News::Text(text)) => {
                    let tokens = told(&served, &std::mem::take(&mut held[index]), offsets[index]);
                    offsets[index] += text.chars().count();
                    yield chunk(json!([choice(index, &text, &tokens, None)]));
                }
                Ok(News::Tokens(tokens)) => held[index].extend(tokens),
                Ok(News::Finish(finish)) => {
                    finishes.push(finish);
                    let tokens = told(&served, &std::mem::take(&mut held[index]), offsets[index]);
                    yield chunk(json!([choice(index, "", &tokens, Some(finish))]));
                }
                Ok(News::Reading { .. } | News::Thought(_) | News::Call(_)) => (),
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
