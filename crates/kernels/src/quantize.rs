//! Weights from f32 to the blocks of a format: what makes a quantized model.
//!
//! In: f32 weights, a whole number of blocks. Out: the bytes that [`elementwise::dequantize`](crate::elementwise::dequantize)
//! reads back. It is done once for a model and never while one runs, so there is one implementation for all levels, in
//! plain Rust without an allocation: the same bytes on every CPU.
//!
//! `small` has the formats of 32 weights with scales of half precision, whose bytes are those that ggml writes. In `k`
//! and `levels` a format leaves a choice (which scale, which minimum), and the choice here is the one with the least sum of
//! squared errors that the search of `fit` finds.

mod fit;
mod k;
mod levels;
mod small;

use crate::Format;
use crate::elementwise::NotFinite;
use crate::math::{f16_to_f32, f32_to_bf16, f32_to_f16};

/// The formats that weights can be brought to.
pub const FORMATS: [Format; 15] = [
    Format::F32,
    Format::F16,
    Format::BF16,
    Format::Q8_0,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q2_K,
    Format::Q3_K,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
    Format::IQ4_NL,
    Format::IQ4_XS,
];

/// What no block of integers reaches: the largest scale of half precision, times 128 and 32, is a quarter of it. Squares of
/// all that is below are far from overflow.
const TOO_LARGE: f32 = 1e9;

/// Brings weights to a format. Fails where a weight is NaN or infinite, or so large that a scale of the format, or the
/// weight itself, would be infinite; `bytes` are then unspecified.
///
/// # Panics
/// If `format` is none of [`FORMATS`], or `bytes` is not `weights.len()` weights of it.
pub fn quantize(format: Format, weights: &[f32], bytes: &mut [u8]) -> Result<(), NotFinite> {
    assert!(FORMATS.contains(&format), "{format} can only be read");
    assert_eq!(format.row_bytes(weights.len()), Some(bytes.len()), "whole blocks of {format}");
    // Magnitudes compare like their bits, NaN above infinity above all finite ones.
    let largest = weights.iter().map(|weight| weight.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
    let bound = if format.is_float() { f32::INFINITY } else { TOO_LARGE };
    if largest >= bound.to_bits() {
        return Err(NotFinite);
    }
    match format {
        Format::F32 => each(weights, bytes, |[weight]: &[f32; 1]| Ok(weight.to_le_bytes())),
        Format::F16 => each(weights, bytes, |[weight]: &[f32; 1]| Ok(half(*weight)?.0)),
        Format::BF16 => each(weights, bytes, |[weight]: &[f32; 1]| {
            let bits = f32_to_bf16(*weight);
            if bits & 0x7fff == 0x7f80 { Err(NotFinite) } else { Ok(bits.to_le_bytes()) }
        }),
        Format::Q8_0 => each(weights, bytes, small::q8_0),
        Format::Q4_0 => each(weights, bytes, small::q4_0),
        Format::Q4_1 => each(weights, bytes, small::q4_1),
        Format::Q5_0 => each(weights, bytes, small::q5_0),
        Format::Q5_1 => each(weights, bytes, small::q5_1),
        Format::Q2_K => each(weights, bytes, k::q2_k),
        Format::Q3_K => each(weights, bytes, k::q3_k),
        Format::Q4_K => each(weights, bytes, k::q4_k),
        Format::Q5_K => each(weights, bytes, k::q5_k),
        Format::Q6_K => each(weights, bytes, k::q6_k),
        Format::IQ4_NL => each(weights, bytes, levels::iq4_nl),
        Format::IQ4_XS => each(weights, bytes, levels::iq4_xs),
        _ => unreachable!("the formats that can be written are listed"),
    }
}

/// Block by block.
fn each<const N: usize, const BYTES: usize>(
    weights: &[f32],
    bytes: &mut [u8],
    block: impl Fn(&[f32; N]) -> Result<[u8; BYTES], NotFinite>,
) -> Result<(), NotFinite> {
    for (weights, bytes) in weights.as_chunks().0.iter().zip(bytes.as_chunks_mut().0) {
        *bytes = block(weights)?;
    }
    Ok(())
}

/// A number in half precision: its bytes, and what they say.
fn half(value: f32) -> Result<([u8; 2], f32), NotFinite> {
    let bits = f32_to_f16(value);
    let rounded = f16_to_f32(bits);
    if rounded.is_finite() { Ok((bits.to_le_bytes(), rounded)) } else { Err(NotFinite) }
}

/// 1 / d, and 0 where d is so small that half precision has a zero for it: all weights are 0 then.
fn inverse(d: f32) -> f32 {
    if d.abs() < f32::MIN_POSITIVE { 0.0 } else { 1.0 / d }
}

/// Two int4 in a byte: the first 16 of 32 are the low halves.
fn nibbles(numbers: &[u8; 32]) -> [u8; 16] {
    core::array::from_fn(|i| numbers[i] & 15 | (numbers[i + 16] & 15) << 4)
}
