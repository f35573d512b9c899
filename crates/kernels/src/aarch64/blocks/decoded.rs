//! A block of 256 weights as bytes, with a signed byte of scale for each 16: what a format is brought to whose weights
//! are looked up in a codebook row by row, and then multiplied like any other.

use super::k::SixteenScales;
use super::{Bytes, IntegerScales, Packed, Scales};
use crate::Format;
use crate::aarch64::source::Source;
use core::arch::aarch64::*;
use core::mem::offset_of;

/// A decoded block of one row.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Decoded {
    /// The integer weights.
    pub weights: [i8; 256],
    /// The integer scale of each 16.
    pub scales: [i8; 16],
    /// The scale of all.
    pub d: f32,
}

impl Decoded {
    /// A block of zeros.
    pub const ZERO: Self = Self { weights: [0; 256], scales: [0; 16], d: 0.0 };
}

impl Packed for Decoded {
    /// Of the format, only that it has as many weights is asked for.
    const FORMAT: Format = Format::IQ2_XS;
    const BYTES: usize = size_of::<Self>();
    const BITS: usize = 8;
    const SCALES: IntegerScales = IntegerScales::Two;
    type Alike = Self;
    type Shared = SixteenScales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> SixteenScales {
        // SAFETY: the fields of a block.
        unsafe {
            let words = |i: usize| blocks.words(offset_of!(Self, scales) + 4 * i);
            let d = vreinterpretq_f32_u32(blocks.words(offset_of!(Self, d)));
            SixteenScales { d, scales: [words(0), words(1), words(2), words(3)] }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &SixteenScales) -> Scales {
        shared.of::<PART>()
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: a byte for each of 256 weights.
        vreinterpretq_s8_u8(unsafe { bytes.at(32 * PART + 16 * HALF) })
    }
}
