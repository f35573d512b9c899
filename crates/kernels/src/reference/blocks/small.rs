//! Formats with one scale for 16 to 128 weights.

use super::{Block, Extent, f16_at, nibbles, two_bits, u32_at};
use crate::codebooks::{E2M1, IQ4};

/// d (f16), 32 int8.
pub fn q8_0(bytes: &[u8]) -> Block {
    Block::plain(core::array::from_fn(|i| bytes[2 + i] as i8), f16_at(bytes, 0))
}

/// d (f16), 16 bytes of int4 around 8.
pub fn q4_0(bytes: &[u8]) -> Block {
    Block::plain(nibbles(&bytes[2..]).map(|w| w - 8), f16_at(bytes, 0))
}

/// d (f16), m (f16), 16 bytes of int4.
pub fn q4_1(bytes: &[u8]) -> Block {
    Block::plain(nibbles(&bytes[4..]), f16_at(bytes, 0)).with_minimum(Extent::Whole(f16_at(bytes, 2)))
}

/// 4 bytes with the fifth bits of 32 weights, 16 bytes of int4.
fn five_bits(bytes: &[u8]) -> [i8; 32] {
    let (high, low) = (u32_at(bytes, 0), nibbles(&bytes[4..]));
    core::array::from_fn(|i| low[i] + (high >> i & 1) as i8 * 16)
}

/// d (f16), fifth bits, 16 bytes of int4: int5 around 16.
pub fn q5_0(bytes: &[u8]) -> Block {
    Block::plain(five_bits(&bytes[2..]).map(|w| w - 16), f16_at(bytes, 0))
}

/// d (f16), m (f16), fifth bits, 16 bytes of int4.
pub fn q5_1(bytes: &[u8]) -> Block {
    Block::plain(five_bits(&bytes[4..]), f16_at(bytes, 0)).with_minimum(Extent::Whole(f16_at(bytes, 2)))
}

/// d (f16), 16 bytes of bits: 1 where they are set, -1 where not.
pub fn q1_0(bytes: &[u8], part: usize) -> Block {
    let bits = u32_at(bytes, 2 + 4 * part);
    Block::plain(core::array::from_fn(|i| (bits >> i & 1) as i8 * 2 - 1), f16_at(bytes, 0))
}

/// d (f16), 16 bytes of 2 bits around 1, four weights in a byte.
pub fn q2_0(bytes: &[u8], part: usize) -> Block {
    let quants = &bytes[2 + 8 * part..];
    Block::plain(core::array::from_fn(|i| two_bits(quants[i / 4], i % 4 * 2) - 1), f16_at(bytes, 0))
}

/// d (f16), 16 bytes of numbers of 4 bits in [`IQ4`].
pub fn iq4_nl(bytes: &[u8]) -> Block {
    Block::plain(nibbles(&bytes[2..]).map(|number| IQ4[number as usize]), f16_at(bytes, 0))
}

/// e (E8M0), 16 bytes of E2M1. The weights here are twice the numbers, the scale is half of what `e` says.
pub fn mxfp4(bytes: &[u8]) -> Block {
    Block::plain(nibbles(&bytes[1..]).map(|number| E2M1[number as usize]), half_e8m0(bytes[0]))
}

/// Half of a number that is an exponent alone: 2^(e - 128). The one that stands for NaN is 2^127, as ggml has it.
/// Source: OCP Microscaling Formats (MX) v1.0, 5.4.1.
pub const fn half_e8m0(e: u8) -> f32 {
    f32::from_bits(match e {
        0 | 1 => 0x0020_0000 << e,
        _ => (e as u32 - 1) << 23,
    })
}

/// 4 scales (E4M3 without a sign), then for each 16 weights 8 bytes of E2M1, their first 8 in the low halves. The
/// weights here are twice the numbers, the scales are halved.
pub fn nvfp4(bytes: &[u8], part: usize) -> Block {
    let quants = &bytes[4 + 16 * part..];
    let w = core::array::from_fn(|i| {
        let byte = quants[i / 16 * 8 + i % 8];
        E2M1[usize::from(if i % 16 < 8 { byte & 15 } else { byte >> 4 })]
    });
    let d = Extent::Halves([half_e4m3(bytes[2 * part]), half_e4m3(bytes[2 * part + 1])]);
    Block { w, scales: [1; 2], d, minimum: None }
}

/// Half of a number with 4 bits of exponent around 7 and 3 of mantissa; the top bit is not looked at. NaN, which only
/// 0x7f is, counts as 0, as ggml has it. Source: OCP 8-bit Floating Point Specification v1.0, 3.
pub fn half_e4m3(bits: u8) -> f32 {
    let (exponent, mantissa) = (bits >> 3 & 15, bits & 7);
    if bits == 0x7f {
        0.0
    } else if exponent == 0 {
        // 2^-9 for each step, and half of it.
        f32::from(mantissa) / 1024.0
    } else {
        f32::from_bits((u32::from(exponent) + 127 - 7 - 1) << 23 | u32::from(mantissa) << 20)
    }
}
