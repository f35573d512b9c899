//! What the bytes of a block mean, four rows at a time.
//!
//! The layouts are described in [`crate::reference::blocks`]. Each format only says how its 32 integer weights come into
//! two vectors, and its scales and minima, row by row, into the lanes of others.

use super::dot::Weights;
use core::arch::aarch64::*;

/// The same block of four rows.
pub type Blocks = [*const u8; 4];

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
    unsafe fn shared(blocks: Blocks) -> Self::Shared;

    /// The scales of a part.
    unsafe fn scales<const PART: usize>(shared: &Self::Shared) -> Scales;

    /// The weights of a part of one row.
    unsafe fn weights<const PART: usize>(block: *const u8) -> Weights;
}

/// 32 int8, one f16 scale.
pub struct Q8_0;

impl Packed for Q8_0 {
    const BYTES: usize = 34;
    const PARTS: usize = 1;
    const NARROW: bool = false;
    type Shared = Scales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared(blocks: Blocks) -> Scales {
        // SAFETY: the scale stands at 0.
        scale_alone(unsafe { f16s(blocks, 0) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
        *shared
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn weights<const PART: usize>(block: *const u8) -> Weights {
        // SAFETY: the weights are bytes 2..34.
        let [a, b] = unsafe { load32(block.add(2)) };
        [vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)]
    }
}

/// 32 int4 around 8, one f16 scale.
pub struct Q4_0;

impl Packed for Q4_0 {
    const BYTES: usize = 18;
    const PARTS: usize = 1;
    const OFFSET: i8 = 8;
    type Shared = Scales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared(blocks: Blocks) -> Scales {
        // SAFETY: the scale stands at 0.
        scale_alone(unsafe { f16s(blocks, 0) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
        *shared
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn weights<const PART: usize>(block: *const u8) -> Weights {
        // SAFETY: the weights are bytes 2..18.
        nibbles(unsafe { vld1q_u8(block.add(2)) })
    }
}

/// 32 int4, one f16 scale and one f16 minimum.
pub struct Q4_1;

impl Packed for Q4_1 {
    const BYTES: usize = 20;
    const PARTS: usize = 1;
    const MINIMUM: bool = true;
    type Shared = Scales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared(blocks: Blocks) -> Scales {
        // SAFETY: the scale stands at 0, the minimum at 2.
        unsafe { Scales { minimum: f16s(blocks, 2), ..scale_alone(f16s(blocks, 0)) } }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
        *shared
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn weights<const PART: usize>(block: *const u8) -> Weights {
        // SAFETY: the weights are bytes 4..20.
        nibbles(unsafe { vld1q_u8(block.add(4)) })
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
    const BYTES: usize = 144;
    const PARTS: usize = 8;
    const MINIMUM: bool = true;
    const SCALES: IntegerScales = IntegerScales::One;
    type Shared = Q4KShared;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared(blocks: Blocks) -> Q4KShared {
        // SAFETY: d at 0, dmin at 2, packed scales in bytes 4..16.
        let (d, dmin, low, high, rest) =
            unsafe { (f16s(blocks, 0), f16s(blocks, 2), u32s(blocks, 4), u32s(blocks, 8), u32s(blocks, 12)) };
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
    unsafe fn weights<const PART: usize>(block: *const u8) -> Weights {
        // SAFETY: two parts share 32 of the bytes 16..144.
        let [a, b] = unsafe { load32(block.add(16 + PART / 2 * 32)) };
        if PART.is_multiple_of(2) { [low(a), low(b)] } else { [high(a), high(b)] }
    }
}

/// 256 int6 around 32 in 16 sub-blocks with 8-bit scales.
pub struct Q6_K;

/// The scales of a block of `Q6_K`: four bytes, one of each row, for each half of a part.
#[derive(Clone, Copy)]
pub struct Q6KShared {
    d: float32x4_t,
    scales: [int8x16_t; 4],
}

impl Packed for Q6_K {
    const BYTES: usize = 210;
    const PARTS: usize = 8;
    const SCALES: IntegerScales = IntegerScales::Two;
    type Shared = Q6KShared;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared(blocks: Blocks) -> Q6KShared {
        // SAFETY: d at 208, scales in bytes 192..208.
        let (d, [a, b, c, e]) =
            unsafe { (f16s(blocks, 208), blocks.map(|block| vld1q_s8(block.add(192).cast()))) };
        let pair = |low: int8x16_t, high: int8x16_t| {
            let (low, high) = (vreinterpretq_s16_s8(low), vreinterpretq_s16_s8(high));
            [vreinterpretq_s8_s16(vzip1q_s16(low, high)), vreinterpretq_s8_s16(vzip2q_s16(low, high))]
        };
        let [s0, s1] = pair(vzip1q_s8(a, b), vzip1q_s8(c, e));
        let [s2, s3] = pair(vzip2q_s8(a, b), vzip2q_s8(c, e));
        Q6KShared { d, scales: [s0, s1, s2, s3] }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Q6KShared) -> Scales {
        let four = shared.scales[PART / 2];
        let two = vmovl_s8(if PART.is_multiple_of(2) { vget_low_s8(four) } else { vget_high_s8(four) });
        let halves = [vmovl_s16(vget_low_s16(two)), vmovl_high_s16(two)];
        Scales { halves, ..scale_alone(shared.d) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn weights<const PART: usize>(block: *const u8) -> Weights {
        let (half, quarter) = (PART / 4, PART % 4);
        // SAFETY: two quarters share 32 of the bytes 0..128, four quarters 32 of the bytes 128..192.
        let (lows, tops) =
            unsafe { (load32(block.add(half * 64 + quarter % 2 * 32)), load32(block.add(128 + half * 32))) };
        let join = |lows: uint8x16_t, tops: uint8x16_t| {
            let low = if quarter < 2 { low(lows) } else { high(lows) };
            let top = match quarter {
                0 => vshlq_n_u8::<4>(tops),
                1 => vshlq_n_u8::<2>(tops),
                2 => tops,
                _ => vshrq_n_u8::<2>(tops),
            };
            let top = vreinterpretq_s8_u8(vandq_u8(top, vdupq_n_u8(0x30)));
            vsubq_s8(vorrq_s8(low, top), vdupq_n_s8(32))
        };
        [join(lows[0], tops[0]), join(lows[1], tops[1])]
    }
}

/// A scale without integer scales and minimum.
#[inline]
#[target_feature(enable = "neon")]
fn scale_alone(d: float32x4_t) -> Scales {
    Scales { d, halves: [vdupq_n_s32(1); 2], minimum: vdupq_n_f32(0.0) }
}

/// 32 int4: the low halves of 16 bytes, then the high halves.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles(bytes: uint8x16_t) -> Weights {
    [low(bytes), high(bytes)]
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

/// 32 bytes.
///
/// # Safety
/// `from` must point at 32 bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load32(from: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: as promised by the caller.
    unsafe { [vld1q_u8(from), vld1q_u8(from.add(16))] }
}

/// The half-precision numbers at `at` of four blocks.
///
/// # Safety
/// Each block must have two bytes there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn f16s(blocks: Blocks, at: usize) -> float32x4_t {
    // SAFETY: as promised by the caller; blocks are aligned to nothing.
    let [a, b, c, d] = unsafe { blocks.map(|block| block.add(at).cast::<u16>().read_unaligned()) };
    let bits = vset_lane_u16::<1>(b, vdup_n_u16(a));
    let bits = vset_lane_u16::<3>(d, vset_lane_u16::<2>(c, bits));
    vcvt_f32_f16(vreinterpret_f16_u16(bits))
}

/// The words at `at` of four blocks.
///
/// # Safety
/// Each block must have four bytes there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn u32s(blocks: Blocks, at: usize) -> uint32x4_t {
    // SAFETY: as promised by the caller; blocks are aligned to nothing.
    let [a, b, c, d] = unsafe { blocks.map(|block| block.add(at).cast::<u32>().read_unaligned()) };
    let words = vsetq_lane_u32::<1>(b, vdupq_n_u32(a));
    vsetq_lane_u32::<3>(d, vsetq_lane_u32::<2>(c, words))
}
