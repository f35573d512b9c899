//! The steps of mixers that carry a state, with the 16 virtual lanes in two vectors.

use super::elementwise::exp;
use super::lanes::fold;
use crate::recurrent::steps::{self, Lanes, kernels};
use crate::recurrent::{Convolution, Decay};
use core::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_div_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_mul_ps,
    _mm256_or_ps, _mm256_set1_ps, _mm256_storeu_ps, _mm256_xor_ps,
};

struct Two;

kernels!("avx2,fma,f16c", Two);

impl Lanes for Two {
    type V = [__m256; 2];

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat(x: f32) -> [__m256; 2] {
        [_mm256_set1_ps(x); 2]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const f32) -> [__m256; 2] {
        // SAFETY: the caller's promise: 16 values; the loads need no alignment.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store(to: *mut f32, x: [__m256; 2]) {
        // SAFETY: the caller's promise: 16 values; the stores need no alignment.
        unsafe {
            _mm256_storeu_ps(to, x[0]);
            _mm256_storeu_ps(to.add(8), x[1]);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn div(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fma(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn neg([a, b]: [__m256; 2]) -> [__m256; 2] {
        let sign = _mm256_set1_ps(-0.0);
        [_mm256_xor_ps(a, sign), _mm256_xor_ps(b, sign)]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn neg_abs([a, b]: [__m256; 2]) -> [__m256; 2] {
        let sign = _mm256_set1_ps(-0.0);
        [_mm256_or_ps(a, sign), _mm256_or_ps(b, sign)]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn positive([a, b]: [__m256; 2]) -> [__m256; 2] {
        // Of zeros of both signs the second is taken.
        let zero = _mm256_set1_ps(0.0);
        [_mm256_max_ps(a, zero), _mm256_max_ps(b, zero)]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn exp([a, b]: [__m256; 2]) -> [__m256; 2] {
        [exp(a), exp(b)]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fold(x: [__m256; 2]) -> f32 {
        fold(x)
    }
}
