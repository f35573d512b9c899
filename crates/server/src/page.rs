//! The page: a conversation in the browser, from files that are in the program.
//!
//! It asks nothing of any other origin, and the browser is told to let it ask none.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::state::Shared;

/// What the page may do: load what this server has, ask this server, and nothing else. By `trusted-types` the browser itself sees to
/// it that no text becomes markup or script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! file {
    ($name:literal, $kind:literal) => {
        get(|| async { file($kind, include_str!(concat!("../page/", $name))) })
    };
}

/// The page's files. They need no key: they are the same for everybody.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/", file!("index.html", "text/html; charset=utf-8"))
        .route("/page.css", file!("page.css", "text/css; charset=utf-8"))
        .route("/page.js", file!("page.js", "text/javascript; charset=utf-8"))
        .route("/markdown.js", file!("markdown.js", "text/javascript; charset=utf-8"))
        .route("/icon.svg", file!("icon.svg", "image/svg+xml"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        // Another version of the program has other files.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), text).into_response()
}
