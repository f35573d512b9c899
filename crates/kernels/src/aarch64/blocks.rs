//! What the bytes of a block mean, four rows at a time.
//!
//! The layouts are described in [`crate::reference::blocks`] and [`crate::layout`]. Each format only says how its
//! integer weights come out of vectors of bytes, and its scales and minima, row by row, into the lanes of others; a
//! [`Source`] knows where the bytes of four rows are. Formats with one scale for 16 to 128 weights are in `small`, those
//! of 256 in `k`; `decoded` is what formats are brought to that are decoded row by row ([`super::lookup`]).

mod decoded;
mod k;
mod small;

pub use decoded::Decoded;
pub use k::{IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, TQ2_0};
pub use small::{IQ4_NL, MXFP4, NVFP4, Q1_0, Q2_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

use super::dot::Weights;
use super::source::Source;
use crate::Format;
use crate::codebooks;
use core::arch::aarch64::*;

/// The scales of 32 weights of four rows, a row in each lane.
#[derive(Clone, Copy)]
pub struct Scales {
    /// The scale of all, or of what [`Packed::SPLIT`] leaves to it.
    pub d: float32x4_t,
    /// The integer scale of each half, where [`Packed::SCALES`] says that there are any.
    pub halves: [int32x4_t; 2],
    /// The minimum, where there is one.
    pub minimum: float32x4_t,
    /// What the second half has for itself, where [`Packed::SPLIT`] says so.
    pub second: float32x4_t,
}

/// How many integer scales 32 weights have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IntegerScales {
    /// None: the scale is 1.
    None,
    /// One for all.
    One,
    /// One for each half.
    Two,
}

/// Which number each half of 32 weights has for itself, so that it takes two steps of an accumulator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// None.
    None,
    /// The scale.
    Scale,
    /// The minimum.
    Minimum,
}

/// The bytes of half of the weights of a part: sixteen of one row, or four of each of four rows. Weight i stands for the
/// i-th of the half, wherever in a vector it is.
///
/// # Safety
/// The methods need NEON, whole blocks, and fields that the format has.
pub trait Bytes: Copy {
    /// Byte `at + i` for weight i.
    unsafe fn at(self, at: usize) -> uint8x16_t;

    /// Byte `at + i % 8` for weight i.
    unsafe fn twice(self, at: usize) -> uint8x16_t;

    /// The word at byte `at`, of the row of each weight.
    unsafe fn word(self, at: usize) -> uint8x16_t;

    /// Byte `T::OF[i]` for weight i, of its row's word.
    unsafe fn pick<T: Table>(self, words: uint8x16_t) -> uint8x16_t;

    /// `T::OF[i]` for weight i.
    unsafe fn each<T: Table>(self) -> uint8x16_t;
}

/// A number for each of sixteen weights.
pub trait Table {
    /// The numbers.
    const OF: [u8; 16];
}

/// A block format.
///
/// # Safety
/// The methods need NEON and pointers at whole blocks of the format; `PART` is below [`PARTS`](Self::PARTS).
pub trait Packed {
    /// Its name.
    const FORMAT: Format;
    /// The bytes of a block.
    const BYTES: usize = Self::FORMAT.block_bytes();
    /// The number of times 32 weights in a block.
    const PARTS: usize = Self::FORMAT.block_len() / 32;
    /// What is to be subtracted from the weights that `weights` gives.
    const OFFSET: i8 = 0;
    /// The bits of a signed number that hold any weight, before and after subtraction: 5, 6 or 8.
    const BITS: usize = 5;
    /// Whether weights are as small as [`super::dot::Dot`] asks for, before and after subtraction.
    const NARROW: bool = Self::BITS == 5;
    /// Whether there are minima.
    const MINIMUM: bool = false;
    /// Which integer scales there are.
    const SCALES: IntegerScales = IntegerScales::None;
    /// Which number there are two of.
    const SPLIT: Split = Split::None;
    /// Whether weights come from tables, which stay in registers.
    const TABLES: bool = false;
    /// A format with the same `BITS`, `MINIMUM`, `SCALES` and `SPLIT`: products of unpacked rows are one for both.
    type Alike: Packed;
    /// What is unpacked once for a block.
    type Shared: Copy;

    /// Unpacks what the parts of a block share.
    unsafe fn shared<S: Source>(blocks: S) -> Self::Shared;

    /// The scales of a part.
    unsafe fn scales<const PART: usize>(shared: &Self::Shared) -> Scales;

    /// Half of the weights of a part.
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t;

    /// The weights of a part of one row.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn weights<const PART: usize>(block: *const u8) -> Weights {
        // SAFETY: as promised by the caller.
        unsafe { [Self::half::<PART, 0>(Row(block)), Self::half::<PART, 1>(Row(block))] }
    }
}

/// Does something for each part of a block of a format: `PART` is a constant in it.
macro_rules! each_part {
    ($format:ident, $part:ident => $do:block) => {
        each_part!(one 0, $part, $do);
        if $format::PARTS > 1 {
            each_part!(one 1, $part, $do);
        }
        if $format::PARTS > 2 {
            each_part!(one 2, $part, $do);
            each_part!(one 3, $part, $do);
        }
        if $format::PARTS > 4 {
            each_part!(one 4, $part, $do);
            each_part!(one 5, $part, $do);
            each_part!(one 6, $part, $do);
            each_part!(one 7, $part, $do);
        }
    };
    (one $number:literal, $part:ident, $do:block) => {{
        const $part: usize = $number;
        $do
    }};
}
pub(super) use each_part;

