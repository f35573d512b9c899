//! `/v1/models`: what is served.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::embedder::Embedder;
use crate::error::ApiError;
use crate::model::Served;
use crate::state::Shared;

fn model(served: &Served, name: &str) -> Value {
    let facts = &served.facts;
    json!({
        "id": name,
        "object": "model",
        "created": facts.created,
        "owned_by": "stonechat",
        "meta": {
            "vocab_type": null,
            "n_vocab": served.tokenizer().vocabulary().len(),
            "n_ctx_train": facts.trained_context,
            "n_ctx": facts.context,
            "n_embd": facts.embedding,
            "n_params": facts.parameters,
            "size": facts.bytes,
        },
    })
}

/// The model for embeddings.
fn of_embeddings(embedder: &Embedder) -> Value {
    json!({
        "id": embedder.name,
        "object": "model",
        "created": embedder.created,
        "owned_by": "stonechat",
        "meta": { "n_ctx": embedder.context, "n_embd": embedder.len },
    })
}

/// All names.
pub async fn list(State(state): State<Shared>) -> Json<Value> {
    let served = state.served();
    let models = served.names.iter().map(|name| model(&served, name));
    let models: Value = models.chain(served.embedder.as_deref().map(of_embeddings)).collect();
    Json(json!({ "object": "list", "data": models }))
}

/// One of them.
pub async fn one(State(state): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let served = state.served();
    if let Some(embedder) = served.embedder.as_deref().filter(|embedder| embedder.is_called(&name)) {
        return Ok(Json(of_embeddings(embedder)));
    }
    served.check_name(Some(&name))?;
    Ok(Json(model(&served, &name)))
}
