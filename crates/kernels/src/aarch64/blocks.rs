//! What the bytes of a block mean, four rows at a time.
//!
//! The layouts are described in [`crate::reference::blocks`] and [`crate::layout`]. Each format only says how its
//! integer weights come out of vectors of bytes, and its scales and minima, row by row, into the lanes of others; a
//! [`Source`] knows where the bytes of four rows are.

use super::dot::Weights;
use super::source::Source;
use crate::Format;
use core::arch::aarch64::*;

/// The scales of 32 weights of four rows, a row in each lane.
#[derive(Clone, Copy)]
pub struct Scales {
    /// The scale of all.
    pub d: float32x4_t,
    /// The integer scale of each half, where [`Packed::SCALES`] says that there are any.
    pub halves: [int32x4_t; 2],
    /// The minimum, where there is one.
    pub minimum: float32x4_t,
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

/// A block format.
///
/// # Safety
/// The methods need NEON and pointers at whole blocks of the format; `PART` is below [`PARTS`](Self::PARTS).
pub trait Packed {
    /// Its name.
    const FORMAT: Format;
    /// The bytes of a block.
    const BYTES: usize;
    /// The number of times 32 weights in a block.
    const PARTS: usize;
    /// What is to be subtracted from the weights that `weights` gives.
    const OFFSET: i8 = 0;
    /// Whether weights are as small as [`super::dot::Dot`] asks for, before and after subtraction.
    const NARROW: bool = true;
    /// Whether there are minima.
    const MINIMUM: bool = false;
    /// Which integer scales there are.
    const SCALES: IntegerScales = IntegerScales::None;
    /// What is unpacked once for a block.
    type Shared: Copy;

    /// Unpacks what the parts of a block share.
    unsafe fn shared<S: Source>(blocks: S) -> Self::Shared;

    /// The scales of a part.
    unsafe fn scales<const PART: usize>(shared: &Self::Shared) -> Scales;

    /// Half of the weights of a part, of which each stands in one byte, or in the same place of several: `load` gives
    /// those that the weights have at some byte of the block and after it.
    unsafe fn half<const PART: usize, const HALF: usize>(load: impl Fn(usize) -> uint8x16_t) -> int8x16_t;

    /// The weights of a part of one row.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn weights<const PART: usize>(block: *const u8) -> Weights {
        // SAFETY: what a format asks for lies in the block, as promised by the caller.
        let load = |at: usize| unsafe { vld1q_u8(block.add(at)) };
        // SAFETY: as promised by the caller.
        unsafe { [Self::half::<PART, 0>(load), Self::half::<PART, 1>(load)] }
    }
}

/// 32 int8, one f16 scale.
pub struct Q8_0;

