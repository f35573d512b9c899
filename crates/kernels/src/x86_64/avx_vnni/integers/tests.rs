//! The kernels with AVX-512's encoding of the instruction in place of AVX-VNNI's: many CPUs have only the one.

use core::arch::x86_64::_mm256_dpbusd_epi32;
use std::vec;

use super::*;
use crate::x86_64::test_products::Product;
use crate::{Line, ScratchSize};

/// AVX-512's encoding.
struct Evex;

impl DotInstruction for Evex {
    #[inline(always)]
    unsafe fn dpbusd(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_epi32(sum, w, x) }
    }
}

mod evex {
    use super::*;

    quantized_rows!(
        "avx2,fma,f16c,avx512vl,avx512vnni",
        Eight<Vnni<Evex>>,
        8,
        2,
        crate::x86_64::avx2::integers
    );
}

#[test]
fn products_by_the_instruction_have_the_bits_of_the_reference() {
    if !std::is_x86_feature_detected!("avx512vnni") || !std::is_x86_feature_detected!("avx512vl") {
        // Neither encoding.
        return;
    }
    for (rows, range, cols, tokens) in
        [(5, 0..5, 256, 1), (16, 0..16, 512, 1), (48, 3..41, 1280, 1), (32, 5..29, 512, 7), (9, 0..9, 256, 4)]
    {
        let mut scratch = vec![Line::ZERO; ScratchSize::new(cols, tokens).lines(1).unwrap()];
        let scratch = std::sync::Mutex::new(&mut scratch);
        Product { rows, range: range.clone(), cols, tokens }.compare(&|matrix, x, out| {
            // SAFETY: the features are there.
            unsafe { evex::quantized_rows(matrix, range.clone(), x, out, &mut scratch.lock().unwrap()) };
        });
    }
}
