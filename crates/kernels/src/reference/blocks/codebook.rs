//! Formats of 256 weights that are looked up in codebooks, four or eight at a time.
//!
//! Where ggml has scales of a half more than an integer, everything here is in integers: `d * (s + 1/2) / 4` is
//! `d / 8 * (2 s + 1)`, exactly.

use super::{Block, f16_at, u16_at, u32_at};
use crate::codebooks::{IQ1, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, even_signs};
use crate::math::f16_to_f32;

/// Four times eight weights.
fn eights(eight: impl Fn(usize) -> [i8; 8]) -> [i8; 32] {
    let eights: [[i8; 8]; 4] = core::array::from_fn(eight);
    core::array::from_fn(|i| eights[i / 8][i % 8])
}

/// Weights, those turned round whose bit is set.
fn signed(weights: [i8; 8], signs: u8) -> [i8; 8] {
    core::array::from_fn(|i| if signs >> i & 1 == 1 { -weights[i] } else { weights[i] })
}

/// Two entries of a book of four weights.
fn pair(book: &[[i8; 4]], entries: [usize; 2]) -> [i8; 8] {
    let fours = entries.map(|entry| book[entry]);
    core::array::from_fn(|i| fours[i / 4][i % 4])
}

/// The low or the high half of a byte as a scale `2 s + 1`.
const fn odd_scale(byte: u8, high: bool) -> i32 {
    2 * (if high { byte >> 4 } else { byte & 15 }) as i32 + 1
}

/// The seven stored signs of eight of 32 weights, in a word under 4 bits of scale.
const fn seven_signs(word: u32, eight: usize) -> u8 {
    (word >> (7 * eight) & 127) as u8
}

/// Eight weights of `IQ1`: the entry's, an eighth more or less, all times 8.
fn shifted(entry: usize, less: bool) -> [i8; 8] {
    let delta = if less { -1 } else { 1 };
    IQ1.entries[entry].map(|weight| weight + delta)
}

/// d (f16), 32 bytes of entries' lower 8 bits, 8 times 2 bytes: four entries' upper 3 bits, a scale of 3 bits, and whether
/// weights are an eighth less.
pub fn iq1_s(bytes: &[u8], part: usize) -> Block {
    let high = u16_at(bytes, 34 + 2 * part);
    let w = eights(|l| {
        let entry = usize::from(bytes[2 + 4 * part + l]) | usize::from(high >> (3 * l) & 7) << 8;
        shifted(entry, high >> 15 == 1)
    });
    Block::scaled(w, f16_at(bytes, 0) / 8.0, [i32::from(high >> 12 & 7) * 2 + 1; 2])
}

/// 32 bytes of entries' lower 8 bits, 16 bytes of two entries' upper 3 bits, each under whether weights are an eighth
/// less, 4 times 2 bytes: four scales of 3 bits under 4 bits of d (f16), the lowest first.
pub fn iq1_m(bytes: &[u8], part: usize) -> Block {
    let packed: [u16; 4] = core::array::from_fn(|i| u16_at(bytes, 48 + 2 * i));
    let d = packed.iter().enumerate().fold(0, |d, (i, packed)| d | packed >> 12 << (4 * i));
    let w = eights(|l| {
        let high = bytes[32 + 2 * part + l / 2] >> (l % 2 * 4);
        shifted(usize::from(bytes[4 * part + l]) | usize::from(high & 7) << 8, high & 8 != 0)
    });
    let scale = |half: usize| i32::from(packed[part / 2] >> (part % 2 * 6 + 3 * half) & 7) * 2 + 1;
    Block::scaled(w, f16_to_f32(d) / 8.0, [scale(0), scale(1)])
}

/// d (f16), 8 times 8 bytes: four entries, then a word of four times seven signs under a scale of 4 bits.
pub fn iq2_xxs(bytes: &[u8], part: usize) -> Block {
    let entries = &bytes[2 + 8 * part..];
    let word = u32_at(entries, 4);
    let w = eights(|l| {
        let weights = IQ2_XXS.entries[usize::from(entries[l])];
        signed(weights, even_signs(seven_signs(word, l)))
    });
    Block::scaled(w, f16_at(bytes, 0) / 8.0, [2 * (word >> 28) as i32 + 1; 2])
}

/// d (f16), 32 times 2 bytes: an entry of 9 bits under seven signs; 8 bytes of two scales of 4 bits.
pub fn iq2_xs(bytes: &[u8], part: usize) -> Block {
    let w = eights(|l| {
        let both = u16_at(bytes, 2 + 8 * part + 2 * l);
        let weights = IQ2_XS.entries[usize::from(both & 511)];
        signed(weights, even_signs((both >> 9) as u8))
    });
    let scales = bytes[66 + part];
    Block::scaled(w, f16_at(bytes, 0) / 8.0, [odd_scale(scales, false), odd_scale(scales, true)])
}

/// d (f16), 32 bytes of entries' lower 8 bits, 32 bytes of signs, 8 bytes of four entries' upper 2 bits, 8 bytes of two
/// scales of 4 bits.
pub fn iq2_s(bytes: &[u8], part: usize) -> Block {
    let w = eights(|l| {
        let high = usize::from(bytes[66 + part] >> (2 * l) & 3);
        let weights = IQ2_S.entries[usize::from(bytes[2 + 4 * part + l]) | high << 8];
        signed(weights, bytes[34 + 4 * part + l])
    });
    let scales = bytes[74 + part];
    Block::scaled(w, f16_at(bytes, 0) / 8.0, [odd_scale(scales, false), odd_scale(scales, true)])
}

/// d (f16), 64 bytes of entries, 8 words of four times seven signs under a scale of 4 bits.
pub fn iq3_xxs(bytes: &[u8], part: usize) -> Block {
    let word = u32_at(bytes, 66 + 4 * part);
    let w = eights(|l| {
        let entries = [0, 1].map(|i| usize::from(bytes[2 + 8 * part + 2 * l + i]));
        signed(pair(&IQ3_XXS.entries, entries), even_signs(seven_signs(word, l)))
    });
    Block::scaled(w, f16_at(bytes, 0) / 4.0, [2 * (word >> 28) as i32 + 1; 2])
}

/// d (f16), 64 bytes of entries' lower 8 bits, 8 bytes of eight entries' ninth bits, 32 bytes of signs, 4 bytes of two
/// scales of 4 bits.
pub fn iq3_s(bytes: &[u8], part: usize) -> Block {
    let w = eights(|l| {
        let entries = [0, 1].map(|i| {
            let high = usize::from(bytes[66 + part] >> (2 * l + i) & 1);
            usize::from(bytes[2 + 8 * part + 2 * l + i]) | high << 8
        });
        signed(pair(&IQ3_S.entries, entries), bytes[74 + 4 * part + l])
    });
    Block::scaled(w, f16_at(bytes, 0), [odd_scale(bytes[106 + part / 2], part % 2 == 1); 2])
}
