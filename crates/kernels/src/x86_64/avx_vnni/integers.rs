//! Products of four bytes in one instruction, summed in i32: level AVX-VNNI.
//!
//! It multiplies unsigned by signed bytes, so that weights are taken as unsigned, a constant too high, and that constant
//! times the sum of the activations is where each sum starts from.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use crate::x86_64::avx2::lanes8::{Dots, Eight, four};
use crate::x86_64::formats::quantized_rows;
use crate::x86_64::matmul::X;
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_mullo_epi32, _mm256_set1_epi8,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_srai_epi32, _mm256_xor_si256,
};
use core::marker::PhantomData;

quantized_rows!("avx2,fma,f16c,avxvnni", Eight<Vnni<Vex>>, 8, 2, crate::x86_64::avx2::integers);

/// The instruction in one of its encodings.
pub trait DotInstruction {
    /// Adds to each lane the products of its four unsigned bytes of `w` and signed bytes of `x`.
    ///
    /// # Safety
    /// The CPU has the instruction.
    unsafe fn dpbusd(sum: __m256i, w: __m256i, x: __m256i) -> __m256i;
}

/// AVX-VNNI's encoding.
#[derive(Debug)]
pub struct Vex;

impl DotInstruction for Vex {
    #[inline(always)]
    unsafe fn dpbusd(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_avx_epi32(sum, w, x) }
    }
}

/// Dot products by the instruction.
#[derive(Debug)]
pub struct Vnni<I>(PhantomData<I>);

/// Adds Σ w·x over `N` dwords, from dword `first` of `x` on, to `starts`.
///
/// # Safety
/// As for [`Dots`].
#[inline(always)]
unsafe fn dot<I: DotInstruction, const T: usize, const N: usize>(
    w: &[__m256i; N],
    x: &[X; T],
    first: usize,
    starts: [i32; T],
) -> [__m256i; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut isums = [_mm256_setzero_si256(); T];
        for (isum, start) in isums.iter_mut().zip(starts) {
            *isum = _mm256_set1_epi32(start);
        }
        for (j, w) in w.iter().enumerate() {
            for (isum, x) in isums.iter_mut().zip(x) {
                *isum = I::dpbusd(*isum, *w, four(x, first + j));
            }
        }
        isums
    }
}

impl<I: DotInstruction> Dots for Vnni<I> {
    const GAINS_BY_SMALL: bool = false;

    #[inline(always)]
    unsafe fn dot8<const T: usize>(w: &[__m256i; 8], x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::dot4(&unsigned(w), 128, x) }
    }

    #[inline(always)]
    unsafe fn dot4<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { dot::<I, T, 8>(w, x, 0, core::array::from_fn(|t| -bias * x[t].sum())) }
    }

    #[inline(always)]
    unsafe fn scaled_dot4<const T: usize>(w: &[__m256i; 8], scale: __m256i, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = dot::<I, T, 8>(w, x, 0, [0; T]);
            for isum in &mut isums {
                *isum = _mm256_mullo_epi32(*isum, in_lane(scale));
            }
            isums
        }
    }

    #[inline(always)]
    unsafe fn dot5<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::dot4(w, bias, x) }
    }

    #[inline(always)]
    unsafe fn scaled_dot5<const T: usize>(w: &[__m256i; 8], scale: __m256i, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::scaled_dot4(w, scale, x) }
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
            // One half after the other, not in a loop: that would keep the sums of the activations in memory.
            let [a, b, c, d, e, f, g, h] = *w;
            let scales = [in_lane(scales[0]), in_lane(scales[1])];
            let low = core::array::from_fn(|t| -bias * x[t].sums()[0]);
            let mut isums = dot::<I, T, 4>(&[a, b, c, d], x, 0, low);
            for isum in &mut isums {
                *isum = _mm256_mullo_epi32(*isum, scales[0]);
            }
            let high = core::array::from_fn(|t| -bias * x[t].sums()[1]);
            let high = dot::<I, T, 4>(&[e, f, g, h], x, 4, high);
            for (isum, high) in isums.iter_mut().zip(high) {
                *isum = _mm256_add_epi32(*isum, _mm256_mullo_epi32(high, scales[1]));
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
        unsafe { Self::biased_dot5(w, 32, scales, x) }
    }

    #[inline(always)]
    unsafe fn scaled_dot8<const T: usize>(
        w: &[__m256i; 8],
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::biased_dot5(&unsigned(w), 128, scales, x) }
    }

    #[inline(always)]
    unsafe fn half_dots5<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [[__m256i; T]; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d, e, f, g, h] = *w;
            [
                dot::<I, T, 4>(&[a, b, c, d], x, 0, core::array::from_fn(|t| -bias * x[t].sums()[0])),
                dot::<I, T, 4>(&[e, f, g, h], x, 4, core::array::from_fn(|t| -bias * x[t].sums()[1])),
            ]
        }
    }
}

/// A scale of which both halves of the lane hold a copy.
///
/// # Safety
/// As for [`Dots`].
#[inline(always)]
unsafe fn in_lane(scale: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_srai_epi32::<16>(scale) }
}

/// Int8 weights, 128 too high.
///
/// # Safety
/// As for [`Dots`].
#[inline(always)]
unsafe fn unsigned(w: &[__m256i; 8]) -> [__m256i; 8] {
    let mut unsigned = *w;
    for w in &mut unsigned {
        // SAFETY: the caller's promise.
        *w = unsafe { _mm256_xor_si256(*w, _mm256_set1_epi8(-128)) };
    }
    unsigned
}

#[cfg(all(test, feature = "std"))]
mod tests;
