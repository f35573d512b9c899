//! Answers as they come, in the forms in which HTTP sends them.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde_json::Value;

/// So often something is sent to those who wait, so that they and what lies between see that they are not forgotten.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Events of OpenAI's interfaces: each is JSON, with a name where the interface has names.
pub fn events(
    stream: impl Stream<Item = (Option<&'static str>, Value)> + Send + 'static,
    ends_with_done: bool,
) -> Response {
    let events = stream.map(|(name, data)| {
        let event = Event::default().data(data.to_string());
        name.map_or(event.clone(), |name| event.event(name))
    });
    let done = futures_util::stream::iter(ends_with_done.then(|| Event::default().data("[DONE]")));
    let events = events.chain(done).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // What lies between is not to wait for more.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Lines of JSON, as Ollama sends them.
pub fn lines(stream: impl Stream<Item = Value> + Send + 'static) -> Response {
    let lines = stream.map(|value| Ok::<_, Infallible>(Bytes::from(format!("{value}\n"))));
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
    (headers, Body::from_stream(lines)).into_response()
}
