//! `/v1/embeddings`: vectors of texts, which a model that writes texts does not give.

use axum::extract::State;
use axum::http::StatusCode;

use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::Shared;

/// Refuses, and says what does it.
pub async fn embed(State(state): State<Shared>, mut fields: Fields) -> ApiError {
    let served = state.served();
    let named = fields.take::<String>("model").and_then(|name| served.check_name(name.as_deref()));
    if let Err(error) = named {
        return error;
    }
    let message =
        format!("{} writes texts and gives no embeddings here; 'stonechat embed' makes them", served.name());
    ApiError::request(StatusCode::BAD_REQUEST, message).with_code("model_not_supported").of("model")
}
