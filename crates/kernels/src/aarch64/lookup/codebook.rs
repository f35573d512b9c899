//! Weights that are looked up in codebooks, four or eight at a time, and the signs that they are given.
//!
//! What the fields of a block are is said in
//! `reference/blocks/codebook.rs`; where ggml has fractions, integers and `d` are scaled as there.

use super::{Coded, half, read};
use crate::aarch64::blocks::sixteen;
use crate::aarch64::dot::Weights;
use crate::codebooks::{self, Codebook};
use core::arch::aarch64::*;

/// The entries of these four numbers.
#[inline]
#[target_feature(enable = "neon")]
fn eights<const N: usize>(book: &Codebook<8, N>, number: impl Fn(usize) -> usize) -> Weights {
    let eight = |number: usize| vcreate_s8(u64::from_le_bytes(book.entries[number].map(|w| w as u8)));
    let half = |i: usize| {
        let (low, high) = (eight(number(i)), eight(number(i + 1)));
        vcombine_s8(low, high)
    };
    [half(0), half(2)]
}

/// The entries of these eight numbers.
#[inline]
#[target_feature(enable = "neon")]
fn fours<const N: usize>(book: &Codebook<4, N>, number: impl Fn(usize) -> usize) -> Weights {
    let half = |i: usize| {
        let four = |i: usize| u64::from(u32::from_le_bytes(book.entries[number(i)].map(|w| w as u8)));
        let pair = |i: usize| four(i) | four(i + 1) << 32;
        vcombine_s8(vcreate_s8(pair(i)), vcreate_s8(pair(i + 2)))
    };
    [half(0), half(4)]
}

/// Weights, those turned round whose bit is set in the byte of their eight: bytes 0, `STRIDE`, 2 `STRIDE`, 3 `STRIDE`.
#[inline]
#[target_feature(enable = "neon")]
fn signed<const STRIDE: u8>(weights: Weights, signs: uint8x16_t) -> Weights {
    let half = |weights: int8x16_t, first: u8| {
        let byte_of = const {
            let s = STRIDE;
            [0, 0, 0, 0, 0, 0, 0, 0, s, s, s, s, s, s, s, s]
        };
        let picked = vqtbl1q_u8(signs, vaddq_u8(sixteen(&byte_of), vdupq_n_u8(first)));
        let bit_of = sixteen(&[1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128]);
        let set = vreinterpretq_s8_u8(vtstq_u8(picked, bit_of));
        vsubq_s8(veorq_s8(weights, set), set)
    };
    [half(weights[0], 0), half(weights[1], 2 * STRIDE)]
}

/// A word in each lane.
#[inline]
#[target_feature(enable = "neon")]
fn word(word: u32) -> uint8x16_t {
    vreinterpretq_u8_u32(vdupq_n_u32(word))
}

/// Bytes of seven signs with the eighth, which makes the number of set ones even.
#[inline]
#[target_feature(enable = "neon")]
fn even(sevens: uint8x16_t) -> uint8x16_t {
    vsliq_n_u8::<7>(sevens, vcntq_u8(sevens))
}

/// Weights with the signs in the lower 28 bits of a word, seven for each eight.
#[inline]
#[target_feature(enable = "neon")]
fn signed_in_word(weights: Weights, word: u32) -> Weights {
    // SAFETY: four numbers.
    let shifts = unsafe { vld1q_s32([0, -7, -14, -21].as_ptr()) };
    let sevens = vandq_u32(vshlq_u32(vdupq_n_u32(word), shifts), vdupq_n_u32(127));
    signed::<4>(weights, even(vreinterpretq_u8_u32(sevens)))
}

/// The scale in the upper 4 bits of a word, for both halves.
const fn scale_in_word(word: u32) -> [i8; 2] {
    [odd((word >> 28) as u8); 2]
}

/// The scales of two halves in a byte.
const fn two_scales(byte: u8) -> [i8; 2] {
    [odd(byte & 15), odd(byte >> 4)]
}

