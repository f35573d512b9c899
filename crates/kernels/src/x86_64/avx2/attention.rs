//! Attention with the 16 virtual lanes in two vectors.

use super::elementwise::exp;
use crate::attention::steps::{Vectors, steps};
use crate::attention::{Head, Partial, Queries, walk};
use crate::elementwise::NotFinite;
use crate::scratch::Line;
use core::arch::x86_64::{
    __m256, __m256i, _mm_loadl_epi64, _mm_loadu_si128, _mm_set1_epi16, _mm256_abs_epi8, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_mul_ps, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_sign_epi8, _mm256_srli_epi16, _mm256_srli_epi32, _mm256_storeu_ps, _mm256_sub_epi32,
    _mm256_sub_ps,
};
use core::ops::Range;

struct Avx2;

steps!("avx2,fma,f16c", Avx2);

/// For each query: chunks of positions, each computed alone, merged in ascending order.
///
/// # Safety
/// The cache holds every position of the queries.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn attend(
    head: &Head<'_>,
    queries: &Queries<'_>,
    chunks: Range<usize>,
    partial: &mut Partial<'_>,
    scratch: &mut [Line],
) -> Result<(), NotFinite> {
    // SAFETY: the caller's promise, and the features of the level.
    unsafe { walk::attend::<Avx2>(head, queries, chunks, partial, scratch) }
}

/// `out = fma(out, a, later * b)`.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn merge(out: &mut [f32], later: &[f32], weights: [f32; 2]) {
    // SAFETY: the features of the level.
    unsafe { <Avx2 as walk::Steps>::merge(out, later, weights) }
}

/// Four numbers of a query in all lanes.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four(q: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    _mm256_set1_epi32(unsafe { q.cast::<i32>().read_unaligned() })
}

impl Vectors for Avx2 {
    const LEN: usize = 8;
    type F = __m256;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat_half(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        _mm256_cvtph_ps(_mm_set1_epi16(unsafe { from.cast::<i16>().read_unaligned() }))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_halves(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_int8(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(from.cast()) }))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_low_int4(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let bytes = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(from.cast()) });
        let low = _mm256_and_si256(bytes, _mm256_set1_epi32(15));
        _mm256_cvtepi32_ps(_mm256_sub_epi32(low, _mm256_set1_epi32(8)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_high_int4(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let bytes = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(from.cast()) });
        _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32::<4>(bytes), _mm256_set1_epi32(8)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store(to: *mut f32, x: __m256) {
        // SAFETY: the caller's promise; the store needs no alignment.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn exp(x: __m256) -> __m256 {
        exp(x)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot8<const N: usize>(keys: *const u8, q: [*const i8; N], _: [i32; N]) -> [__m256; N] {
        let mut isums = [_mm256_setzero_si256(); N];
        for j in 0..8 {
            // SAFETY: the caller's promise; the load needs no alignment.
            let k = unsafe { _mm256_loadu_si256(keys.add(64 * j).cast()) };
            for (isum, q) in isums.iter_mut().zip(q) {
                // SAFETY: the caller's promise: 32 numbers of the query.
                let q = unsafe { four(q.add(4 * j)) };
                // Neither side is ever -128: two products are at most 2 * 127 * 127, which fits 16 bits.
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(k, q));
                *isum = _mm256_add_epi32(*isum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
        let mut out = [_mm256_setzero_ps(); N];
        for (out, isum) in out.iter_mut().zip(isums) {
            *out = _mm256_cvtepi32_ps(isum);
        }
        out
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot4<const N: usize>(keys: *const u8, q: [*const i8; N], sums: [i32; N]) -> [__m256; N] {
        let mask = _mm256_set1_epi8(15);
        let mut pairs = [_mm256_setzero_si256(); N];
        for j in 0..4 {
            // SAFETY: the caller's promise; the load needs no alignment.
            let both = unsafe { _mm256_loadu_si256(keys.add(64 * j).cast()) };
            let low = _mm256_and_si256(both, mask);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), mask);
            for (pairs, q) in pairs.iter_mut().zip(q) {
                // SAFETY: the caller's promise: 32 numbers of the query.
                let (first, second) = unsafe { (four(q.add(4 * j)), four(q.add(16 + 4 * j))) };
                // In all 16 products of at most 15 * 127: that fits 16 bits.
                *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(low, first));
                *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(high, second));
            }
        }
        let mut out = [_mm256_setzero_ps(); N];
        for ((out, pairs), sum) in out.iter_mut().zip(pairs).zip(sums) {
            let isum = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            *out = _mm256_cvtepi32_ps(_mm256_add_epi32(isum, _mm256_set1_epi32(-8 * sum)));
        }
        out
    }
}
