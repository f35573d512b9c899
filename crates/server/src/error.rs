//! Why a request is not answered: one sentence, in the shape that clients of OpenAI's interface read.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use stonechat_runtime::Error as RuntimeError;

use crate::scheduler::Busy;

/// A request that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What HTTP says of it.
    pub status: StatusCode,
    /// The kind of error, by OpenAI's names.
    pub kind: &'static str,
    /// Which it is, for programs.
    pub code: Option<&'static str>,
    /// The field of the request that is to blame.
    pub param: Option<String>,
    /// The sentence.
    pub message: String,
    /// Seconds after which it may succeed.
    pub retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, param: None, message: message.into(), retry_after: None }
    }

    /// The request is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field of the request is wrong.
    pub fn param(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(name.into()), ..Self::bad(message) }
    }

    /// Another error of a request.
    pub fn request(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", message)
    }

    /// Nobody may ask who has no key.
    pub fn unauthorized(message: &str) -> Self {
        Self { code: Some("invalid_api_key"), ..Self::request(StatusCode::UNAUTHORIZED, message) }
    }

    /// There is no model of this name.
    pub fn no_model(name: &str, served: &[String]) -> Self {
        Self {
            code: Some("model_not_found"),
            param: Some("model".into()),
            ..Self::request(
                StatusCode::NOT_FOUND,
                format!("the model '{name}' is not served here; there is {}", served.join(", ")),
            )
        }
    }

    /// The server cannot, and it is not the request's fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The thread that computes has panicked: this answer does not come, and no other.
    pub fn fallen() -> Self {
        Self {
            retry_after: Some(5),
            code: Some("server_failed"),
            ..Self::internal(
                "the server failed while it computed, and ends; try again once whoever runs it has started it anew",
            )
        }
    }

    /// Nothing was gone on with for so long.
    pub fn stuck(since: Duration) -> Self {
        let seconds = since.as_secs();
        let message = format!(
            "nothing was computed for {seconds} s, though there are questions; the server has to be started anew"
        );
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { code: Some("server_stuck"), status, ..Self::internal(message) }
    }

    /// The model's file is not whole any more.
    pub fn cut_short(status: StatusCode) -> Self {
        let message = "the model's file was cut short, or its disk failed, while it was in use; it has to be copied again, and loaded \
                       anew (SIGHUP)";
        Self { code: Some("model_cut_short"), status, ..Self::internal(message) }
    }

    /// The server is about to end.
    pub fn draining() -> Self {
        Self {
            retry_after: Some(5),
            code: Some("shutting_down"),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "the server is shutting down; try again in a moment",
            )
        }
    }

    /// A program can tell this error by this code.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Where it says nothing of a field, this one is to blame.
    #[must_use]
    pub fn of(mut self, name: &str) -> Self {
        self.param.get_or_insert_with(|| name.into());
        self
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        let seconds = busy.retry_after.as_secs().max(1);
        Self {
            code: Some("queue_full"),
            retry_after: Some(seconds),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                format!("the queue is full; try again in {seconds} s"),
            )
        }
    }
}

impl From<RuntimeError> for ApiError {
    /// Sorts out whose fault it is.
    fn from(error: RuntimeError) -> Self {
        match &error {
            RuntimeError::NoAnswerSoShort { fewest, most } => Self::param(
                "max_tokens",
                format!(
                    "the shortest answer that the schema or grammar allows has {fewest} tokens, but there is room for \
                     {most}; allow {fewest} in max_tokens"
                ),
            ),
            RuntimeError::Grammar { .. } | RuntimeError::NoEnd { .. } => Self::bad(error.to_string()),
            RuntimeError::Conversation { .. } => Self::param("messages", error.to_string()),
            RuntimeError::Template { .. } => {
                Self::internal(format!("{error}; this is for whoever runs the server"))
            }
            RuntimeError::Model { error: inner, .. } => {
                use stonechat_core::Error;
                match **inner {
                    Error::BadSampling { .. } | Error::TokenOutOfRange { .. } | Error::NoTokens => {
                        Self::bad(inner.to_string())
                    }
                    // Where the file lies is nobody's business.
                    _ => Self::internal(format!("the model failed: {inner}")),
                }
            }
            RuntimeError::CutShort { .. } => Self::cut_short(StatusCode::INTERNAL_SERVER_ERROR),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<stonechat_core::Error> for ApiError {
    fn from(error: stonechat_core::Error) -> Self {
        Self::bad(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For those who say it in another shape, or note it.
        response.extensions_mut().insert(self);
        response
    }
}
