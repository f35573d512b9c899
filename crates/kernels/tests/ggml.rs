//! What the bytes of each format mean: at every level the same floats that ggml decodes, bit for bit.
//! Without the feature `std` no level can be detected, and nothing is compared.
#![cfg(feature = "std")]

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use stonechat_kernels::elementwise::dequantize;
use stonechat_kernels::{Format, Level};

fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().expect("a text")).expect("base64")
}

/// Decodes `encoded` at every level and compares with ggml's floats.
fn compare(format: Format, encoded: &Value, decoded: &Value) {
    let (encoded, decoded) = (bytes(encoded), bytes(decoded));
    let expected: Vec<u32> =
        decoded.chunks_exact(4).map(|bits| u32::from_le_bytes(bits.try_into().expect("four"))).collect();
    assert!(!expected.is_empty());
    for level in Level::available() {
        let mut out = vec![0.0; expected.len()];
        dequantize(level, format, &encoded, &mut out);
        let found: Vec<u32> = out.iter().map(|weight| weight.to_bits()).collect();
        assert_eq!(found, expected, "{format} at level {}", level.name());
    }
}

fn check(folder: &Path) {
    let path = folder.join("models/quant_vectors/quant_vectors.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let vectors: Value = serde_json::from_slice(&text).expect("JSON");
    for format in Format::ALL.into_iter().filter(|format| *format != Format::F32) {
        let vector = &vectors["types"][format.as_str()];
        assert_eq!(vector["type_id"], format.ggml_id());
        assert_eq!(vector["block_size"], format.block_len());
        assert_eq!(vector["type_size"], format.block_bytes());
        compare(format, &vector["bytes"], &vector["dequant_f32"]);
        // Blocks of random bytes: scales of both signs, subnormal and zero.
        if vector.get("raw_bytes").is_some() {
            compare(format, &vector["raw_bytes"], &vector["raw_dequant_f32"]);
        }
    }
}

#[test]
fn every_level_decodes_the_vectors_of_this_repository_as_ggml_does() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"));
}

#[test]
fn every_level_decodes_the_vectors_of_the_named_folder_as_ggml_does() {
    match std::env::var_os("STONECHAT_GOLDEN").map(PathBuf::from) {
        Some(folder) => check(&folder),
        None => {
            println!("STONECHAT_GOLDEN names no folder: only the vectors of this repository were asked for");
        }
    }
}
