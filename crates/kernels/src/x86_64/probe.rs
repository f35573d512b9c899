//! [`crate::probe`] for `x86_64`.
#![allow(clippy::wildcard_imports, reason = "a kernel uses many intrinsics")]

use core::arch::asm;
use core::arch::x86_64::*;

/// Vectors in flight when memory is read.
const STREAMS: usize = 8;
/// Chains of sums: a product takes 4 or 5 cycles, and two can begin in each.
const CHAINS: usize = 12;
/// Products that AVX2 adds in 16 bits before it widens: pairs of at most 2 · 15 · 8, which fit.
const STEPS: usize = 16;

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn read_avx2(words: &[u64]) -> u64 {
    let (chunks, rest) = words.as_chunks::<{ 4 * STREAMS }>();
    let mut sums = [_mm256_setzero_si256(); STREAMS];
    for chunk in chunks {
        for (sum, four) in sums.iter_mut().zip(chunk.as_chunks::<4>().0) {
            // SAFETY: four words are there.
            *sum = _mm256_add_epi64(*sum, unsafe { _mm256_loadu_si256(four.as_ptr().cast()) });
        }
    }
    let mut total = [0u64; 4];
    let sum = sums.into_iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi64(a, b));
    // SAFETY: there is room for four words.
    unsafe { _mm256_storeu_si256(total.as_mut_ptr().cast(), sum) };
    add(&total, add(rest, 0))
}

/// # Safety
/// The CPU has AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn read_avx512(words: &[u64]) -> u64 {
    let (chunks, rest) = words.as_chunks::<{ 8 * STREAMS }>();
    let mut sums = [_mm512_setzero_si512(); STREAMS];
    for chunk in chunks {
        for (sum, eight) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
            // SAFETY: eight words are there.
            *sum = _mm512_add_epi64(*sum, unsafe { _mm512_loadu_si512(eight.as_ptr().cast()) });
        }
    }
    let sum = sums.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi64(a, b));
    (_mm512_reduce_add_epi64(sum) as u64).wrapping_add(add(rest, 0))
}

fn add(words: &[u64], to: u64) -> u64 {
    words.iter().fold(to, |sum, word| sum.wrapping_add(*word))
}

/// Lets the compiler believe that a vector changes: products of it cannot be formed once for all.
macro_rules! hide {
    ($class:ident, $vector:expr) => {
        // SAFETY: no instruction.
        unsafe { asm!("/* {0} */", inout($class) $vector, options(pure, nomem, nostack, preserves_flags)) }
    };
}

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn multiply_avx2(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    let w = _mm256_set1_epi8(w as i8);
    let mut x = _mm256_set1_epi8(x);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); CHAINS / 3];
    for _ in 0..rounds {
        let mut pairs = [_mm256_setzero_si256(); CHAINS / 3];
        for _ in 0..STEPS {
            for pairs in &mut pairs {
                hide!(ymm_reg, x);
                *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(w, x));
            }
        }
        for (sum, pairs) in sums.iter_mut().zip(pairs) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    // SAFETY: AVX2 is there.
    (32 * (STEPS * sums.len()) as u64, unsafe { fold_avx2(&sums) })
}

/// # Safety
/// The CPU has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn multiply_avx_vnni(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    let w = _mm256_set1_epi8(w as i8);
    let x = _mm256_set1_epi8(x);
    let mut sums = [_mm256_setzero_si256(); CHAINS];
    sums.iter_mut().for_each(|sum| hide!(ymm_reg, *sum));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, w, x);
        }
    }
    // SAFETY: AVX2 is there.
    (32 * CHAINS as u64, unsafe { fold_avx2(&sums) })
}

/// # Safety
/// The CPU has AVX-512 F, BW and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn multiply_avx512(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    let w = _mm512_set1_epi8(w as i8);
    let x = _mm512_set1_epi8(x);
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    sums.iter_mut().for_each(|sum| hide!(zmm_reg, *sum));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, w, x);
        }
    }
    let sum = sums.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b));
    (64 * CHAINS as u64, _mm512_reduce_add_epi32(sum))
}

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn fold_avx2(sums: &[__m256i]) -> i32 {
    let sum = sums.iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, *b));
    let mut lanes = [0i32; 8];
    // SAFETY: there is room for eight lanes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}
