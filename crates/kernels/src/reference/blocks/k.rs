//! Formats of 256 weights whose 8 or 16 sub-blocks have integer scales.

use super::{Block, Extent, f16_at, nibbles, two_bits, u16_at};
use crate::codebooks::IQ4;

/// 16 bytes of a scale (low half) and a minimum (high half) each, 64 bytes of 2 bits, d, dmin (f16). 128 weights share
/// 32 bytes: their first 32 in bits 0 and 1, and so on.
pub fn q2_k(bytes: &[u8], part: usize) -> Block {
    let quants = &bytes[16 + part / 4 * 32..][..32];
    let w = core::array::from_fn(|i| two_bits(quants[i], part % 4 * 2));
    let scales = [bytes[2 * part], bytes[2 * part + 1]];
    let (d, dmin) = (f16_at(bytes, 80), f16_at(bytes, 82));
    Block::scaled(w, d, scales.map(|both| i32::from(both & 15)))
        .with_minimum(Extent::Halves(scales.map(|both| -(dmin * f32::from(both >> 4)))))
}

/// 32 bytes of third bits, 64 bytes of the lower 2 bits, 12 bytes of 6-bit scales around 32, d (f16). 128 weights share
/// 32 bytes of lower bits as in `Q2_K`; bit `part` of the 32 bytes of third bits belongs to it.
pub fn q3_k(bytes: &[u8], part: usize) -> Block {
    let quants = &bytes[32 + part / 4 * 32..][..32];
    let w =
        core::array::from_fn(|i| two_bits(quants[i], part % 4 * 2) + (bytes[i] >> part & 1) as i8 * 4 - 4);
    // Scales 0..8 in the low halves of the first 8 bytes, the others in the high halves; the upper 2 bits of four
    // in each of the last 4 bytes: of scales j, j + 4, j + 8 and j + 12 in byte j.
    let scale = |i: usize| {
        let low = if i < 8 { bytes[96 + i] & 15 } else { bytes[96 + i - 8] >> 4 };
        i32::from(low) + i32::from(bytes[104 + i % 4] >> (i / 4 * 2) & 3) * 16 - 32
    };
    Block::scaled(w, f16_at(bytes, 108), [scale(2 * part), scale(2 * part + 1)])
}

/// d, dmin (f16), 8 scales and 8 minima of 6 bits in 12 bytes, 128 bytes of int4: 64 weights share 32 bytes, the first
/// 32 in the low halves.
pub fn q4_k(bytes: &[u8], part: usize) -> Block {
    with_scales(bytes, part, half_bytes(&bytes[16..], part))
}

/// As `Q4_K`, with 32 bytes of fifth bits before the int4: bit `part` belongs to it.
pub fn q5_k(bytes: &[u8], part: usize) -> Block {
    let (high, low) = (&bytes[16..48], half_bytes(&bytes[48..], part));
    with_scales(bytes, part, core::array::from_fn(|i| low[i] + (high[i] >> part & 1) as i8 * 16))
}

/// 32 int4 of bytes in which 64 weights share 32 bytes.
fn half_bytes(bytes: &[u8], part: usize) -> [i8; 32] {
    let quants = &bytes[part / 2 * 32..][..32];
    core::array::from_fn(|i| if part.is_multiple_of(2) { quants[i] & 15 } else { quants[i] >> 4 } as i8)
}

/// The block of these weights, with the scales of `Q4_K` and `Q5_K`.
fn with_scales(bytes: &[u8], part: usize, w: [i8; 32]) -> Block {
    let (scale, minimum) = six_bits(&bytes[4..16], part);
    Block::scaled(w, f16_at(bytes, 0), [i32::from(scale); 2])
        .with_minimum(Extent::Whole(-(f16_at(bytes, 2) * f32::from(minimum))))
}

/// The 6-bit scale and minimum of sub-block `part` of `Q4_K` and `Q5_K`: the first four in the low 6 bits of bytes 0..8,
/// the others in the halves of bytes 8..12 and the top bits of bytes 0..8.
fn six_bits(packed: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        let low = packed[part + 4];
        ((low & 15) | (packed[part - 4] >> 6) << 4, low >> 4 | (packed[part] >> 6) << 4)
    }
}

/// 128 bytes of low halves, 64 bytes of upper 2 bits, 16 int8 scales, d (f16). 128 weights share 64 and 32 bytes: in
/// these, 32 weights each stand in the low halves of the first and second 32 bytes, then in the high halves, and
/// their upper bits in bits 0, 2, 4, 6 of the 32.
pub fn q6_k(bytes: &[u8], part: usize) -> Block {
    let (half, quarter) = (part / 4, part % 4);
    let low = &bytes[half * 64 + quarter % 2 * 32..][..32];
    let high = &bytes[128 + half * 32..][..32];
    let w = core::array::from_fn(|i| {
        let low = if quarter < 2 { low[i] & 15 } else { low[i] >> 4 } as i8;
        (low | two_bits(high[i], 2 * quarter) << 4) - 32
    });
    let scales = core::array::from_fn(|i| i32::from(bytes[192 + part * 2 + i] as i8));
    Block::scaled(w, f16_at(bytes, 208), scales)
}

/// d (f16), the upper 2 bits of 8 scales around 32 in 2 bytes, their lower halves in 4 bytes, 128 bytes of numbers of 4
/// bits in [`IQ4`]: 16 bytes for 32 weights, the first 16 in the low halves.
pub fn iq4_xs(bytes: &[u8], part: usize) -> Block {
    let low = bytes[4 + part / 2] >> (part % 2 * 4) & 15;
    let high = u16_at(bytes, 2) >> (2 * part) & 3;
    let w = nibbles(&bytes[8 + 16 * part..]).map(|number| IQ4[number as usize]);
    Block::scaled(w, f16_at(bytes, 0), [i32::from(low) + i32::from(high) * 16 - 32; 2])
}
