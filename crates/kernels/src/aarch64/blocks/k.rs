//! Formats of 256 weights, whose 8 or 16 sub-blocks have integer scales, or no scales of their own.

use super::{Bytes, IntegerScales, Packed, Scales, Split, byte, clear, down, high, iq4, low, nibbles};
use super::{scale_alone, two_bits};
use crate::Format;
use crate::aarch64::source::Source;
use core::arch::aarch64::*;

/// 256 int2 in 16 sub-blocks with 4-bit scales and minima.
pub struct Q2_K;

/// The scales of a block of `Q2_K`: byte i % 4 of the lanes of vector i / 4 holds the scale of half i, under its
/// minimum.
#[derive(Clone, Copy)]
pub struct Q2KShared {
    d: float32x4_t,
    /// What minima are multiplied by: less than nothing.
    dmin: float32x4_t,
    scales: [uint32x4_t; 4],
}

impl Packed for Q2_K {
    const FORMAT: Format = Format::Q2_K;
    const MINIMUM: bool = true;
    const SCALES: IntegerScales = IntegerScales::Two;
    const SPLIT: Split = Split::Minimum;
    type Alike = Self;
    type Shared = Q2KShared;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Q2KShared {
        // SAFETY: scales in bytes 0..16, d at 80, dmin at 82.
        unsafe {
            let [d, dmin] = blocks.two_halves(80);
            Q2KShared { d, dmin: vnegq_f32(dmin), scales: [0, 4, 8, 12].map(|at| blocks.words(at)) }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Q2KShared) -> Scales {
        let four = shared.scales[PART / 2];
        let both = if PART.is_multiple_of(2) {
            [byte::<0>(four), byte::<1>(four)]
        } else {
            [byte::<2>(four), byte::<3>(four)]
        };
        let scale = |both: uint32x4_t| vreinterpretq_s32_u32(vandq_u32(both, vdupq_n_u32(15)));
        let minimum = |both: uint32x4_t| vmulq_f32(shared.dmin, vcvtq_f32_u32(vshrq_n_u32::<4>(both)));
        Scales { d: shared.d, halves: both.map(scale), minimum: minimum(both[0]), second: minimum(both[1]) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: weights in bytes 16..80.
        unsafe { quarter::<PART, HALF>(bytes, 16) }
    }
}

/// Weights of 2 bits: 128 of them share 32 of the bytes from `at` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn quarter<const PART: usize, const HALF: usize>(bytes: impl Bytes, at: usize) -> int8x16_t {
    // SAFETY: as promised by the caller.
    let bytes = unsafe { bytes.at(at + PART / 4 * 32 + 16 * HALF) };
    match PART % 4 {
        0 => two_bits::<0>(bytes),
        1 => two_bits::<1>(bytes),
        2 => two_bits::<2>(bytes),
        _ => two_bits::<3>(bytes),
    }
}

/// 256 int3 around 4 in 16 sub-blocks with 6-bit scales around 32.
pub struct Q3_K;

impl Packed for Q3_K {
    const FORMAT: Format = Format::Q3_K;
    const BITS: usize = 6;
    const SCALES: IntegerScales = IntegerScales::Two;
    type Alike = Q6_K;
    type Shared = SixteenScales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> SixteenScales {
        // SAFETY: scales in bytes 96..108, d at 108.
        let ([first, last, tops], d) =
            unsafe { ([96, 100, 104].map(|at| blocks.words(at)), blocks.halves(108)) };
        let join = |low: uint32x4_t, top: uint32x4_t| {
            let low = vandq_u32(low, vdupq_n_u32(0x0f0f_0f0f));
            let top = vandq_u32(top, vdupq_n_u32(0x3030_3030));
            let around = vsubq_u8(vreinterpretq_u8_u32(vorrq_u32(low, top)), vdupq_n_u8(32));
            vreinterpretq_u32_u8(around)
        };
        let scales = [
            join(first, vshlq_n_u32::<4>(tops)),
            join(last, vshlq_n_u32::<2>(tops)),
            join(vshrq_n_u32::<4>(first), tops),
            join(vshrq_n_u32::<4>(last), vshrq_n_u32::<2>(tops)),
        ];
        SixteenScales { d, scales }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &SixteenScales) -> Scales {
        shared.of::<PART>()
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: third bits in bytes 0..32, the others in bytes 32..96.
        let (tops, low) = unsafe { (bytes.at(16 * HALF), bytes.at(32 + PART / 4 * 32 + 16 * HALF)) };
        let low = match PART % 4 {
            0 => low,
            1 => down::<2>(low),
            2 => down::<4>(low),
            _ => down::<6>(low),
        };
        // Where the third bit is clear, the weight is 4 less than its other bits: in two's complement, all above these
        // are set.
        vreinterpretq_s8_u8(vsliq_n_u8::<2>(low, clear::<PART>(tops)))
    }
}

/// 256 int4 in 8 sub-blocks with 6-bit scales and minima.
pub struct Q4_K;

/// The scales and minima of a block of `Q4_K` and `Q5_K`: byte i of a lane belongs to part i, or to part 4 + i.
#[derive(Clone, Copy)]
pub struct SixBits {
    d: float32x4_t,
    /// What minima are multiplied by: less than nothing.
    dmin: float32x4_t,
    scales: [uint32x4_t; 2],
    minima: [uint32x4_t; 2],
}

impl SixBits {
    /// Unpacks them.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn new<S: Source>(blocks: S) -> Self {
        // SAFETY: d at 0, dmin at 2, packed scales in bytes 4..16.
        let ([d, dmin], low, high, rest) =
            unsafe { (blocks.two_halves(0), blocks.words(4), blocks.words(8), blocks.words(12)) };
        let six = vdupq_n_u32(0x3f3f_3f3f);
        let top = vdupq_n_u32(0x3030_3030);
        let four = vdupq_n_u32(0x0f0f_0f0f);
        let join = |rest: uint32x4_t, tops: uint32x4_t| {
            vorrq_u32(vandq_u32(rest, four), vandq_u32(vshrq_n_u32::<2>(tops), top))
        };
        Self {
            d,
            dmin: vnegq_f32(dmin),
            scales: [vandq_u32(low, six), join(rest, low)],
            minima: [vandq_u32(high, six), join(vshrq_n_u32::<4>(rest), high)],
        }
    }

