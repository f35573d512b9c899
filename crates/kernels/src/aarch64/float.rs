//! Vectors of f32: loads, the 16 virtual lanes, exp; and matrices that meet activations in f32.

use super::elementwise::dequantize;
use crate::Matrix;
use crate::math::{self, fma};
use crate::reference::lanes::LANES;
use crate::scratch::{Line, carve};
use crate::split::Tile;
use core::arch::aarch64::*;
use core::ops::Range;

/// Four values.
#[inline]
#[target_feature(enable = "neon")]
pub fn load(from: &[f32; 4]) -> float32x4_t {
    // SAFETY: four values.
    unsafe { vld1q_f32(from.as_ptr()) }
}

/// Stores four values.
#[inline]
#[target_feature(enable = "neon")]
pub fn store(to: &mut [f32; 4], values: float32x4_t) {
    // SAFETY: four values.
    unsafe { vst1q_f32(to.as_mut_ptr(), values) };
}

/// What can be read as f32, sixteen at a time and one at a time: f32 itself and half precision.
pub trait Value: Copy {
    /// Four values as f32.
    ///
    /// # Safety
    /// `from` must point at four values; NEON.
    unsafe fn load(from: *const Self) -> float32x4_t;

    /// One value as f32.
    fn value(self) -> f32;
}

impl Value for f32 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const Self) -> float32x4_t {
        // SAFETY: as promised by the caller.
        unsafe { vld1q_f32(from) }
    }

    fn value(self) -> f32 {
        self
    }
}

impl Value for u16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const Self) -> float32x4_t {
        // SAFETY: as promised by the caller.
        vcvt_f32_f16(vreinterpret_f16_u16(unsafe { vld1_u16(from) }))
    }

    fn value(self) -> f32 {
        math::f16_to_f32(self)
    }
}

/// The 16 virtual lanes.
pub type Lanes = [float32x4_t; 4];

/// All lanes zero.
#[inline]
#[target_feature(enable = "neon")]
pub fn zero_lanes() -> Lanes {
    [vdupq_n_f32(0.0); 4]
}

/// The sum of the lanes, folded 8, 4, 2, 1.
#[inline]
#[target_feature(enable = "neon")]
pub fn fold([a, b, c, d]: Lanes) -> f32 {
    let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
    let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
}

/// `Σ a·b` of several `a`, in 16 lanes each; `b` is read once.
///
/// # Panics
/// If lengths differ.
#[inline]
#[target_feature(enable = "neon")]
pub fn dots<T: Value, const N: usize>(a: [&[f32]; N], b: &[T]) -> [f32; N] {
    assert!(a.iter().all(|a| a.len() == b.len()), "vectors of one length");
    let whole = b.len() / LANES * LANES;
    let mut lanes = [zero_lanes(); N];
    for at in (0..whole).step_by(LANES) {
        for quarter in 0..4 {
            // SAFETY: sixteen values lie at `at` in every slice.
            unsafe {
                let b = T::load(b.as_ptr().add(at + quarter * 4));
                for (lanes, a) in lanes.iter_mut().zip(a) {
                    let a = vld1q_f32(a.as_ptr().add(at + quarter * 4));
                    lanes[quarter] = vfmaq_f32(lanes[quarter], a, b);
                }
            }
        }
    }
    let mut sums = [0.0; N];
    for ((sum, mut lanes), a) in sums.iter_mut().zip(lanes).zip(a) {
        if whole < b.len() {
            let mut all = [0.0; LANES];
            for (to, lanes) in all.as_chunks_mut::<4>().0.iter_mut().zip(lanes) {
                store(to, lanes);
            }
            for (lane, (a, b)) in all.iter_mut().zip(a[whole..].iter().zip(&b[whole..])) {
                *lane = fma(*a, b.value(), *lane);
            }
            for (from, lanes) in all.as_chunks::<4>().0.iter().zip(&mut lanes) {
                *lanes = load(from);
            }
        }
        *sum = fold(lanes);
    }
    sums
}

/// [`math::exp`] of four values.
#[inline]
#[target_feature(enable = "neon")]
pub fn exp(x: float32x4_t) -> float32x4_t {
    let round = vdupq_n_f32(math::ROUND);
    let n = vsubq_f32(vfmaq_n_f32(round, x, core::f32::consts::LOG2_E), round);
    let r = vfmaq_n_f32(vfmaq_n_f32(x, n, -math::LN2_HIGH), n, -math::LN2_LOW);
    let mut p = vdupq_n_f32(math::EXP_POLYNOMIAL[0]);
    for c in &math::EXP_POLYNOMIAL[1..] {
        p = vfmaq_f32(vdupq_n_f32(*c), p, r);
    }
    let p = vfmaq_f32(r, vfmaq_f32(vdupq_n_f32(0.5), p, r), vmulq_f32(r, r));
    let p = vreinterpretq_s32_f32(vaddq_f32(p, vdupq_n_f32(1.0)));
    let p = vreinterpretq_f32_s32(vaddq_s32(p, vshlq_n_s32::<23>(vcvtq_s32_f32(n))));
    let p = vbslq_f32(vcgtq_f32(x, vdupq_n_f32(math::EXP_OVERFLOW)), vdupq_n_f32(f32::INFINITY), p);
    vbslq_f32(vcltq_f32(x, vdupq_n_f32(math::EXP_UNDERFLOW)), vdupq_n_f32(0.0), p)
}

/// The rows that are dequantized and multiplied together: a load of activations serves them all.
const ROWS: usize = 4;

/// Rows of any matrix, dequantized, times f32 activations.
#[target_feature(enable = "neon")]
pub fn float_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &[f32],
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let cols = matrix.cols();
    let (weights, _) = carve::<f32>(scratch, ROWS * cols);
    for first in (0..rows.len()).step_by(ROWS) {
        let count = (rows.len() - first).min(ROWS);
        for (r, weights) in weights.chunks_exact_mut(cols).enumerate().take(count) {
            matrix.read_row(rows.start + first + r, |columns, bytes| {
                dequantize(matrix.format(), bytes, &mut weights[columns]);
            });
        }
        let row = |r: usize| &weights[r * cols..][..cols];
        for (token, x) in x.chunks_exact(cols).enumerate() {
            let out = &mut out.token(token)[first..][..count];
            if count == ROWS {
                out.copy_from_slice(&dots([row(0), row(1), row(2), row(3)], x));
            } else {
                for (r, out) in out.iter_mut().enumerate() {
                    [*out] = dots([row(r)], x);
                }
            }
        }
    }
}
