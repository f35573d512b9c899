//! Products of unsigned weights by signed activations, summed in i16 as long as they fit: level AVX2.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::lanes8::{Dots, Eight, both_sums, four};
use crate::x86_64::formats::{quantized_rows, unpack_formats};
use crate::x86_64::matmul::X;
use core::arch::x86_64::{
    __m256i, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_blend_epi16, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mullo_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_sign_epi8, _mm256_slli_epi32, _mm256_sub_epi32,
};

quantized_rows!("avx2,fma,f16c", Eight<Maddubs>, 8, 2, crate::x86_64::avx2::integers);
unpack_formats!("avx2,fma,f16c", Eight<Maddubs>, 8, 2);

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

/// Σ w·x over 16 weights in 0..=31, as sums of pairs in i16: 8 products of at most 31 · 127 fit.
///
/// # Safety
/// As for [`Lanes`]; `half` is 0 or 1.
#[inline(always)]
unsafe fn half_pairs5(w: &[__m256i; 8], half: usize, x: &X) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut pairs = _mm256_setzero_si256();
        for (j, w) in w.iter().enumerate().skip(4 * half).take(4) {
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(*w, four(x, j)));
        }
        pairs
    }
}

/// Takes from each sum what weights that are `bias` too high bring to it.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn subtract_surplus<const T: usize>(mut isums: [__m256i; T], bias: i16, x: &[X; T]) -> [__m256i; T] {
    // SAFETY: the caller's promise.
    unsafe {
        for (isums, x) in isums.iter_mut().zip(x) {
            *isums = _mm256_sub_epi32(*isums, _mm256_madd_epi16(both_sums(x), _mm256_set1_epi16(bias)));
        }
        isums
    }
}

/// As [`subtract_surplus`], of halves with a scale each; `bias` is a multiple of 4 and at most 64.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn subtract_scaled_surplus<const T: usize>(
    mut isums: [__m256i; T],
    bias: i16,
    scales: &[__m256i; 2],
    x: &[X; T],
) -> [__m256i; T] {
    if bias == 0 {
        return isums;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let scales = _mm256_blend_epi16::<0b1010_1010>(scales[0], scales[1]);
        for (isums, x) in isums.iter_mut().zip(x) {
            // 16 times the sum of 16 activations still fits an i16.
            let quarter = _mm256_mullo_epi16(both_sums(x), _mm256_set1_epi16(bias / 4));
            let surplus = _mm256_slli_epi32::<2>(_mm256_madd_epi16(scales, quarter));
            *isums = _mm256_sub_epi32(*isums, surplus);
        }
        isums
    }
}

impl Dots for Maddubs {
    const GAINS_BY_SMALL: bool = true;

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
            for isums in &mut isums {
                *isums = _mm256_madd_epi16(*isums, _mm256_set1_epi16(1));
            }
            if bias == 0 { isums } else { subtract_surplus(isums, bias as i16, x) }
        }
    }

    #[inline(always)]
    unsafe fn dot5<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = [_mm256_setzero_si256(); T];
            for (isums, x) in isums.iter_mut().zip(x) {
                let one = _mm256_set1_epi16(1);
                let low = _mm256_madd_epi16(half_pairs5(w, 0, x), one);
                let high = _mm256_madd_epi16(half_pairs5(w, 1, x), one);
                *isums = _mm256_add_epi32(low, high);
            }
            if bias == 0 { isums } else { subtract_surplus(isums, bias as i16, x) }
        }
    }

    #[inline(always)]
    unsafe fn half_dots5<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [[__m256i; T]; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = [[_mm256_setzero_si256(); T]; 2];
            for (half, isums) in isums.iter_mut().enumerate() {
                // The other half's sum counts nothing.
                let bias = _mm256_set1_epi32(bias << (16 * half));
                for (isum, x) in isums.iter_mut().zip(x) {
                    let sum = _mm256_madd_epi16(half_pairs5(w, half, x), _mm256_set1_epi16(1));
                    *isum = _mm256_sub_epi32(sum, _mm256_madd_epi16(both_sums(x), bias));
                }
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
    unsafe fn scaled_dot5<const T: usize>(w: &[__m256i; 8], scale: __m256i, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = [_mm256_setzero_si256(); T];
            for (isums, x) in isums.iter_mut().zip(x) {
                let low = _mm256_madd_epi16(half_pairs5(w, 0, x), scale);
                let high = _mm256_madd_epi16(half_pairs5(w, 1, x), scale);
                *isums = _mm256_add_epi32(low, high);
            }
            isums
        }
    }

    #[inline(always)]
    unsafe fn biased_dot5<const T: usize>(
        w: &[__m256i; 8],
        bias: i32,
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = [_mm256_setzero_si256(); T];
            for (isums, x) in isums.iter_mut().zip(x) {
                let low = _mm256_madd_epi16(half_pairs5(w, 0, x), scales[0]);
                let high = _mm256_madd_epi16(half_pairs5(w, 1, x), scales[1]);
                *isums = _mm256_add_epi32(low, high);
            }
            subtract_scaled_surplus(isums, bias as i16, scales, x)
        }
    }

    #[inline(always)]
    unsafe fn biased_dot7<const T: usize>(
        w: &[__m256i; 8],
        bias: i32,
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = [_mm256_setzero_si256(); T];
            for (j, w) in w.iter().enumerate() {
                for (isums, x) in isums.iter_mut().zip(x) {
                    // Two products of at most 127 · 127 fit an i16.
                    let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(*w, four(x, j)), scales[j / 4]);
                    *isums = _mm256_add_epi32(*isums, pairs);
                }
            }
            subtract_scaled_surplus(isums, bias as i16, scales, x)
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
            subtract_scaled_surplus(isums, 32, scales, x)
        }
    }

    #[inline(always)]
    unsafe fn scaled_dot8<const T: usize>(
        w: &[__m256i; 8],
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = [_mm256_setzero_si256(); T];
            for (j, w) in w.iter().enumerate() {
                // As in `dot8`.
                let magnitude = _mm256_abs_epi8(*w);
                for (isums, x) in isums.iter_mut().zip(x) {
                    let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four(x, j), *w));
                    *isums = _mm256_add_epi32(*isums, _mm256_madd_epi16(pairs, scales[j / 4]));
                }
            }
            isums
        }
    }
}
