//! HTTP around the runtime: OpenAI's, llama.cpp's and Ollama's interfaces, and a page to talk to.
//!
//! In: a model and [`Settings`]. Out: a [`Server`], which answers until it is told to end. One thread computes
//! ([`scheduler`]); a few others read requests, write templates out, and send tokens as they come:
//!
//! ```text
//! socket (server) -> checks (http) -> a request's fields (api/*) -> Question -> scheduler -> tokens
//!        <- SSE, JSON (api/*) <- News: thoughts, words, calls (answer) <--------------------'
//! ```
//!
//! Nothing here computes a number that the model gives: what an answer says depends on the question alone.
#![forbid(unsafe_code)]

mod answer;
mod api;
mod conversation;
mod embedder;
mod error;
mod fields;
mod http;
mod ids;
mod keys;
mod log;
mod metrics;
mod model;
mod page;
mod progress;
mod question;
pub mod sandbox;
pub mod scheduler;
mod server;
mod settings;
mod state;
mod supervisor;
mod tls;

pub use embedder::EmbeddingOffer;
pub use keys::Keys;
pub use log::{Format as LogFormat, start as start_log};
pub use model::Offer;
pub use sandbox::Sandbox;
pub use server::{Error, Reload, Server};
pub use settings::{Certificate, Settings};
