//! From a request to who answers it: routes, and what holds for all of them.
//!
//! In: the state. Out: a service. Before anybody answers, it is checked who asks (keys), from where (pages of other origins), and
//! how much (bodies); afterwards the answer is counted and noted, without a word of what was said.

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::error::ApiError;
use crate::state::Shared;
use crate::{api, ids, page};

/// The header that names a request in answers and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// All that is served.
pub fn service(state: Shared) -> Router {
    let keyed = api::routes().route_layer(from_fn_with_state(state.clone(), check_key));
    let mut router = keyed
        .merge(api::open())
        .merge(page::routes())
        .fallback(api::nothing)
        .method_not_allowed_fallback(api::other_method)
        .layer(DefaultBodyLimit::max(state.settings.body_limit));
    if let Some(cors) = cors(&state.settings.origins) {
        router = router.layer(cors);
    }
    router
        .layer(from_fn_with_state(state.clone(), check_origin))
        .layer(from_fn_with_state(state.clone(), note))
        .with_state(state)
}

/// What lets pages of other origins ask; nothing where none may.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    Some(CorsLayer::new().allow_origin(allowed).allow_methods([Method::GET, Method::POST]).allow_headers(Any))
}

/// Lets those in who have a key.
async fn check_key(State(state): State<Shared>, request: Request, next: Next) -> Response {
    match state.settings.keys.allow(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => ApiError::unauthorized(why).into_response(),
    }
}

/// Keeps pages of other origins out: a page that a person visits must not ask this server on its own, neither as another origin nor
/// by a name that was bent to this machine.
async fn check_origin(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let settings = &state.settings;
    let host = host(request.headers(), request.uri());
    let refuse =
        |what: String| ApiError::request(StatusCode::FORBIDDEN, what).with_code("forbidden").into_response();
    if settings.keys.is_empty() && settings.address.ip().is_loopback() && !settings.open {
        let known = host.as_deref().is_none_or(is_this_machine);
        if !known {
            let host = host.unwrap_or_default();
            return refuse(format!(
                "this server answers localhost alone, not {host}; ask http://localhost, or give it a key"
            ));
        }
    }
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("?"));
    if let Some(origin) = origin {
        let own = origin.split_once("://").map(|(_, rest)| rest) == host.as_deref();
        let allowed = settings.origins.iter().any(|known| known == "*" || known == origin);
        if !own && !allowed {
            return refuse(format!(
                "pages of {origin} may not ask this server; allow them with --cors {origin}"
            ));
        }
    }
    next.run(request).await
}

/// The host that is asked, with its port.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let authority = uri.authority().map(|authority| authority.as_str().to_owned());
    authority.or_else(|| Some(headers.get(header::HOST)?.to_str().ok()?.to_owned()))
}

/// Whether a host is this machine by a name that nobody else can give.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Counts a request and notes how it was answered.
async fn note(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let id = request.headers().get(REQUEST_ID).filter(|id| id.len() <= 64).cloned();
    let id = id.or_else(|| HeaderValue::from_str(&ids::name("req_")).ok());
    let mut response = next.run(request).await;
    let error = response.extensions_mut().remove::<ApiError>();
    if let Some(error) = error.as_ref().filter(|_| path.starts_with("/api/")) {
        as_ollama(&mut response, error);
    }
    let (status, time) = (response.status().as_u16(), begun.elapsed());
    state.metrics.request(route, status, time);
    let message = error.as_ref().map(|error| error.message.as_str());
    let shown = id.as_ref().and_then(|id| id.to_str().ok());
    let milliseconds = time.as_millis() as u64;
    if status >= 500 {
        tracing::error!(request = shown, %method, path, status, milliseconds, error = message, "answered");
    } else {
        tracing::info!(request = shown, %method, path, status, milliseconds, error = message, "answered");
    }
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An error as Ollama's clients read it: a sentence alone.
fn as_ollama(response: &mut Response, error: &ApiError) {
    *response.body_mut() = Body::from(serde_json::json!({ "error": error.message }).to_string());
    response.headers_mut().remove(header::CONTENT_LENGTH);
}
