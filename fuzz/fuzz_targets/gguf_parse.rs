//! Any bytes: parsing them never panics, and what parses can be read to its end.
//!
//! `cargo +nightly fuzz run gguf_parse -- -max_len=65536`; a good corpus is any small GGUF file in
//! `fuzz/corpus/gguf_parse/`.
#![no_main]

#[path = "../../crates/gguf/tests/support/walk.rs"]
mod walk;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = walk::walk(bytes);
});