impl Packed for Q8_0 {
    const FORMAT: Format = Format::Q8_0;
    const BYTES: usize = 34;
    const PARTS: usize = 1;
    const NARROW: bool = false;
    type Shared = Scales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Scales {
        // SAFETY: the scale stands at 0.
        scale_alone(unsafe { blocks.halves(0) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
        *shared
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(load: impl Fn(usize) -> uint8x16_t) -> int8x16_t {
        vreinterpretq_s8_u8(load(2 + 16 * HALF))
    }
}

/// 32 int4 around 8, one f16 scale.
pub struct Q4_0;

impl Packed for Q4_0 {
    const FORMAT: Format = Format::Q4_0;
    const BYTES: usize = 18;
    const PARTS: usize = 1;
    const OFFSET: i8 = 8;
    type Shared = Scales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Scales {
        // SAFETY: the scale stands at 0.
        scale_alone(unsafe { blocks.halves(0) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
        *shared
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(load: impl Fn(usize) -> uint8x16_t) -> int8x16_t {
        nibbles::<HALF>(load(2))
    }
}

/// 32 int4, one f16 scale and one f16 minimum.
pub struct Q4_1;

impl Packed for Q4_1 {
    const FORMAT: Format = Format::Q4_1;
    const BYTES: usize = 20;
    const PARTS: usize = 1;
    const MINIMUM: bool = true;
    type Shared = Scales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Scales {
        // SAFETY: the scale stands at 0, the minimum at 2.
        let [d, minimum] = unsafe { blocks.two_halves(0) };
        Scales { minimum, ..scale_alone(d) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
        *shared
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(load: impl Fn(usize) -> uint8x16_t) -> int8x16_t {
        nibbles::<HALF>(load(4))
    }
}

/// 256 int4 in 8 sub-blocks with 6-bit scales and minima.
pub struct Q4_K;

/// The scales and minima of a block of `Q4_K`: byte i of a lane belongs to part i, or to part 4 + i.
#[derive(Clone, Copy)]
pub struct Q4KShared {
    d: float32x4_t,
    dmin: float32x4_t,
    scales: [uint32x4_t; 2],
    minima: [uint32x4_t; 2],
}

impl Packed for Q4_K {
    const FORMAT: Format = Format::Q4_K;
    const BYTES: usize = 144;
    const PARTS: usize = 8;
    const MINIMUM: bool = true;
    const SCALES: IntegerScales = IntegerScales::One;
    type Shared = Q4KShared;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Q4KShared {
        // SAFETY: d at 0, dmin at 2, packed scales in bytes 4..16.
        let ([d, dmin], low, high, rest) =
            unsafe { (blocks.two_halves(0), blocks.words(4), blocks.words(8), blocks.words(12)) };
        let six = vdupq_n_u32(0x3f3f_3f3f);
        let top = vdupq_n_u32(0x3030_3030);
        let four = vdupq_n_u32(0x0f0f_0f0f);
        let join = |rest: uint32x4_t, tops: uint32x4_t| {
            vorrq_u32(vandq_u32(rest, four), vandq_u32(vshrq_n_u32::<2>(tops), top))
        };
        Q4KShared {
            d,
            dmin,
            scales: [vandq_u32(low, six), join(rest, low)],
            minima: [vandq_u32(high, six), join(vshrq_n_u32::<4>(rest), high)],
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Q4KShared) -> Scales {
        let scale = vreinterpretq_s32_u32(byte::<PART>(shared.scales[PART / 4]));
        let minimum = vcvtq_f32_u32(byte::<PART>(shared.minima[PART / 4]));
        Scales { d: shared.d, halves: [scale; 2], minimum: vnegq_f32(vmulq_f32(shared.dmin, minimum)) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(load: impl Fn(usize) -> uint8x16_t) -> int8x16_t {
        // Two parts share 32 bytes.
        let bytes = load(16 + PART / 2 * 32 + 16 * HALF);
        if PART.is_multiple_of(2) { low(bytes) } else { high(bytes) }
    }
}

/// 256 int6 around 32 in 16 sub-blocks with 8-bit scales.
pub struct Q6_K;

/// The scales of a block of `Q6_K`: byte i % 4 of the lanes of vector i / 4 belongs to half i.
#[derive(Clone, Copy)]
pub struct Q6KShared {
    d: float32x4_t,
    scales: [uint32x4_t; 4],
}

impl Packed for Q6_K {
    const FORMAT: Format = Format::Q6_K;
    const BYTES: usize = 210;
    const PARTS: usize = 8;
    const SCALES: IntegerScales = IntegerScales::Two;
    type Shared = Q6KShared;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Q6KShared {
        // SAFETY: d at 208, scales in bytes 192..208.
        unsafe {
            let scales = [192, 196, 200, 204].map(|at| blocks.words(S::place(Format::Q6_K, at)));
            Q6KShared { d: blocks.halves(S::place(Format::Q6_K, 208)), scales }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Q6KShared) -> Scales {
        let scales = vreinterpretq_s32_u32(shared.scales[PART / 2]);
        let halves = if PART.is_multiple_of(2) {
            [vshlq_n_s32::<24>(scales), vshlq_n_s32::<16>(scales)]
        } else {
            [vshlq_n_s32::<8>(scales), scales]
        };
        Scales { halves: halves.map(|scale| vshrq_n_s32::<24>(scale)), ..scale_alone(shared.d) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(load: impl Fn(usize) -> uint8x16_t) -> int8x16_t {
        let (half, quarter) = (PART / 4, PART % 4);
        // Two quarters share 32 of the bytes 0..128, four quarters 32 of the bytes 128..192.
        let lows = load(half * 64 + quarter % 2 * 32 + 16 * HALF);
        let tops = load(128 + half * 32 + 16 * HALF);
        let low = if quarter < 2 { low(lows) } else { high(lows) };
        let top = match quarter {
            0 => vshlq_n_u8::<4>(tops),
            1 => vshlq_n_u8::<2>(tops),
            2 => tops,
            _ => vshrq_n_u8::<2>(tops),
        };
        let top = vreinterpretq_s8_u8(vandq_u8(top, vdupq_n_u8(0x30)));
        vsubq_s8(vorrq_s8(low, top), vdupq_n_s8(32))
    }
}

/// A scale without integer scales and minimum.
#[inline]
#[target_feature(enable = "neon")]
fn scale_alone(d: float32x4_t) -> Scales {
    Scales { d, halves: [vdupq_n_s32(1); 2], minimum: vdupq_n_f32(0.0) }
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

/// Byte `PART % 4` of each lane.
#[inline]
#[target_feature(enable = "neon")]
fn byte<const PART: usize>(lanes: uint32x4_t) -> uint32x4_t {
    let mask = vdupq_n_u32(255);
    match PART % 4 {
        0 => vandq_u32(lanes, mask),
        1 => vandq_u32(vshrq_n_u32::<8>(lanes), mask),
        2 => vandq_u32(vshrq_n_u32::<16>(lanes), mask),
        _ => vshrq_n_u32::<24>(lanes),
    }
}
