//! The steps of mixers that carry a state, with the 16 virtual lanes in four vectors.

use super::float::{self, exp, fold};
use crate::recurrent::steps::{self, Lanes, kernels};
use crate::recurrent::{Convolution, Decay};
use core::arch::aarch64::*;

struct Four;

kernels!("neon", Four);

impl Lanes for Four {
    type V = float::Lanes;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat(x: f32) -> float::Lanes {
        [vdupq_n_f32(x); 4]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const f32) -> float::Lanes {
        // SAFETY: the caller's promise: 16 values.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(to: *mut f32, x: float::Lanes) {
        for (i, x) in x.into_iter().enumerate() {
            // SAFETY: the caller's promise: 16 values.
            unsafe { vst1q_f32(to.add(4 * i), x) };
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add(a: float::Lanes, b: float::Lanes) -> float::Lanes {
        [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1]), vaddq_f32(a[2], b[2]), vaddq_f32(a[3], b[3])]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mul(a: float::Lanes, b: float::Lanes) -> float::Lanes {
        [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1]), vmulq_f32(a[2], b[2]), vmulq_f32(a[3], b[3])]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn div(a: float::Lanes, b: float::Lanes) -> float::Lanes {
        [vdivq_f32(a[0], b[0]), vdivq_f32(a[1], b[1]), vdivq_f32(a[2], b[2]), vdivq_f32(a[3], b[3])]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fma(a: float::Lanes, b: float::Lanes, c: float::Lanes) -> float::Lanes {
        [
            vfmaq_f32(c[0], a[0], b[0]),
            vfmaq_f32(c[1], a[1], b[1]),
            vfmaq_f32(c[2], a[2], b[2]),
            vfmaq_f32(c[3], a[3], b[3]),
        ]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn neg([a, b, c, d]: float::Lanes) -> float::Lanes {
        [vnegq_f32(a), vnegq_f32(b), vnegq_f32(c), vnegq_f32(d)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn neg_abs([a, b, c, d]: float::Lanes) -> float::Lanes {
        [vnegq_f32(vabsq_f32(a)), vnegq_f32(vabsq_f32(b)), vnegq_f32(vabsq_f32(c)), vnegq_f32(vabsq_f32(d))]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn positive([a, b, c, d]: float::Lanes) -> float::Lanes {
        let zero = vdupq_n_f32(0.0);
        [vmaxq_f32(a, zero), vmaxq_f32(b, zero), vmaxq_f32(c, zero), vmaxq_f32(d, zero)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn exp([a, b, c, d]: float::Lanes) -> float::Lanes {
        [exp(a), exp(b), exp(c), exp(d)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fold(x: float::Lanes) -> f32 {
        fold(x)
    }
}
