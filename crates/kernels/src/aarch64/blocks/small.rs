//! Formats with one scale for 16 to 128 weights.

use super::{
    Bytes, IntegerScales, Packed, Scales, Split, Table, byte, e2m1, iq4, nibbles, scale_alone, two_bits,
};
use crate::Format;
use crate::aarch64::source::Source;
use core::arch::aarch64::*;

/// The scale, and the minimum where there is one, of a format that has nothing else before its weights.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn leading<F: Packed, S: Source>(blocks: S) -> Scales {
    // SAFETY: the scale stands at 0, the minimum at 2.
    unsafe {
        if F::MINIMUM {
            let [d, minimum] = blocks.two_halves(0);
            Scales { minimum, ..scale_alone(d) }
        } else {
            scale_alone(blocks.halves(0))
        }
    }
}

/// What formats with [`leading`] scales have in common.
macro_rules! leading {
    () => {
        type Shared = Scales;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn shared<S: Source>(blocks: S) -> Scales {
            // SAFETY: as promised by the caller.
            unsafe { leading::<Self, S>(blocks) }
        }

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
            *shared
        }
    };
}

/// 32 int8, one f16 scale.
pub struct Q8_0;

impl Packed for Q8_0 {
    const FORMAT: Format = Format::Q8_0;
    const BITS: usize = 8;
    type Alike = Self;
    leading!();

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: weights in bytes 2..34.
        vreinterpretq_s8_u8(unsafe { bytes.at(2 + 16 * HALF) })
    }
}

/// 32 int4 around 8, one f16 scale.
pub struct Q4_0;

impl Packed for Q4_0 {
    const FORMAT: Format = Format::Q4_0;
    const OFFSET: i8 = 8;
    type Alike = Self;
    leading!();

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: weights in bytes 2..18.
        nibbles::<HALF>(unsafe { bytes.at(2) })
    }
}

/// 32 int4, one f16 scale and one f16 minimum.
pub struct Q4_1;

impl Packed for Q4_1 {
    const FORMAT: Format = Format::Q4_1;
    const MINIMUM: bool = true;
    type Alike = Self;
    leading!();

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: weights in bytes 4..20.
        nibbles::<HALF>(unsafe { bytes.at(4) })
    }
}

/// Where in a word the bytes are that hold the bits of a half.
struct ByteOf<const HALF: u8>;

impl<const HALF: u8> Table for ByteOf<HALF> {
    const OF: [u8; 16] = {
        let (a, b) = (2 * HALF, 2 * HALF + 1);
        [a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b]
    };
}

/// Which bit of its byte belongs to a weight.
struct BitOf;

impl Table for BitOf {
    const OF: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
}

/// 255 for each weight of a half whose bit is set in the words at `at`, of which `words` makes others before: 0 for the
/// other weights.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn bits<const HALF: usize>(
    bytes: impl Bytes,
    at: usize,
    words: impl Fn(uint8x16_t) -> uint8x16_t,
) -> uint8x16_t {
    // SAFETY: as promised by the caller.
    unsafe {
        let words = words(bytes.word(at));
        let picked = if HALF == 0 { bytes.pick::<ByteOf<0>>(words) } else { bytes.pick::<ByteOf<1>>(words) };
        vtstq_u8(picked, bytes.each::<BitOf>())
    }
}

/// The low halves of bytes, or the high ones, with other upper halves over them.
#[inline]
#[target_feature(enable = "neon")]
fn over_nibbles<const HALF: usize>(bytes: uint8x16_t, upper: uint8x16_t) -> int8x16_t {
    let low = if HALF == 0 { bytes } else { vshrq_n_u8::<4>(bytes) };
    vreinterpretq_s8_u8(vsliq_n_u8::<4>(low, upper))
}

/// 32 int5 around 16, one f16 scale.
pub struct Q5_0;

impl Packed for Q5_0 {
    const FORMAT: Format = Format::Q5_0;
    const TABLES: bool = true;
    type Alike = Q4_0;
    leading!();

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: fifth bits in bytes 2..6, the others in bytes 6..22.
        let (clear, low) = unsafe { (bits::<HALF>(bytes, 2, |words| vmvnq_u8(words)), bytes.at(6)) };
        // Where the fifth bit is clear, the weight is 16 less than its other bits: in two's complement, 4 bits are set.
        over_nibbles::<HALF>(low, clear)
    }
}

/// 32 int5, one f16 scale and one f16 minimum.
pub struct Q5_1;

impl Packed for Q5_1 {
    const FORMAT: Format = Format::Q5_1;
    const BITS: usize = 6;
    const MINIMUM: bool = true;
    const TABLES: bool = true;
    type Alike = Self;
    leading!();

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: fifth bits in bytes 4..8, the others in bytes 8..24.
        let (set, low) = unsafe { (bits::<HALF>(bytes, 4, |words| words), bytes.at(8)) };
        over_nibbles::<HALF>(low, vshrq_n_u8::<7>(set))
    }
}

/// 32 of 16 uneven levels, one f16 scale.
pub struct IQ4_NL;

