//! The 16 virtual lanes of every float reduction as two vectors of 8, and the small floats they are loaded from.

use crate::math;
use core::arch::x86_64::{
    __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_fmadd_ss, _mm_loadu_si128, _mm_movehdup_ps,
    _mm_movehl_ps, _mm_set_ss, _mm256_add_ps, _mm256_castps256_ps128, _mm256_castsi256_ps,
    _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
};

/// Eight values to a vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn load(values: &[f32; 8]) -> __m256 {
    // SAFETY: the array is 8 floats; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// A vector to eight values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn store(values: &mut [f32; 8], vector: __m256) {
    // SAFETY: the array is 8 floats; the store needs no alignment.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), vector) }
}

/// `a * b + c`, rounded once, in one instruction.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)))
}

/// A float as it is stored, little-endian.
pub trait Stored {
    /// Its bytes.
    const BYTES: usize;

    /// Eight of them.
    ///
    /// # Safety
    /// The CPU has AVX2, FMA and F16C; `from` is valid for reading `8 * BYTES`.
    unsafe fn load(from: *const u8) -> __m256;

    /// One of them.
    fn get(bytes: &[u8]) -> f32;
}

/// IEEE single precision.
#[derive(Debug)]
pub struct F32;

impl Stored for F32 {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline]
    fn get(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// IEEE half precision.
#[derive(Debug)]
pub struct F16;

impl Stored for F16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline]
    fn get(bytes: &[u8]) -> f32 {
        math::f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
    }
}

/// The upper half of an f32.
#[derive(Debug)]
pub struct Bf16;

impl Stored for Bf16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let bits = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
    }

    #[inline]
    fn get(bytes: &[u8]) -> f32 {
        math::bf16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
    }
}

/// The sum of 16 lanes, folded 8, 4, 2, 1.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn fold(lanes: [__m256; 2]) -> f32 {
    let eight = _mm256_add_ps(lanes[0], lanes[1]);
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// Σ row·x for each of `N` rows, which are as long as `x`.
///
/// Several rows at once keep enough sums in flight to hide the latency of an fma.
///
/// # Panics
/// If a row is shorter.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn dots<S: Stored, const N: usize>(rows: [&[u8]; N], x: &[f32]) -> [f32; N] {
    assert!(rows.iter().all(|row| row.len() >= x.len() * S::BYTES), "rows as long as x");
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    let (whole, rest) = x.as_chunks::<16>();
    for (i, x) in whole.iter().enumerate() {
        // SAFETY: 16 elements from 16 i on lie inside x and so inside each row.
        unsafe {
            let x = [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))];
            for (sums, row) in sums.iter_mut().zip(rows) {
                let w = row.as_ptr().add(i * 16 * S::BYTES);
                sums[0] = _mm256_fmadd_ps(S::load(w), x[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(S::load(w.add(8 * S::BYTES)), x[1], sums[1]);
            }
        }
    }
    let mut at = whole.len() * 16;
    let (eight, rest) = rest.as_chunks::<8>();
    for x in eight {
        for (sums, row) in sums.iter_mut().zip(rows) {
            // SAFETY: 8 elements from `at` on lie inside x and so inside each row.
            let w = unsafe { S::load(row.as_ptr().add(at * S::BYTES)) };
            sums[0] = _mm256_fmadd_ps(w, load(x), sums[0]);
        }
        at += 8;
    }
    if !rest.is_empty() {
        let (vector, first) = (at / 8 % 2, at);
        for (sums, row) in sums.iter_mut().zip(rows) {
            let mut lanes = [0.0; 8];
            store(&mut lanes, sums[vector]);
            for (i, (lane, x)) in lanes.iter_mut().zip(rest).enumerate() {
                *lane = fma(S::get(&row[(first + i) * S::BYTES..]), *x, *lane);
            }
            sums[vector] = load(&lanes);
        }
    }
    let mut out = [0.0; N];
    for (out, sums) in out.iter_mut().zip(sums) {
        *out = fold(sums);
    }
    out
}