/// A scale with the half more than an integer that ggml gives it, twice.
const fn odd(scale: u8) -> i8 {
    2 * scale as i8 + 1
}

/// So much of the scale at the beginning of a block.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn scale_at_0(block: *const u8, part: f32) -> f32 {
    // SAFETY: the scale stands at 0, as promised by the caller.
    half(unsafe { read(block, 0) }) * part
}

/// 256 in groups of 8 from a book of 2048, in 8 sub-blocks with 3-bit scales and an eighth more or less.
pub struct IQ1_S;

impl Coded for IQ1_S {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(block: *const u8) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe { scale_at_0(block, 0.125) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]) {
        // SAFETY: lower bits in bytes 2..34, upper bits in bytes 34..50.
        let (low, high): ([u8; 4], u16) = unsafe { (read(block, 2 + 4 * part), read(block, 34 + 2 * part)) };
        let weights =
            eights(&codebooks::IQ1, |l| usize::from(low[l]) | usize::from(high >> (3 * l) & 7) << 8);
        // One less where the top bit is set, one more where not.
        let delta = vdupq_n_s8((high as i16 >> 15) as i8 | 1);
        let scale = 2 * (high >> 12 & 7) as i8 + 1;
        (weights.map(|weights| vaddq_s8(weights, delta)), [scale; 2])
    }
}

/// 256 in groups of 8 from the same book, in 16 sub-blocks with 3-bit scales; an eighth more or less in each group.
pub struct IQ1_M;

impl Coded for IQ1_M {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(block: *const u8) -> f32 {
        // SAFETY: the upper 4 bits of four times 2 bytes from 48 on.
        let packed: [u16; 4] = unsafe { read(block, 48) };
        let [a, b, c, d] = packed.map(|packed| packed >> 12);
        half(a | b << 4 | c << 8 | d << 12) * 0.125
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]) {
        // SAFETY: lower bits in bytes 0..32, upper bits in bytes 32..48, scales in bytes 48..56.
        let (low, high, scales): ([u8; 4], u16, u16) =
            unsafe { (read(block, 4 * part), read(block, 32 + 2 * part), read(block, 48 + part / 2 * 2)) };
        let weights =
            eights(&codebooks::IQ1, |l| usize::from(low[l]) | usize::from(high >> (4 * l) & 7) << 8);
        // One less where the bit above an entry's upper ones is set, one more where not.
        let bits = vreinterpretq_u8_u16(vdupq_n_u16(high));
        let add = |weights: int8x16_t, byte: u8| {
            let picked = vqtbl1q_u8(bits, vdupq_n_u8(byte));
            let bit_of = sixteen(&[8, 8, 8, 8, 8, 8, 8, 8, 128, 128, 128, 128, 128, 128, 128, 128]);
            let delta = vorrq_u8(vtstq_u8(picked, bit_of), vdupq_n_u8(1));
            vaddq_s8(weights, vreinterpretq_s8_u8(delta))
        };
        let scales = scales >> (part % 2 * 6);
        let scale = |half: usize| 2 * (scales >> (3 * half) & 7) as i8 + 1;
        ([add(weights[0], 0), add(weights[1], 1)], [scale(0), scale(1)])
    }
}

/// 256 in groups of 8 from a book of 256 and with signs, in 8 sub-blocks with 4-bit scales.
pub struct IQ2_XXS;

impl Coded for IQ2_XXS {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(block: *const u8) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe { scale_at_0(block, 0.125) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]) {
        // SAFETY: bytes 2..66.
        let (numbers, word): ([u8; 4], u32) =
            unsafe { (read(block, 2 + 8 * part), read(block, 6 + 8 * part)) };
        let weights = eights(&codebooks::IQ2_XXS, |l| usize::from(numbers[l]));
        (signed_in_word(weights, word), scale_in_word(word))
    }
}