impl Packed for IQ4_NL {
    const FORMAT: Format = Format::IQ4_NL;
    const BITS: usize = 8;
    const TABLES: bool = true;
    type Alike = Q8_0;
    leading!();

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: numbers in bytes 2..18.
        iq4(nibbles::<HALF>(unsafe { bytes.at(2) }))
    }
}

/// 128 signs, one f16 scale.
pub struct Q1_0;

impl Packed for Q1_0 {
    const FORMAT: Format = Format::Q1_0;
    const TABLES: bool = true;
    type Alike = Q4_0;
    leading!();

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: bits in bytes 2..18.
        let clear = unsafe { bits::<HALF>(bytes, 2 + 4 * PART, |words| vmvnq_u8(words)) };
        // 255 is -1.
        vreinterpretq_s8_u8(vorrq_u8(clear, vdupq_n_u8(1)))
    }
}

/// Which byte of a word belongs to a weight, of four in each.
struct Quarter;

impl Table for Quarter {
    const OF: [u8; 16] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3];
}

/// By how much that byte is to be shifted up.
struct QuarterShift;

impl Table for QuarterShift {
    const OF: [u8; 16] = [0, 254, 252, 250, 0, 254, 252, 250, 0, 254, 252, 250, 0, 254, 252, 250];
}

/// 64 of -1, 0, 1 and 2, one f16 scale.
pub struct Q2_0;

impl Packed for Q2_0 {
    const FORMAT: Format = Format::Q2_0;
    const OFFSET: i8 = 1;
    const TABLES: bool = true;
    type Alike = Q4_0;
    leading!();

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: weights in bytes 2..18, four in each.
        unsafe {
            let fours = bytes.pick::<Quarter>(bytes.word(2 + 8 * PART + 4 * HALF));
            let shifts = bytes.each::<QuarterShift>();
            two_bits::<0>(vshlq_u8(fours, vreinterpretq_s8_u8(shifts)))
        }
    }
}

/// 32 floats of 4 bits (E2M1), one scale that is a power of two (E8M0).
pub struct MXFP4;

impl Packed for MXFP4 {
    const FORMAT: Format = Format::MXFP4;
    const TABLES: bool = true;
    type Alike = Q4_0;
    type Shared = Scales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Scales {
        // SAFETY: the exponent stands at 0.
        let e = unsafe { blocks.bytes(0) };
        // As `reference::blocks` has it: half of 2^(e - 127). For e below 2 that is subnormal.
        let normal = vshlq_n_u32::<23>(vsubq_u32(e, vdupq_n_u32(1)));
        let subnormal = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(e));
        let d = vbslq_u32(vcgtq_u32(e, vdupq_n_u32(1)), normal, subnormal);
        scale_alone(vreinterpretq_f32_u32(d))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
        *shared
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: numbers in bytes 1..17.
        e2m1(nibbles::<HALF>(unsafe { bytes.at(1) }))
    }
}

/// By how much a byte is to be shifted up of which the first eight weights have the low half, the others the high one.
struct UpperShift;

impl Table for UpperShift {
    const OF: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 252, 252, 252, 252, 252, 252, 252, 252];
}

/// 64 floats of 4 bits (E2M1) in 4 sub-blocks with scales of 8 bits (E4M3 without a sign).
pub struct NVFP4;

impl Packed for NVFP4 {
    const FORMAT: Format = Format::NVFP4;
    const SCALES: IntegerScales = IntegerScales::None;
    const SPLIT: Split = Split::Scale;
    type Alike = Self;
    /// The four scales of a row in each lane.
    type Shared = uint32x4_t;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> uint32x4_t {
        // SAFETY: scales in bytes 0..4.
        unsafe { blocks.words(0) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &uint32x4_t) -> Scales {
        let scales = if PART == 0 {
            [byte::<0>(*shared), byte::<1>(*shared)]
        } else {
            [byte::<2>(*shared), byte::<3>(*shared)]
        };
        let [d, second] = scales.map(|bits| half_e4m3(bits));
        Scales { second, ..scale_alone(d) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: numbers in bytes 4..36: those of eight bytes' low halves, then those of the high halves.
        unsafe {
            let eight = bytes.twice(4 + 16 * PART + 8 * HALF);
            let shifts = bytes.each::<UpperShift>();
            e2m1(nibbles::<0>(vshlq_u8(eight, vreinterpretq_s8_u8(shifts))))
        }
    }
}

/// Half of the numbers that [`crate::reference::blocks`] reads in bytes. Exponent and mantissa are those of an f32 whose
/// exponent is around 127, not 7: also where both are subnormal, a product with 2^(127 - 7 - 1) is what is left to do.
#[inline]
#[target_feature(enable = "neon")]
fn half_e4m3(bits: uint32x4_t) -> float32x4_t {
    let number = vshlq_n_u32::<20>(vandq_u32(bits, vdupq_n_u32(0x7f)));
    let nan = vceqq_u32(bits, vdupq_n_u32(0x7f));
    let number = vreinterpretq_f32_u32(vbicq_u32(number, nan));
    vmulq_n_f32(number, f32::from_bits((127 + 127 - 7 - 1) << 23))
}