/// The block of one row.
#[derive(Clone, Copy)]
struct Row(*const u8);

impl Bytes for Row {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn at(self, at: usize) -> uint8x16_t {
        // SAFETY: what a format asks for lies in the block, as promised by the caller.
        unsafe { vld1q_u8(self.0.add(at)) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn twice(self, at: usize) -> uint8x16_t {
        // SAFETY: as above; it is aligned to nothing.
        vreinterpretq_u8_u64(vdupq_n_u64(unsafe { self.0.add(at).cast::<u64>().read_unaligned() }))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn word(self, at: usize) -> uint8x16_t {
        // SAFETY: as above.
        vreinterpretq_u8_u32(vdupq_n_u32(unsafe { self.0.add(at).cast::<u32>().read_unaligned() }))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pick<T: Table>(self, words: uint8x16_t) -> uint8x16_t {
        vqtbl1q_u8(words, sixteen(&T::OF))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn each<T: Table>(self) -> uint8x16_t {
        sixteen(&T::OF)
    }
}

/// A scale without anything else.
#[inline]
#[target_feature(enable = "neon")]
fn scale_alone(d: float32x4_t) -> Scales {
    let zero = vdupq_n_f32(0.0);
    Scales { d, halves: [vdupq_n_s32(1); 2], minimum: zero, second: zero }
}

/// A vector of these numbers.
#[inline]
#[target_feature(enable = "neon")]
pub fn sixteen(numbers: &[u8; 16]) -> uint8x16_t {
    // SAFETY: sixteen bytes.
    unsafe { vld1q_u8(numbers.as_ptr()) }
}

/// The low halves of bytes, or the high ones.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles<const HALF: usize>(bytes: uint8x16_t) -> int8x16_t {
    if HALF == 0 { low(bytes) } else { high(bytes) }
}

/// The low halves of bytes.
#[inline]
#[target_feature(enable = "neon")]
fn low(bytes: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)))
}

/// The high halves of bytes.
#[inline]
#[target_feature(enable = "neon")]
fn high(bytes: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes))
}

/// Bytes shifted down by `N` bits.
#[inline]
#[target_feature(enable = "neon")]
fn down<const N: usize>(bytes: uint8x16_t) -> uint8x16_t {
    match N {
        0 => bytes,
        1 => vshrq_n_u8::<1>(bytes),
        2 => vshrq_n_u8::<2>(bytes),
        3 => vshrq_n_u8::<3>(bytes),
        4 => vshrq_n_u8::<4>(bytes),
        5 => vshrq_n_u8::<5>(bytes),
        6 => vshrq_n_u8::<6>(bytes),
        _ => vshrq_n_u8::<7>(bytes),
    }
}

/// 255 where bit `N` of a byte is clear, 0 where it is set.
#[inline]
#[target_feature(enable = "neon")]
fn clear<const N: usize>(bytes: uint8x16_t) -> uint8x16_t {
    let bytes = vreinterpretq_s8_u8(bytes);
    let top = match N {
        0 => vshlq_n_s8::<7>(bytes),
        1 => vshlq_n_s8::<6>(bytes),
        2 => vshlq_n_s8::<5>(bytes),
        3 => vshlq_n_s8::<4>(bytes),
        4 => vshlq_n_s8::<3>(bytes),
        5 => vshlq_n_s8::<2>(bytes),
        6 => vshlq_n_s8::<1>(bytes),
        _ => bytes,
    };
    vcgezq_s8(top)
}

/// Bits 2i and 2i + 1 of bytes, where i is `N`.
#[inline]
#[target_feature(enable = "neon")]
fn two_bits<const N: usize>(bytes: uint8x16_t) -> int8x16_t {
    let bits = match N {
        0 => bytes,
        1 => vshrq_n_u8::<2>(bytes),
        2 => vshrq_n_u8::<4>(bytes),
        _ => return vreinterpretq_s8_u8(vshrq_n_u8::<6>(bytes)),
    };
    vreinterpretq_s8_u8(vandq_u8(bits, vdupq_n_u8(3)))
}

/// What numbers below 16 stand for.
#[inline]
#[target_feature(enable = "neon")]
fn looked_up(levels: &[i8; 16], numbers: int8x16_t) -> int8x16_t {
    // SAFETY: sixteen levels.
    vqtbl1q_s8(unsafe { vld1q_s8(levels.as_ptr()) }, vreinterpretq_u8_s8(numbers))
}

/// The weights of `IQ4_NL` and `IQ4_XS` with these numbers.
#[inline]
#[target_feature(enable = "neon")]
fn iq4(numbers: int8x16_t) -> int8x16_t {
    looked_up(&codebooks::IQ4, numbers)
}

/// The weights of `MXFP4` and `NVFP4` with these numbers.
#[inline]
#[target_feature(enable = "neon")]
fn e2m1(numbers: int8x16_t) -> int8x16_t {
    looked_up(&codebooks::E2M1, numbers)
}

/// Byte `N % 4` of each lane.
#[inline]
#[target_feature(enable = "neon")]
fn byte<const N: usize>(lanes: uint32x4_t) -> uint32x4_t {
    let mask = vdupq_n_u32(255);
    match N % 4 {
        0 => vandq_u32(lanes, mask),
        1 => vandq_u32(vshrq_n_u32::<8>(lanes), mask),
        2 => vandq_u32(vshrq_n_u32::<16>(lanes), mask),
        _ => vshrq_n_u32::<24>(lanes),
    }
}
