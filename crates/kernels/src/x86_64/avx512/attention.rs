//! Attention with the 16 virtual lanes in one vector.

use super::elementwise::exp;
use crate::attention::steps::{Vectors, steps};
use crate::attention::{Head, Partial, Queries, walk};
use crate::elementwise::NotFinite;
use crate::scratch::Line;
use core::arch::x86_64::{
    __m512, __m512i, _mm_loadu_si128, _mm256_loadu_si256, _mm256_set1_epi16, _mm512_add_ps, _mm512_and_si512,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_srli_epi16, _mm512_srli_epi32, _mm512_storeu_ps,
    _mm512_sub_epi32, _mm512_sub_ps, _mm512_xor_si512,
};
use core::ops::Range;

struct Avx512;

steps!("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", Avx512);

/// For each query: chunks of positions, each computed alone, merged in ascending order.
///
/// # Safety
/// The cache holds every position of the queries.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn attend(
    head: &Head<'_>,
    queries: &Queries<'_>,
    chunks: Range<usize>,
    partial: &mut Partial<'_>,
    scratch: &mut [Line],
) -> Result<(), NotFinite> {
    // SAFETY: the caller's promise, and the features of the level.
    unsafe { walk::attend::<Avx512>(head, queries, chunks, partial, scratch) }
}

/// `out = fma(out, a, later * b)`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub fn merge(out: &mut [f32], later: &[f32], weights: [f32; 2]) {
    // SAFETY: the features of the level.
    unsafe { <Avx512 as walk::Steps>::merge(out, later, weights) }
}

/// Adds Σ k·q over `J` dwords of 16 positions to `starts`; the keys are unsigned.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot<const N: usize, const J: usize>(
    keys: [__m512i; J],
    q: [*const i8; N],
    starts: [i32; N],
) -> [__m512; N] {
    let mut out = [_mm512_set1_ps(0.0); N];
    for n in 0..N {
        let mut isums = _mm512_set1_epi32(starts[n]);
        for (j, keys) in keys.iter().enumerate() {
            // SAFETY: the caller's promise: 32 numbers of the query.
            let four = unsafe { q[n].add(4 * j).cast::<i32>().read_unaligned() };
            isums = _mm512_dpbusd_epi32(isums, *keys, _mm512_set1_epi32(four));
        }
        out[n] = _mm512_cvtepi32_ps(isums);
    }
    out
}

impl Vectors for Avx512 {
    const LEN: usize = 16;
    type F = __m512;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn splat_half(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        _mm512_cvtph_ps(_mm256_set1_epi16(unsafe { from.cast::<i16>().read_unaligned() }))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn load_halves(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn load_int8(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(from.cast()) }))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn load_low_int4(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(from.cast()) });
        let low = _mm512_and_si512(bytes, _mm512_set1_epi32(15));
        _mm512_cvtepi32_ps(_mm512_sub_epi32(low, _mm512_set1_epi32(8)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn load_high_int4(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(from.cast()) });
        _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_srli_epi32::<4>(bytes), _mm512_set1_epi32(8)))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(to: *mut f32, x: __m512) {
        // SAFETY: the caller's promise; the store needs no alignment.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn exp(x: __m512) -> __m512 {
        exp(x)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dot8<const N: usize>(keys: *const u8, q: [*const i8; N], sums: [i32; N]) -> [__m512; N] {
        // Unsigned the keys are 128 too high.
        let mut w = [_mm512_set1_epi8(-128); 8];
        for (j, w) in w.iter_mut().enumerate() {
            // SAFETY: the caller's promise; the load needs no alignment.
            *w = _mm512_xor_si512(*w, unsafe { _mm512_loadu_si512(keys.add(64 * j).cast()) });
        }
        // SAFETY: the caller's promise.
        unsafe { dot(w, q, sums.map(|sum| -128 * sum)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dot4<const N: usize>(keys: *const u8, q: [*const i8; N], sums: [i32; N]) -> [__m512; N] {
        let mask = _mm512_set1_epi8(15);
        let mut w = [mask; 8];
        for j in 0..4 {
            // SAFETY: the caller's promise; the load needs no alignment.
            let both = unsafe { _mm512_loadu_si512(keys.add(64 * j).cast()) };
            w[j] = _mm512_and_si512(both, mask);
            w[j + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask);
        }
        // SAFETY: the caller's promise.
        unsafe { dot(w, q, sums.map(|sum| -8 * sum)) }
    }
}
