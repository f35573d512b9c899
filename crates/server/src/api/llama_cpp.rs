//! What llama.cpp's server tells and does beside OpenAI's interface.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use stonechat_core::vocabulary::Encode;

use crate::conversation::{self, Conversation};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::scheduler::Activity;
use crate::state::Shared;

/// A step that takes longer will hardly end. It reads a batch of a prompt at most: 512 tokens by default, of which a server that is any
/// use reads more than one each second.
const STUCK: Duration = Duration::from_mins(10);

/// `/health`: whether questions are answered. It needs no key.
pub async fn health(State(state): State<Shared>) -> Result<Json<Value>, ApiError> {
    state.check_alive()?;
    if state.served().scheduler.is_cut_short() {
        return Err(ApiError::cut_short(StatusCode::SERVICE_UNAVAILABLE));
    }
    let stuck = state.stuck();
    if stuck > STUCK {
        return Err(ApiError::stuck(stuck));
    }
    Ok(Json(json!({ "status": "ok" })))
}

/// `/tokenize`: text to tokens.
pub async fn tokenize(State(state): State<Shared>, mut fields: Fields) -> Result<Json<Value>, ApiError> {
    let (_, tokens) = state
        .prepare(move |served| {
            let text: String = fields.need("content")?;
            let bos =
                fields.take("add_special")?.unwrap_or(false) && served.tokenizer().vocabulary().add_bos();
            let special = fields.take("parse_special")?.unwrap_or(true);
            let pieces = fields.take("with_pieces")?.unwrap_or(false);
            fields.ignore(&["model"]);
            fields.finish()?;
            let tokens = served.encode(&text, Encode { bos, special })?;
            let piece = |id: u32| match String::from_utf8(served.piece(id)) {
                Ok(text) => json!({ "id": id, "piece": text }),
                // Half a character, as llama.cpp tells it.
                Err(error) => json!({ "id": id, "piece": error.as_bytes() }),
            };
            Ok(if pieces { tokens.into_iter().map(piece).collect() } else { json!(tokens) })
        })
        .await?;
    Ok(Json(json!({ "tokens": tokens })))
}

/// `/detokenize`: tokens to text.
pub async fn detokenize(State(state): State<Shared>, mut fields: Fields) -> Result<Json<Value>, ApiError> {
    let (_, text) = state
        .prepare(move |served| {
            let tokens: Vec<u32> = fields.need("tokens")?;
            fields.ignore(&["model"]);
            fields.finish()?;
            served.check_ids("tokens", &tokens)?;
            Ok(served.decode(&tokens))
        })
        .await?;
    Ok(Json(json!({ "content": text })))
}

/// `/apply-template`: a conversation as the model reads it.
pub async fn apply_template(
    State(state): State<Shared>,
    mut fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let (_, text) = state
        .prepare(move |served| {
            let messages = conversation::messages(fields.need("messages")?)?;
            let tools = conversation::tools(fields.take("tools")?)?;
            let variables: Map<String, Value> = fields.take("chat_template_kwargs")?.unwrap_or_default();
            fields.ignore(&["model"]);
            fields.finish()?;
            let conversation = Conversation { messages, tools, variables, ..Conversation::default() };
            Ok(conversation.write(served)?.text)
        })
        .await?;
    Ok(Json(json!({ "prompt": text })))
}

/// `/props`: what is served, and how requests are answered that do not say it.
pub async fn props(State(state): State<Shared>) -> Json<Value> {
    let served = state.served();
    let (facts, s) = (&served.facts, &served.sampling);
    Json(json!({
        "default_generation_settings": {
            "n_ctx": facts.context,
            "params": {
                "temperature": s.temperature, "top_k": s.top_k, "top_p": s.top_p, "min_p": s.min_p,
                "typical_p": s.typical_p, "top_n_sigma": s.top_n_sigma, "xtc_probability": s.xtc_probability,
                "xtc_threshold": s.xtc_threshold, "dynatemp_range": s.dynatemp_range,
                "dynatemp_exponent": s.dynatemp_exponent, "repeat_penalty": s.repeat_penalty,
                "repeat_last_n": s.repeat_last, "frequency_penalty": s.frequency_penalty,
                "presence_penalty": s.presence_penalty, "n_predict": served.most,
            },
        },
        "total_slots": served.scheduler.slots().len(),
        "model_alias": served.name(),
        "model_path": served.tokenizer().path().file_name().map(|name| name.to_string_lossy()),
        "modalities": { "vision": false, "audio": false },
        "chat_template": facts.template.as_deref().unwrap_or_default(),
        "build_info": concat!("stonechat ", env!("CARGO_PKG_VERSION")),
    }))
}

/// `/slots`: what is being done.
pub async fn slots(State(state): State<Shared>) -> Json<Value> {
    let slots = state.served().scheduler.slots();
    let slot = |(id, slot): (usize, &crate::scheduler::SlotState)| {
        let activity = match slot.activity {
            Activity::Idle => "idle",
            Activity::Reading => "reading",
            Activity::Writing => "writing",
        };
        json!({
            "id": id, "is_processing": slot.activity != Activity::Idle, "state": activity, "n_ctx": slot.context,
            "n_tokens": slot.tokens,
        })
    };
    Json(slots.iter().enumerate().map(slot).collect())
}

/// `/metrics`: for Prometheus.
pub async fn metrics(State(state): State<Shared>) -> impl IntoResponse {
    let text = state.metrics.text(&state.served());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
