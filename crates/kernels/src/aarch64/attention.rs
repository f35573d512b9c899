//! Attention with four positions or elements in a vector.

use super::dot::sdot_lane;
use super::float::exp;
use crate::attention::steps::{Vectors, steps};
use crate::attention::{Head, Partial, Queries, walk};
use crate::elementwise::NotFinite;
use crate::scratch::Line;
use core::arch::aarch64::*;
use core::marker::PhantomData;
use core::ops::Range;

/// Vectors of level NEON, with bytes multiplied in a way of their own.
struct Simd<B>(PhantomData<B>);

/// How bytes are multiplied and added.
trait Bytes {
    /// Σ k·q over 32 int8 of four positions and a query: dword j of the keys is vector j.
    unsafe fn dot(keys: &[int8x16_t; 8], q: [int8x16_t; 2]) -> int32x4_t;
}

/// Products of 16 bits, added in pairs.
struct Widening;
/// The `sdot` instruction.
struct DotProduct;

type Neon = Simd<Widening>;
type Dotprod = Simd<DotProduct>;
steps!("neon", Neon);
steps!("neon,dotprod", Dotprod);

/// For each query: chunks of positions, each computed alone, merged in ascending order.
///
/// # Safety
/// The cache holds every position of the queries.
#[target_feature(enable = "neon")]
pub unsafe fn attend(
    head: &Head<'_>,
    queries: &Queries<'_>,
    chunks: Range<usize>,
    partial: &mut Partial<'_>,
    scratch: &mut [Line],
) -> Result<(), NotFinite> {
    // SAFETY: the caller's promise, and the features of the level.
    unsafe { walk::attend::<Neon>(head, queries, chunks, partial, scratch) }
}

/// As [`attend`], with `sdot`.
///
/// # Safety
/// As for [`attend`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn attend_dotprod(
    head: &Head<'_>,
    queries: &Queries<'_>,
    chunks: Range<usize>,
    partial: &mut Partial<'_>,
    scratch: &mut [Line],
) -> Result<(), NotFinite> {
    // SAFETY: the caller's promise, and the features of the level.
    unsafe { walk::attend::<Dotprod>(head, queries, chunks, partial, scratch) }
}

/// `out = fma(out, a, later * b)`.
#[target_feature(enable = "neon")]
pub fn merge(out: &mut [f32], later: &[f32], weights: [f32; 2]) {
    // SAFETY: the features of the level.
    unsafe { <Neon as walk::Steps>::merge(out, later, weights) }
}

impl Bytes for Widening {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot(keys: &[int8x16_t; 8], q: [int8x16_t; 2]) -> int32x4_t {
        // Two positions each, of which every sum takes half the products.
        let mut sums = [vdupq_n_s32(0); 2];
        let [a, b] = q.map(|q| vreinterpretq_s64_s8(q));
        let dwords =
            [vdup_laneq_s64::<0>(a), vdup_laneq_s64::<1>(a), vdup_laneq_s64::<0>(b), vdup_laneq_s64::<1>(b)];
        for (keys, q) in keys.as_chunks::<2>().0.iter().zip(dwords) {
            let q = vreinterpret_s32_s64(q);
            let first = vreinterpret_s8_s32(vdup_lane_s32::<0>(q));
            let second = vreinterpret_s8_s32(vdup_lane_s32::<1>(q));
            // Neither side is ever -128: two products are at most 2 * 127 * 127, which fits 16 bits.
            let low = vmull_s8(vget_low_s8(keys[0]), first);
            let low = vmlal_s8(low, vget_low_s8(keys[1]), second);
            let high = vmull_s8(vget_high_s8(keys[0]), first);
            let high = vmlal_s8(high, vget_high_s8(keys[1]), second);
            sums = [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)];
        }
        vpaddq_s32(sums[0], sums[1])
    }
}

impl Bytes for DotProduct {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot(keys: &[int8x16_t; 8], q: [int8x16_t; 2]) -> int32x4_t {
        let mut sum = vdupq_n_s32(0);
        for (keys, q) in keys.as_chunks::<4>().0.iter().zip(q) {
            // SAFETY: this level is only used where the CPU has the instruction.
            unsafe {
                sum = sdot_lane::<0>(sum, keys[0], q);
                sum = sdot_lane::<1>(sum, keys[1], q);
                sum = sdot_lane::<2>(sum, keys[2], q);
                sum = sdot_lane::<3>(sum, keys[3], q);
            }
        }
        sum
    }
}

