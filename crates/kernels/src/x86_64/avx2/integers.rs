//! Products of unsigned weights by signed activations, summed in i16 as long as they fit: level AVX2.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::lanes8::{Dots, Eight, four};
use crate::x86_64::formats::quantized_rows;
use crate::x86_64::matmul::X;
use core::arch::x86_64::{
    __m256i, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_blend_epi16, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_sign_epi8,
    _mm256_slli_epi32, _mm256_sub_epi32,
};

quantized_rows!("avx2,fma,f16c", Eight<Maddubs>, 8, 2);

/// AVX2's multiplication of bytes, `maddubs`.
#[derive(Debug)]
pub struct Maddubs;

/// Σ w·x over 32 weights in 0..=15, as sums of pairs in i16: 16 products of at most 15 · 127 fit.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn nibble_pairs<const T: usize>(w: &[__m256i; 8], x: &[X; T]) -> [__m256i; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut pairs = [_mm256_setzero_si256(); T];
        for (j, w) in w.iter().enumerate() {
            for (pairs, x) in pairs.iter_mut().zip(x) {
                let x = four(x, j);
                *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(*w, x));
            }
        }
        pairs
    }
}

impl Dots for Maddubs {
    const SURPLUS8: u8 = 0;

    #[inline(always)]
    unsafe fn weights8(w: __m256i) -> __m256i {
        w
    }

    /// As i16 in both halves of the lane, to multiply pairs.
    #[inline(always)]
    unsafe fn scale(scale: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_blend_epi16::<0b1010_1010>(scale, _mm256_slli_epi32::<16>(scale)) }
    }

    #[inline(always)]
    unsafe fn dot8<const T: usize>(w: &[__m256i; 8], x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = [_mm256_setzero_si256(); T];
            for (j, w) in w.iter().enumerate() {
                // |w| is at most 128 as an unsigned byte, and x never -128, so that its sign can always be turned;
                // two products fit an i16.
                let magnitude = _mm256_abs_epi8(*w);
                for (isums, x) in isums.iter_mut().zip(x) {
                    let x = _mm256_sign_epi8(four(x, j), *w);
                    let pairs = _mm256_maddubs_epi16(magnitude, x);
                    *isums = _mm256_add_epi32(*isums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                }
            }
            isums
        }
    }

    #[inline(always)]
    unsafe fn dot4<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = nibble_pairs(w, x);
            for (isums, x) in isums.iter_mut().zip(x) {
                let surplus = _mm256_set1_epi32(bias * (x.sums[0] + x.sums[1]));
                *isums = _mm256_sub_epi32(_mm256_madd_epi16(*isums, _mm256_set1_epi16(1)), surplus);
            }
            isums
        }
    }

    #[inline(always)]
    unsafe fn scaled_dot4<const T: usize>(w: &[__m256i; 8], scale: __m256i, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = nibble_pairs(w, x);
            for isums in &mut isums {
                *isums = _mm256_madd_epi16(*isums, scale);
            }
            isums
        }
    }

    #[inline(always)]
    unsafe fn scaled_dot6<const T: usize>(
        w: &[__m256i; 8],
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = [_mm256_setzero_si256(); T];
            for (j, w) in w.as_chunks::<2>().0.iter().enumerate() {
                for (isums, x) in isums.iter_mut().zip(x) {
                    let x = [four(x, 2 * j), four(x, 2 * j + 1)];
                    // Four products of at most 63 · 127 fit an i16.
                    let pairs =
                        _mm256_add_epi16(_mm256_maddubs_epi16(w[0], x[0]), _mm256_maddubs_epi16(w[1], x[1]));
                    *isums = _mm256_add_epi32(*isums, _mm256_madd_epi16(pairs, scales[j / 2]));
                }
            }
            for (isums, x) in isums.iter_mut().zip(x) {
                for (sum, scale) in x.sums.iter().zip(scales) {
                    // 32 · scale · sum; the scale stands in both halves of its lane, so each takes half of it.
                    let surplus = _mm256_madd_epi16(*scale, _mm256_set1_epi16((16 * sum) as i16));
                    *isums = _mm256_sub_epi32(*isums, surplus);
                }
            }
            isums
        }
    }
}
