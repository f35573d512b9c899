//! The std shell around the core: files, threads, chat templates, pulling models.
//!
//! `stonechat-core` knows no file, thread, clock or allocator; this crate gives it all four. In goes what a
//! person names (a path, a model's name, a number of threads); out come the bytes, the memory and the workers
//! that the core runs on:
//!
//! - [`MappedFile`]: a model file as `&[u8]`, never copied, that survives being cut short;
//! - [`Engine`]: a model that is ready to compute, with all that it stands on;
//! - [`Generator`]: token after token, several at once where a [`draft`] guesses them; [`Chooser`]: which token it is;
//! - [`Constraint`]: what answers must be like; with the feature `grammar`, `Grammar`: a JSON schema, a regular expression
//!   or a grammar that they must match;
//! - [`Chat`]: a conversation;
//! - [`Tokenizer`]: a model's vocabulary on its own, for other threads than the engine's;
//! - [`Arena`]: the one block of memory in which a session lives;
//! - [`Pool`]: the threads;
//! - [`Board`]: which board this is, and what works well on it;
//! - [`ChatTemplate`]: a conversation as the prompt that the model was trained on;
//! - [`ThoughtSplitter`]: what a model thinks apart from what it answers; [`CallReader`]: calls of tools in the answer;
//! - [`manifest`] and [`Home`]: models by name, and where their files are kept; with the feature `pull`, fetching them;
//! - with the feature `tokenizer-json`, `TokenizerJson`: the tokenizer that lies beside models in other formats;
//! - with the feature `built-in`, `built_in`: a tiny model inside the program;
//! - [`pack`](mod@pack): a model file whose matrices lie as the kernels like to read them;
//! - with the feature `quantize`, `quantize` and `convert`: a model file with fewer bits for each weight, and from the layout
//!   that models are published in;
//! - [`state`]: what a session knows, kept on disk and taken back; [`PromptCache`]: the beginnings that prompts share;
//! - [`Interrupt`]: Ctrl-C as a flag;
//! - [`system`]: what the operating system tells about the machine, for those who measure.
//!
//! Nothing here touches a number that the model computes: results do not depend on this crate.
#![deny(unsafe_code)]

pub mod arena;
pub mod board;
#[cfg(feature = "built-in")]
pub mod built_in;
pub mod chat;
pub mod choose;
pub mod constraint;
#[cfg(feature = "quantize")]
pub mod convert;
pub mod draft;
pub mod engine;
pub mod error;
pub mod generate;
#[cfg(feature = "grammar")]
pub mod grammar;
pub mod home;
pub mod interrupt;
pub mod manifest;
pub mod map;
pub mod output;
pub mod pace;
pub mod pack;
pub mod pool;
pub mod prompt;
#[cfg(feature = "pull")]
pub mod pull;
#[cfg(feature = "quantize")]
pub mod quantize;
#[cfg(feature = "quantize")]
pub mod safetensors;
pub mod speech;
pub mod state;
pub mod stop;
pub mod system;
mod tags;
pub mod template;
pub mod thinking;
mod threads;
pub mod tokenizer;
#[cfg(feature = "tokenizer-json")]
pub mod tokenizer_json;
pub mod tools;

pub use arena::Arena;
pub use board::Board;
pub use chat::Chat;
pub use choose::Chooser;
pub use constraint::Constraint;
pub use engine::Engine;
pub use error::Error;
pub use generate::Generator;
#[cfg(feature = "grammar")]
pub use grammar::Grammar;
pub use home::Home;
pub use interrupt::Interrupt;
pub use map::MappedFile;
pub use pool::{Pool, Team, default_threads};
pub use state::PromptCache;
pub use template::ChatTemplate;
pub use thinking::{Said, ThoughtSplitter, ThoughtTags};
pub use tokenizer::Tokenizer;
#[cfg(feature = "tokenizer-json")]
pub use tokenizer_json::TokenizerJson;
pub use tools::{CallFormat, CallReader, Part, ToolCall};
