//! Formats of 32 weights with a scale of half precision. Bytes are those that ggml writes: the weight of the largest
//! magnitude, or the range of the weights, gives the scale, and each weight goes to the nearest step of it.

use super::{half, inverse, nibbles};
use crate::elementwise::NotFinite;

/// The weight of the largest magnitude, the first of several.
fn extreme(weights: &[f32; 32]) -> f32 {
    weights.iter().fold(0.0, |most: f32, weight| if weight.abs() > most.abs() { *weight } else { most })
}

/// The least and the greatest weight.
fn range(weights: &[f32; 32]) -> (f32, f32) {
    weights.iter().fold((f32::MAX, f32::MIN), |(low, high), weight| {
        (if *weight < low { *weight } else { low }, if *weight > high { *weight } else { high })
    })
}

/// d (f16), 32 int8: the largest magnitude is 127 steps.
pub fn q8_0(weights: &[f32; 32]) -> Result<[u8; 34], NotFinite> {
    let d = extreme(weights).abs() / 127.0;
    let steps = inverse(d);
    let mut bytes = [0; 34];
    let (scale, quants) = bytes.split_at_mut(2);
    scale.copy_from_slice(&half(d)?.0);
    for (quant, weight) in quants.iter_mut().zip(weights) {
        *quant = round(weight * steps) as i8 as u8;
    }
    Ok(bytes)
}

/// The nearest integer, halves away from zero.
fn round(x: f32) -> i32 {
    let whole = x as i32;
    let rest = x - whole as f32;
    whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)
}

/// A weight is an integer from 0 to `2 * middle - 1`, less `middle`; that of the largest magnitude is `-middle`.
fn symmetric(weights: &[f32; 32], middle: f32) -> Result<([u8; 2], [u8; 32]), NotFinite> {
    let d = extreme(weights) / -middle;
    let steps = inverse(d);
    let most = 2.0 * middle - 1.0;
    Ok((half(d)?.0, weights.map(|weight| (weight * steps + (middle + 0.5)).min(most) as u8)))
}

/// A number in half precision.
type Half = [u8; 2];

/// A weight is an integer from 0 to `most`, times the scale, plus the least weight: scale, least weight, integers.
fn affine(weights: &[f32; 32], most: f32) -> Result<(Half, Half, [u8; 32]), NotFinite> {
    let (low, high) = range(weights);
    let d = (high - low) / most;
    let steps = inverse(d);
    let numbers = weights.map(|weight| ((weight - low) * steps + 0.5).min(most) as u8);
    Ok((half(d)?.0, half(low)?.0, numbers))
}

/// The fifth bits of 32 weights.
fn fifth_bits(numbers: &[u8; 32]) -> [u8; 4] {
    numbers.iter().rev().fold(0_u32, |bits, number| bits << 1 | u32::from(number >> 4)).to_le_bytes()
}

/// d (f16), 16 bytes of int4 around 8.
pub fn q4_0(weights: &[f32; 32]) -> Result<[u8; 18], NotFinite> {
    let (d, numbers) = symmetric(weights, 8.0)?;
    Ok(joined([&d, &nibbles(&numbers)]))
}

/// d (f16), m (f16), 16 bytes of int4.
pub fn q4_1(weights: &[f32; 32]) -> Result<[u8; 20], NotFinite> {
    let (d, m, numbers) = affine(weights, 15.0)?;
    Ok(joined([&d, &m, &nibbles(&numbers)]))
}

/// d (f16), fifth bits, 16 bytes of int4: int5 around 16.
pub fn q5_0(weights: &[f32; 32]) -> Result<[u8; 22], NotFinite> {
    let (d, numbers) = symmetric(weights, 16.0)?;
    Ok(joined([&d, &fifth_bits(&numbers), &nibbles(&numbers)]))
}

/// d (f16), m (f16), fifth bits, 16 bytes of int4.
pub fn q5_1(weights: &[f32; 32]) -> Result<[u8; 24], NotFinite> {
    let (d, m, numbers) = affine(weights, 31.0)?;
    Ok(joined([&d, &m, &fifth_bits(&numbers), &nibbles(&numbers)]))
}

/// Fields one after another.
///
/// # Panics
/// If they are not `BYTES` long together.
pub fn joined<const BYTES: usize, const FIELDS: usize>(fields: [&[u8]; FIELDS]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let mut rest = &mut bytes[..];
    for field in fields {
        let (place, after) = rest.split_at_mut(field.len());
        place.copy_from_slice(field);
        rest = after;
    }
    assert!(rest.is_empty(), "the fields fill the block");
    bytes
}
