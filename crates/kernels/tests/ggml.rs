//! What the bytes of each format mean: at every level the same floats that ggml decodes, bit for bit.
//! Without the feature `std` no level can be detected, and nothing is compared.
#![cfg(feature = "std")]

#[path = "support/vectors.rs"]
mod vectors;

use serde_json::Value;
use stonechat_kernels::elementwise::dequantize;
use stonechat_kernels::{Format, Level};
use vectors::{bytes, floats};

/// Decodes `encoded` at every level and compares with ggml's floats.
fn compare(format: Format, encoded: &Value, decoded: &Value) {
    let bits = |weights: &[f32]| weights.iter().map(|weight| weight.to_bits()).collect::<Vec<u32>>();
    let (encoded, expected) = (bytes(encoded), floats(decoded));
    assert!(!expected.is_empty());
    for level in Level::available() {
        let mut out = vec![0.0; expected.len()];
        dequantize(level, format, &encoded, &mut out);
        assert_eq!(bits(&out), bits(&expected), "{format} at level {}", level.name());
    }
}

#[test]
fn every_level_decodes_as_ggml_does() {
    for vectors in vectors::all() {
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
}