/// 256 in groups of 8 from a book of 512 and with signs, in 16 sub-blocks with 4-bit scales.
pub struct IQ2_XS;

impl Coded for IQ2_XS {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(block: *const u8) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe { scale_at_0(block, 0.125) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]) {
        // SAFETY: numbers under signs in bytes 2..66, scales in bytes 66..74.
        let (both, scales): ([u16; 4], u8) = unsafe { (read(block, 2 + 8 * part), read(block, 66 + part)) };
        let weights = eights(&codebooks::IQ2_XS, |l| usize::from(both[l] & 511));
        // SAFETY: four numbers.
        let sevens = vshr_n_u16::<9>(unsafe { vld1_u16(both.as_ptr()) });
        let sevens = vreinterpretq_u8_u16(vcombine_u16(sevens, sevens));
        (signed::<2>(weights, even(sevens)), two_scales(scales))
    }
}

/// 256 in groups of 8 from a book of 1024 and with signs, in 16 sub-blocks with 4-bit scales.
pub struct IQ2_S;

impl Coded for IQ2_S {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(block: *const u8) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe { scale_at_0(block, 0.125) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]) {
        // SAFETY: lower bits in bytes 2..34, signs in bytes 34..66, upper bits in bytes 66..74, scales in bytes 74..82.
        let (low, signs, high, scales): ([u8; 4], u32, u8, u8) = unsafe {
            (
                read(block, 2 + 4 * part),
                read(block, 34 + 4 * part),
                read(block, 66 + part),
                read(block, 74 + part),
            )
        };
        let number = |l: usize| usize::from(low[l]) | usize::from(high >> (2 * l) & 3) << 8;
        (signed::<1>(eights(&codebooks::IQ2_S, number), word(signs)), two_scales(scales))
    }
}

/// 256 in groups of 4 from a book of 256 and with signs, in 8 sub-blocks with 4-bit scales.
pub struct IQ3_XXS;

impl Coded for IQ3_XXS {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(block: *const u8) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe { scale_at_0(block, 0.25) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]) {
        // SAFETY: numbers in bytes 2..66, signs and scales in bytes 66..98.
        let (numbers, word): ([u8; 8], u32) =
            unsafe { (read(block, 2 + 8 * part), read(block, 66 + 4 * part)) };
        let weights = fours(&codebooks::IQ3_XXS, |i| usize::from(numbers[i]));
        (signed_in_word(weights, word), scale_in_word(word))
    }
}

/// 256 in groups of 4 from a book of 512 and with signs, in 8 sub-blocks with 4-bit scales.
pub struct IQ3_S;

impl Coded for IQ3_S {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(block: *const u8) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe { scale_at_0(block, 1.0) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]) {
        // SAFETY: lower bits in bytes 2..66, ninth bits in bytes 66..74, signs in bytes 74..106, scales in bytes 106..110.
        let (low, high, signs, scales): (u64, u8, u32, u8) = unsafe {
            (
                read(block, 2 + 8 * part),
                read(block, 66 + part),
                read(block, 74 + 4 * part),
                read(block, 106 + part / 2),
            )
        };
        // SAFETY: eight bytes.
        let bit_of = unsafe { vld1_u8([1, 2, 4, 8, 16, 32, 64, 128].as_ptr()) };
        let ninth = vshr_n_u8::<7>(vtst_u8(vdup_n_u8(high), bit_of));
        let numbers = vcombine_u8(vzip1_u8(vcreate_u8(low), ninth), vzip2_u8(vcreate_u8(low), ninth));
        let numbers = vreinterpretq_u64_u8(numbers);
        let numbers = [vgetq_lane_u64::<0>(numbers), vgetq_lane_u64::<1>(numbers)];
        let weights = fours(&codebooks::IQ3_S, |i| (numbers[i / 4] >> (i % 4 * 16)) as usize & 511);
        (signed::<1>(weights, word(signs)), [odd(scales >> (part % 2 * 4) & 15); 2])
    }
}
