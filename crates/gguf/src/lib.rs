//! Reads GGUF files, the format of ggml's language models, as a typed view over bytes.
//!
//! In goes a file as one `&[u8]`: mapped, in flash, or included in the program. [`Gguf::parse`] checks all of it once:
//! header, metadata, tensor table, and that every tensor lies in the file, aligned, and apart from the others. Out come
//! keys with [`Value`]s and names with [`Tensor`]s that borrow from those bytes.
//!
//! This crate never copies data, allocates (except in `writer`, behind the feature `alloc`), reads a file itself,
//! or panics on what a file says: whatever is wrong ends in an [`Error`] of one sentence that says where. What a file
//! may ask for is bounded by [`limits`].
//!
//! ```
//! use stonechat_gguf::{Error, Gguf};
//!
//! fn context_length(file: &[u8]) -> Result<u32, Error> {
//!     Gguf::parse(file)?.u32("llama.context_length")
//! }
//!
//! let error = context_length(b"GGML").unwrap_err();
//! assert_eq!(error.to_string(), r#"not a GGUF file: it begins with "GGML", not "GGUF"; give a GGUF file, or convert this one first"#);
//! ```
//!
//! Versions 2 and 3 are read, little-endian only. A model that is split over several files is refused.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod clash;
mod cursor;
mod error;
mod file;
pub mod limits;
mod metadata;
mod tensor;
mod value;
#[cfg(feature = "alloc")]
pub mod writer;

pub use error::{Error, Name, Number, Quantity, Section};
pub use file::Gguf;
pub use metadata::Metadata;
pub use tensor::{Dims, Tensor, TensorType, Tensors};
pub use value::{Array, Strings, Value, ValueType, Values};