    /// Those of a part.
    #[inline]
    #[target_feature(enable = "neon")]
    fn of<const PART: usize>(&self) -> Scales {
        let scale = vreinterpretq_s32_u32(byte::<PART>(self.scales[PART / 4]));
        let minimum = vcvtq_f32_u32(byte::<PART>(self.minima[PART / 4]));
        Scales { halves: [scale; 2], minimum: vmulq_f32(self.dmin, minimum), ..scale_alone(self.d) }
    }
}

impl Packed for Q4_K {
    const FORMAT: Format = Format::Q4_K;
    const MINIMUM: bool = true;
    const SCALES: IntegerScales = IntegerScales::One;
    type Alike = Self;
    type Shared = SixBits;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> SixBits {
        // SAFETY: as promised by the caller.
        unsafe { SixBits::new(blocks) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &SixBits) -> Scales {
        shared.of::<PART>()
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: weights in bytes 16..144; two parts share 32 of them.
        let bytes = unsafe { bytes.at(16 + PART / 2 * 32 + 16 * HALF) };
        if PART.is_multiple_of(2) { low(bytes) } else { high(bytes) }
    }
}

/// 256 int5 in 8 sub-blocks with 6-bit scales and minima.
pub struct Q5_K;

impl Packed for Q5_K {
    const FORMAT: Format = Format::Q5_K;
    const BITS: usize = 6;
    const MINIMUM: bool = true;
    const SCALES: IntegerScales = IntegerScales::One;
    type Alike = Self;
    type Shared = SixBits;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> SixBits {
        // SAFETY: as promised by the caller.
        unsafe { SixBits::new(blocks) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &SixBits) -> Scales {
        shared.of::<PART>()
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: fifth bits in bytes 16..48, the others in bytes 48..176; two parts share 32 of these.
        let (tops, low) = unsafe { (bytes.at(16 + 16 * HALF), bytes.at(48 + PART / 2 * 32 + 16 * HALF)) };
        let low = if PART.is_multiple_of(2) { low } else { down::<4>(low) };
        let five = vsliq_n_u8::<4>(low, down::<PART>(tops));
        vreinterpretq_s8_u8(vandq_u8(five, vdupq_n_u8(31)))
    }
}

/// 256 int6 around 32 in 16 sub-blocks with 8-bit scales.
pub struct Q6_K;

/// The scales of a block with a signed byte for each half of a part: byte i % 4 of the lanes of vector i / 4 belongs to
/// half i.
#[derive(Clone, Copy)]
pub struct SixteenScales {
    /// The scale of all.
    pub d: float32x4_t,
    /// Those of the halves.
    pub scales: [uint32x4_t; 4],
}

impl SixteenScales {
    /// Those of a part.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn of<const PART: usize>(&self) -> Scales {
        let scales = vreinterpretq_s32_u32(self.scales[PART / 2]);
        let halves = if PART.is_multiple_of(2) {
            [vshlq_n_s32::<24>(scales), vshlq_n_s32::<16>(scales)]
        } else {
            [vshlq_n_s32::<8>(scales), scales]
        };
        Scales { halves: halves.map(|scale| vshrq_n_s32::<24>(scale)), ..scale_alone(self.d) }
    }
}

impl Packed for Q6_K {
    const FORMAT: Format = Format::Q6_K;
    const BITS: usize = 6;
    const SCALES: IntegerScales = IntegerScales::Two;
    type Alike = Self;
    type Shared = SixteenScales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> SixteenScales {
        // SAFETY: d at 208, scales in bytes 192..208.
        unsafe {
            let scales = [192, 196, 200, 204].map(|at| blocks.words(S::place(Format::Q6_K, at)));
            SixteenScales { d: blocks.halves(S::place(Format::Q6_K, 208)), scales }
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
        let (half, quarter) = (PART / 4, PART % 4);
        // SAFETY: two quarters share 32 of the bytes 0..128, four quarters 32 of the bytes 128..192.
        let (lows, tops) = unsafe {
            (bytes.at(half * 64 + quarter % 2 * 32 + 16 * HALF), bytes.at(128 + half * 32 + 16 * HALF))
        };
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

/// 256 of 16 uneven levels in 8 sub-blocks with 6-bit scales around 32.
pub struct IQ4_XS;

/// The scales of a block of `IQ4_XS`, a row in each lane.
#[derive(Clone, Copy)]
pub struct Iq4Shared {
    d: float32x4_t,
    /// The lower 4 bits of each scale.
    low: uint32x4_t,
    /// The upper 2 bits of each, over d.
    high: uint32x4_t,
}

impl Packed for IQ4_XS {
    const FORMAT: Format = Format::IQ4_XS;
    const BITS: usize = 8;
    const SCALES: IntegerScales = IntegerScales::One;
    type Alike = Self;
    type Shared = Iq4Shared;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Iq4Shared {
        // SAFETY: d at 0, upper bits of scales in bytes 2..4, the others in bytes 4..8.
        unsafe { Iq4Shared { d: blocks.two_halves(0)[0], high: blocks.words(0), low: blocks.words(4) } }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Iq4Shared) -> Scales {
        // Constants that the compiler puts into the instructions.
        let low = vshlq_u32(shared.low, vdupq_n_s32(-4 * PART as i32));
        let high = vshlq_u32(shared.high, vdupq_n_s32(-16 - 2 * PART as i32));
        let six = vandq_u32(vsliq_n_u32::<4>(low, high), vdupq_n_u32(63));
        let scale = vsubq_s32(vreinterpretq_s32_u32(six), vdupq_n_s32(32));
        Scales { halves: [scale; 2], ..scale_alone(shared.d) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: numbers in bytes 8..136, 16 for a part.
        iq4(nibbles::<HALF>(unsafe { bytes.at(8 + 16 * PART) }))
    }
}

/// 256 of -1, 0 and 1, four to a byte, one f16 scale.
pub struct TQ2_0;

impl Packed for TQ2_0 {
    const FORMAT: Format = Format::TQ2_0;
    const OFFSET: i8 = 1;
    type Alike = super::Q4_0;
    type Shared = Scales;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shared<S: Source>(blocks: S) -> Scales {
        // SAFETY: the scale stands at 64.
        scale_alone(unsafe { blocks.halves(64) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales<const PART: usize>(shared: &Scales) -> Scales {
        *shared
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half<const PART: usize, const HALF: usize>(bytes: impl Bytes) -> int8x16_t {
        // SAFETY: weights in bytes 0..64.
        unsafe { quarter::<PART, HALF>(bytes, 0) }
    }
}
