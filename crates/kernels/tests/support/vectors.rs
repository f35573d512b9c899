//! ggml's own weights and bytes for each format, in the two folders of goldens.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// The vectors of this repository, and those of the folder that `STONECHAT_GOLDEN` names.
pub fn all() -> Vec<Value> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let named = std::env::var_os("STONECHAT_GOLDEN").map(PathBuf::from);
    if named.is_none() {
        println!("STONECHAT_GOLDEN names no folder: only the vectors of this repository were asked for");
    }
    std::iter::once(ours)
        .chain(named)
        .map(|folder| {
            let path = folder.join("models/quant_vectors/quant_vectors.json");
            let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_slice(&text).expect("JSON")
        })
        .collect()
}

pub fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().expect("a text")).expect("base64")
}

pub fn floats(value: &Value) -> Vec<f32> {
    bytes(value).as_chunks().0.iter().map(|bits| f32::from_le_bytes(*bits)).collect()
}
