//! `/v1/embeddings`, and Ollama's `/api/embed`: vectors of texts.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::Value;
use stonechat_core::embedding;

use crate::embedder::Embedder;
use crate::error::ApiError;
use crate::fields::{Fields, kind};
use crate::model::Served;
use crate::state::Shared;

/// Texts of a request at most: OpenAI's limit.
const MOST_TEXTS: usize = 2048;

/// What is asked.
struct Asked {
    embedder: Arc<Embedder>,
    texts: Vec<Vec<u32>>,
    /// Numbers that a vector is cut to.
    dimensions: Option<usize>,
    base64: bool,
}

/// OpenAI's answer. Numbers are written as short as f32 can be told apart, which [`Value`] would not do.
#[derive(Serialize)]
struct List {
    object: &'static str,
    data: Vec<Datum>,
    model: String,
    usage: Usage,
}

#[derive(Serialize)]
struct Datum {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Written(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Ollama's answer.
#[derive(Serialize)]
struct OllamaList {
    model: String,
    embeddings: Vec<Vec<f32>>,
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: usize,
}

/// `/v1/embeddings`.
pub async fn embed(State(state): State<Shared>, fields: Fields) -> Result<Response, ApiError> {
    let (_, asked) = state.prepare(move |served| read(fields, served)).await?;
    let tokens: usize = asked.texts.iter().map(Vec::len).sum();
    let vectors = vectors(&asked.embedder, asked.texts, asked.dimensions).await?;
    let data = vectors.into_iter().enumerate().map(|(index, vector)| {
        let embedding =
            if asked.base64 { Numbers::Base64(base64(&vector)) } else { Numbers::Written(vector) };
        Datum { object: "embedding", index, embedding }
    });
    let (data, model) = (data.collect(), asked.embedder.name.clone());
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(Json(List { object: "list", data, model, usage }).into_response())
}

/// Ollama's `/api/embed`.
pub async fn embed_ollama(State(state): State<Shared>, fields: Fields) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let (_, asked) = state.prepare(move |served| read_ollama(fields, served)).await?;
    let tokens: usize = asked.texts.iter().map(Vec::len).sum();
    let vectors = vectors(&asked.embedder, asked.texts, asked.dimensions).await?;
    Ok(Json(OllamaList {
        model: asked.embedder.name.clone(),
        embeddings: vectors,
        total_duration: begun.elapsed().as_nanos() as u64,
        load_duration: 0,
        prompt_eval_count: tokens,
    })
    .into_response())
}

fn read(mut fields: Fields, served: &Served) -> Result<Asked, ApiError> {
    let embedder = embedder(&mut fields, served)?;
    let input: Value = fields.need("input")?;
    let texts = texts(&embedder, input)?;
    let dimensions = fields.count("dimensions", 1, embedder.len)?;
    let base64 = match fields.take::<String>("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("encoding_format is '{other}'; write 'float' or 'base64'");
            return Err(ApiError::param("encoding_format", message));
        }
    };
    fields.ignore(&["user"]);
    fields.finish()?;
    Ok(Asked { embedder, texts, dimensions, base64 })
}

fn read_ollama(mut fields: Fields, served: &Served) -> Result<Asked, ApiError> {
    let embedder = embedder(&mut fields, served)?;
    let input: Value = fields.need("input")?;
    let texts = texts(&embedder, input)?;
    let dimensions = fields.count("dimensions", 1, embedder.len)?;
    // Too long a text is refused whatever is said: nothing is cut off unnoticed.
    fields.ignore(&["truncate", "options", "keep_alive"]);
    fields.finish()?;
    Ok(Asked { embedder, texts, dimensions, base64: false })
}

/// The model that makes embeddings, if it is the one that is asked for.
fn embedder(fields: &mut Fields, served: &Served) -> Result<Arc<Embedder>, ApiError> {
    let name: Option<String> = fields.take("model")?;
    let Some(embedder) = &served.embedder else {
        served.check_name(name.as_deref())?;
        let message = format!(
            "{} writes texts, and no model for embeddings is served beside it; the server has to be started with \
             --embedding-model",
            served.name()
        );
        return Err(ApiError::request(StatusCode::BAD_REQUEST, message)
            .with_code("model_not_supported")
            .of("model"));
    };
    // Ollama's clients may name a version behind it.
    let name = name.map(|name| name.strip_suffix(":latest").unwrap_or(&name).to_owned());
    match name {
        Some(name) if !embedder.is_called(&name) => {
            Err(ApiError::no_model(&name, std::slice::from_ref(&embedder.name)))
        }
        _ => Ok(Arc::clone(embedder)),
    }
}

/// One text or several, each as words or as tokens.
fn texts(embedder: &Embedder, input: Value) -> Result<Vec<Vec<u32>>, ApiError> {
    let wrong = |name: &str, value: &Value| {
        ApiError::param(
            name,
            format!("{name} is {}; write a text, or an array of texts or of tokens", kind(value)),
        )
    };
    let tokens = |name: &str, ids: Vec<Value>| {
        let ids: Result<Vec<u32>, ApiError> = ids
            .into_iter()
            .map(|id| serde_json::from_value(id.clone()).map_err(|_| wrong(name, &id)))
            .collect();
        embedder.checked(name, ids?)
    };
    match input {
        Value::String(text) => Ok(vec![embedder.encode("input", &text)?]),
        Value::Array(items) if items.is_empty() => {
            Err(ApiError::param("input", "input is empty; give a text"))
        }
        Value::Array(ids) if ids.iter().all(Value::is_number) => Ok(vec![tokens("input", ids)?]),
        Value::Array(items) if items.len() > MOST_TEXTS => {
            let message = format!("input has {} texts; send at most {MOST_TEXTS} at a time", items.len());
            Err(ApiError::param("input", message))
        }
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(n, item)| {
                let name = format!("input[{n}]");
                match item {
                    Value::String(text) => embedder.encode(&name, &text),
                    Value::Array(ids) => tokens(&name, ids),
                    other => Err(wrong(&name, &other)),
                }
            })
            .collect(),
        other => Err(wrong("input", &other)),
    }
}

/// The vectors of texts, of length 1; with `dimensions`, of their first numbers alone.
async fn vectors(
    embedder: &Embedder,
    texts: Vec<Vec<u32>>,
    dimensions: Option<usize>,
) -> Result<Vec<Vec<f32>>, ApiError> {
    let mut vectors = embedder.embed(texts).await?;
    if let Some(dimensions) = dimensions.filter(|dimensions| *dimensions < embedder.len) {
        for vector in &mut vectors {
            vector.truncate(dimensions);
            embedding::normalize(vector);
        }
    }
    Ok(vectors)
}

/// Little-endian f32, as OpenAI's clients ask for them.
fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}