/// Four bytes, each as an int32.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four(from: *const u8) -> int32x4_t {
    // SAFETY: the caller's promise.
    let bytes = vcreate_s8(u64::from(unsafe { from.cast::<u32>().read_unaligned() }));
    vmovl_s16(vget_low_s16(vmovl_s8(bytes)))
}

/// The dot products of some keys with each query.
///
/// # Safety
/// 32 numbers of each query can be read, and the CPU has what `B` asks for.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn dots<B: Bytes, const N: usize>(keys: &[int8x16_t; 8], q: [*const i8; N]) -> [float32x4_t; N] {
    let mut out = [vdupq_n_f32(0.0); N];
    for (out, q) in out.iter_mut().zip(q) {
        // SAFETY: the caller's promise.
        *out = vcvtq_f32_s32(unsafe { B::dot(keys, [vld1q_s8(q), vld1q_s8(q.add(16))]) });
    }
    out
}

impl<B: Bytes> Vectors for Simd<B> {
    const LEN: usize = 4;
    type F = float32x4_t;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat(x: f32) -> float32x4_t {
        vdupq_n_f32(x)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat_half(from: *const u8) -> float32x4_t {
        // SAFETY: the caller's promise.
        vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(unsafe { from.cast::<u16>().read_unaligned() })))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(from) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_halves(from: *const u8) -> float32x4_t {
        // SAFETY: the caller's promise.
        vcvt_f32_f16(vreinterpret_f16_u8(unsafe { vld1_u8(from) }))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_int8(from: *const u8) -> float32x4_t {
        // SAFETY: the caller's promise.
        vcvtq_f32_s32(unsafe { four(from) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_low_int4(from: *const u8) -> float32x4_t {
        // SAFETY: the caller's promise.
        let low = vandq_s32(unsafe { four(from) }, vdupq_n_s32(15));
        vcvtq_f32_s32(vsubq_s32(low, vdupq_n_s32(8)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_high_int4(from: *const u8) -> float32x4_t {
        // SAFETY: the caller's promise.
        let high = vandq_s32(vshrq_n_s32::<4>(unsafe { four(from) }), vdupq_n_s32(15));
        vcvtq_f32_s32(vsubq_s32(high, vdupq_n_s32(8)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(to: *mut f32, x: float32x4_t) {
        // SAFETY: the caller's promise.
        unsafe { vst1q_f32(to, x) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    const LANE_FACTORS: bool = true;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fma_lanes<const L: usize>(a: &[float32x4_t; L], b: *const f32, sums: &mut [float32x4_t; L]) {
        if L == 4 {
            // SAFETY: four numbers.
            let b = unsafe { vld1q_f32(b) };
            sums[0] = vfmaq_laneq_f32::<0>(sums[0], a[0], b);
            sums[1] = vfmaq_laneq_f32::<1>(sums[1], a[1], b);
            sums[2] = vfmaq_laneq_f32::<2>(sums[2], a[2], b);
            sums[3] = vfmaq_laneq_f32::<3>(sums[3], a[3], b);
            return;
        }
        for (l, (a, sum)) in a.iter().zip(sums).enumerate() {
            // SAFETY: `L` numbers.
            *sum = vfmaq_n_f32(*sum, *a, unsafe { *b.add(l) });
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmaxq_f32(a, b)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn exp(x: float32x4_t) -> float32x4_t {
        exp(x)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot8<const N: usize>(keys: *const u8, q: [*const i8; N], _: [i32; N]) -> [float32x4_t; N] {
        let mut w = [vdupq_n_s8(0); 8];
        for (j, w) in w.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *w = unsafe { vld1q_s8(keys.add(64 * j).cast()) };
        }
        // SAFETY: the caller's promise.
        unsafe { dots::<B, N>(&w, q) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot4<const N: usize>(keys: *const u8, q: [*const i8; N], _: [i32; N]) -> [float32x4_t; N] {
        let (mask, eight) = (vdupq_n_u8(15), vdupq_n_s8(8));
        let mut w = [eight; 8];
        for j in 0..4 {
            // SAFETY: the caller's promise.
            let both = unsafe { vld1q_u8(keys.add(64 * j)) };
            w[j] = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(both, mask)), eight);
            w[j + 4] = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8::<4>(both)), eight);
        }
        // SAFETY: the caller's promise.
        unsafe { dots::<B, N>(&w, q) }
    }
}
