//! Formats of 256 weights that are -1, 0 or 1.

use super::{Block, f16_at, two_bits};

/// 48 bytes of five digits, 4 bytes of four digits, d (f16). Weights 0..160 are in the first 32 bytes, the first 32 the
/// first digits; 160..240 likewise in the next 16, and the others in the 4.
pub fn tq1_0(bytes: &[u8], part: usize) -> Block {
    let w = core::array::from_fn(|i| {
        let weight = 32 * part + i;
        let (at, which) = match weight {
            0..160 => (weight % 32, weight / 32),
            160..240 => (32 + weight % 16, (weight - 160) / 16),
            _ => (48 + weight % 4, (weight - 240) / 4),
        };
        digit(bytes[at], which) - 1
    });
    Block::plain(w, f16_at(bytes, 52))
}

/// A digit to base 3: a byte is the fraction 0.abcde of 256, and a digit is what a multiplication by 3 moves over the
/// point.
fn digit(byte: u8, which: usize) -> i8 {
    let fraction = (0..which).fold(byte, |fraction, _| fraction.wrapping_mul(3));
    ((u16::from(fraction) * 3) >> 8) as i8
}

/// 64 bytes of 2 bits around 1, d (f16). 128 weights share 32 bytes: their first 32 in bits 0 and 1, and so on.
pub fn tq2_0(bytes: &[u8], part: usize) -> Block {
    let quants = &bytes[part / 4 * 32..][..32];
    Block::plain(core::array::from_fn(|i| two_bits(quants[i], part % 4 * 2) - 1), f16_at(bytes, 64))
}
