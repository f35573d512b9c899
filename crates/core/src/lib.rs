//! Runs a language model from bytes and an arena.
//!
//! ```text
//! bytes -> Gguf::parse -> Model::from_gguf -> Plan::new -> Session::new(arena) -> feed -> logits -> Sampler::pick
//! ```
//!
//! A [`Model`] is a checked view of a file, a [`Plan`] says every byte that running it takes, a [`Session`] holds the
//! state in the caller's arena, a [`Sampler`] picks tokens, a [`Vocabulary`] turns them into text. This crate knows
//! no file, thread, clock or allocator: it is given bytes, an arena, [`Workers`](stonechat_kernels::Workers) and a
//! [`Level`](stonechat_kernels::Level), and so runs the same on a server and on a chip without an OS.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arch;
mod arena;
pub mod cost;
pub mod embedding;
mod error;
mod forward;
pub mod model;
pub mod plan;
pub mod rope;
pub mod sampler;
pub mod session;
pub mod vocabulary;

pub use cost::Cost;
pub use embedding::Pooling;
pub use error::{Error, Place};
pub use model::{Hyperparameters, Model};
pub use plan::{Limits, Plan};
pub use sampler::{Sampler, Sampling};
pub use session::Session;
pub use vocabulary::Vocabulary;
