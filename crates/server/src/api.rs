//! What can be asked: a file for each interface.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod llama_cpp;
pub mod models;
pub mod ollama;
pub mod responses;

mod logprobs;
mod stream;
mod usage;

use axum::Router;
use axum::routing::{get, post};

use crate::error::ApiError;
use crate::state::Shared;

/// All routes of the interfaces. Those in `open` need no key.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::one))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/responses", post(responses::respond))
        .route("/tokenize", post(llama_cpp::tokenize))
        .route("/detokenize", post(llama_cpp::detokenize))
        .route("/apply-template", post(llama_cpp::apply_template))
        .route("/props", get(llama_cpp::props))
        .route("/slots", get(llama_cpp::slots))
        .route("/metrics", get(llama_cpp::metrics))
        .route("/api/embed", post(embeddings::embed_ollama))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/tags", get(ollama::tags))
        .route("/api/show", post(ollama::show))
        .route("/api/version", get(ollama::version))
}

/// Routes that tell nothing of anybody, and need no key.
pub fn open() -> Router<Shared> {
    Router::new().route("/health", get(llama_cpp::health)).route("/v1/health", get(llama_cpp::health))
}

/// What is answered where nothing is.
pub async fn nothing(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    let message = format!("there is nothing at {method} {}; docs/server.md lists what there is", uri.path());
    ApiError::request(axum::http::StatusCode::NOT_FOUND, message).with_code("not_found")
}

/// What is answered where something else can be done.
pub async fn other_method(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    let message = format!("{} does not take {method}; docs/server.md says what it takes", uri.path());
    ApiError::request(axum::http::StatusCode::METHOD_NOT_ALLOWED, message).with_code("method_not_allowed")
}

/// The arguments of a call as OpenAI's interface has them: JSON in a text.
fn arguments(call: &stonechat_runtime::ToolCall) -> String {
    serde_json::to_string(&call.arguments).unwrap_or_default()
}
