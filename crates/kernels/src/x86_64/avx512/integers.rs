//! Sixteen rows of a quantized matrix in the lanes of a vector.
//!
//! As at level AVX2, with dot products of four bytes in one instruction. It multiplies unsigned by signed bytes and
//! sums in i32, so that weights are stored unsigned, a constant too high, and that constant times the sum of the
//! activations is where each sum starts from.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::eights;
use crate::scratch::Line;
use crate::x86_64::formats::{quantized_rows, unpack_formats};
use crate::x86_64::kinds::Kind;
use crate::x86_64::matmul::{Lanes, Part, X};
use crate::x86_64::source::Blocks;
use crate::x86_64::unpacked::At;
use core::arch::x86_64::{
    __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_setr_epi32, _mm256_loadu_si256,
    _mm256_setr_epi16, _mm512_add_epi8, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_avg_epu8,
    _mm512_broadcast_i32x4, _mm512_castsi128_si512, _mm512_castsi512_ps, _mm512_cmpgt_epi32_mask,
    _mm512_cmpneq_epi32_mask, _mm512_cvtepi32_epi16, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_inserti32x4, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_mask_mov_epi32, _mm512_maskz_mov_epi32,
    _mm512_maskz_mul_ps, _mm512_max_epi32, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_or_si512,
    _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_sll_epi16, _mm512_sll_epi32, _mm512_slli_epi16,
    _mm512_slli_epi32, _mm512_sllv_epi32, _mm512_srai_epi32, _mm512_srl_epi16, _mm512_srl_epi32,
    _mm512_srli_epi16, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_sub_epi32, _mm512_subs_epu8,
    _mm512_test_epi8_mask, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_ps, _mm512_xor_si512,
};

quantized_rows!(
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    Avx512,
    16,
    1,
    crate::x86_64::avx512::integers
);
unpack_formats!("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", Avx512, 16, 1);

/// AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Debug)]
pub struct Avx512;

/// Adds Σ w·x over `N` dwords, from dword `first` of `x` on, to `starts`.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn dot<const T: usize, const N: usize>(
    w: &[__m512i; N],
    x: &[X; T],
    first: usize,
    starts: [i32; T],
) -> [__m512i; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut isums = [_mm512_setzero_si512(); T];
        for (isum, start) in isums.iter_mut().zip(starts) {
            *isum = _mm512_set1_epi32(start);
        }
        for (j, w) in w.iter().enumerate() {
            for (isums, x) in isums.iter_mut().zip(x) {
                let four = x.q.add(4 * (first + j)).cast::<[u8; 4]>().read();
                *isums = _mm512_dpbusd_epi32(*isums, *w, _mm512_set1_epi32(i32::from_le_bytes(four)));
            }
        }
        isums
    }
}

/// The 16 bytes at `at` of rows `r`, `r + 4`, `r + 8` and `r + 12`.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn four(blocks: &Blocks<16>, r: usize, at: usize) -> __m512i {
    // SAFETY: the caller's promise; the loads need no alignment.
    unsafe {
        let first = _mm512_castsi128_si512(_mm_loadu_si128(blocks.row(r, at).cast()));
        let two = _mm512_inserti32x4::<1>(first, _mm_loadu_si128(blocks.row(r + 4, at).cast()));
        let three = _mm512_inserti32x4::<2>(two, _mm_loadu_si128(blocks.row(r + 8, at).cast()));
        _mm512_inserti32x4::<3>(three, _mm_loadu_si128(blocks.row(r + 12, at).cast()))
    }
}

impl Lanes<16> for Avx512 {
    const SURPLUS8: u8 = 128;
    const GAINS_BY_SMALL: bool = false;
    type I = __m512i;
    type F = __m512;

    #[inline(always)]
    unsafe fn dwords(blocks: &Blocks<16>, at: usize) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = [four(blocks, 0, at), four(blocks, 1, at), four(blocks, 2, at), four(blocks, 3, at)];
            let low = [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])];
            let high = [_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])];
            [
                _mm512_unpacklo_epi64(low[0], low[1]),
                _mm512_unpackhi_epi64(low[0], low[1]),
                _mm512_unpacklo_epi64(high[0], high[1]),
                _mm512_unpackhi_epi64(high[0], high[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn dword(blocks: &Blocks<16>, at: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] =
                core::array::from_fn(|r| i32::from_le_bytes(blocks.row(r, at).cast::<[u8; 4]>().read()));
            _mm512_setr_epi32(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
        }
    }

    #[inline(always)]
    unsafe fn half(blocks: &Blocks<16>, at: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] =
                core::array::from_fn(|r| i16::from_le_bytes(blocks.row(r, at).cast::<[u8; 2]>().read()));
            _mm512_cvtph_ps(_mm256_setr_epi16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p))
        }
    }

    #[inline(always)]
    unsafe fn load_dwords(from: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_floats(from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn bytes(blocks: &Blocks<16>, at: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] =
                core::array::from_fn(|r| i32::from(blocks.row(r, at).read()));
            _mm512_setr_epi32(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn split_halves(dwords: __m512i) -> [__m512; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let upper = _mm512_srli_epi32::<16>(dwords);
            [_mm512_cvtph_ps(_mm512_cvtepi32_epi16(dwords)), _mm512_cvtph_ps(_mm512_cvtepi32_epi16(upper))]
        }
    }

    #[inline(always)]
    unsafe fn bits(v: __m512i, shift: i32, mask: u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            _mm512_and_si512(_mm512_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm512_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    unsafe fn join(low: __m512i, high: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_or_si512(low, _mm512_slli_epi16::<4>(high)) }
    }

    #[inline(always)]
    unsafe fn merge(low: __m512i, high: __m512i, shift: i32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_or_si512(low, _mm512_sll_epi16(high, _mm_cvtsi32_si128(shift))) }
    }

    #[inline(always)]
    unsafe fn add_bits(low: __m512i, bits: __m512i, first: usize, by: u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            // The byte with the bits to all bytes of the lane, and of each byte one bit.
            let byte = _mm512_set1_epi32((first / 8) as i32 * 0x0101_0101);
            let lanes = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c));
            let spread = _mm512_shuffle_epi8(bits, _mm512_add_epi8(byte, lanes));
            let bit = _mm512_set1_epi32(if first.is_multiple_of(8) {
                0x0804_0201
            } else {
                0x8040_2010_u32.cast_signed()
            });
            let set = _mm512_test_epi8_mask(spread, bit);
            _mm512_mask_add_epi8(low, set, low, _mm512_set1_epi8(by as i8))
        }
    }

    #[inline(always)]
    unsafe fn four_pairs(v: __m512i, i: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            // Copies of the byte, each 6 bits higher than the one before.
            let byte = Self::byte(v, i);
            let two = _mm512_or_si512(byte, _mm512_slli_epi32::<12>(byte));
            let four = _mm512_or_si512(two, _mm512_slli_epi32::<6>(two));
            _mm512_and_si512(four, _mm512_set1_epi8(3))
        }
    }

    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], bytes: __m512i) -> __m512i {
        // SAFETY: the caller's promise; the table is 16 bytes.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), bytes)
        }
    }

    #[inline(always)]
    unsafe fn digits(v: __m512i) -> __m512i {
        v
    }

    #[inline(always)]
    unsafe fn triple(v: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_add_epi8(_mm512_add_epi8(v, v), v) }
    }

    #[inline(always)]
    unsafe fn over_triple(v: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            // Three quarters, rounded up, of one less: that is over 64 and 128 where three times the byte is over 256
            // and 512.
            let less = _mm512_subs_epu8(v, _mm512_set1_epi8(1));
            let quarters = _mm512_avg_epu8(less, _mm512_avg_epu8(less, _mm512_setzero_si512()));
            _mm512_and_si512(_mm512_srli_epi16::<6>(quarters), _mm512_set1_epi8(3))
        }
    }

    #[inline(always)]
    unsafe fn byte(v: __m512i, i: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let shifted = _mm512_srl_epi32(v, _mm_cvtsi32_si128(8 * i as i32));
            _mm512_and_si512(shifted, _mm512_set1_epi32(0xff))
        }
    }

    #[inline(always)]
    unsafe fn signed_byte(v: __m512i, i: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_srai_epi32::<24>(_mm512_sll_epi32(v, _mm_cvtsi32_si128(24 - 8 * i as i32))) }
    }

    #[inline(always)]
    unsafe fn field(v: __m512i, shift: i32, mask: i32, by: i32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let field = _mm512_srl_epi32(v, _mm_cvtsi32_si128(shift));
            _mm512_add_epi32(_mm512_and_si512(field, _mm512_set1_epi32(mask)), _mm512_set1_epi32(by))
        }
    }

    /// Unsigned, 128 too high.
    #[inline(always)]
    unsafe fn weights8(w: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_xor_si512(w, _mm512_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn scale(scale: __m512i) -> __m512i {
        scale
    }

    #[inline(always)]
    unsafe fn byte_scale(v: __m512i, i: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { Self::byte(v, i) }
    }

    #[inline(always)]
    unsafe fn dot8<const T: usize>(w: &[__m512i; 8], x: &[X; T]) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let starts = core::array::from_fn(|t| -128 * x[t].sum());
            dot(w, x, 0, starts)
        }
    }

    #[inline(always)]
    unsafe fn dot4<const T: usize>(w: &[__m512i; 8], bias: i32, x: &[X; T]) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let starts = core::array::from_fn(|t| -bias * x[t].sum());
            dot(w, x, 0, starts)
        }
    }

    #[inline(always)]
    unsafe fn scaled_dot4<const T: usize>(w: &[__m512i; 8], scale: __m512i, x: &[X; T]) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isums = dot(w, x, 0, [0; T]);
            for isum in &mut isums {
                *isum = _mm512_mullo_epi32(*isum, scale);
            }
            isums
        }
    }

    #[inline(always)]
    unsafe fn scaled_dot6<const T: usize>(
        w: &[__m512i; 8],
        scales: &[__m512i; 2],
        x: &[X; T],
    ) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::biased_dot5(w, 32, scales, x) }
    }

    #[inline(always)]
    unsafe fn dot5<const T: usize>(w: &[__m512i; 8], bias: i32, x: &[X; T]) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::dot4(w, bias, x) }
    }

    #[inline(always)]
    unsafe fn scaled_dot5<const T: usize>(w: &[__m512i; 8], scale: __m512i, x: &[X; T]) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::scaled_dot4(w, scale, x) }
    }

    #[inline(always)]
    unsafe fn biased_dot5<const T: usize>(
        w: &[__m512i; 8],
        bias: i32,
        scales: &[__m512i; 2],
        x: &[X; T],
    ) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe {
            // One half after the other, not in a loop: that would keep the sums of the activations in memory.
            let [a, b, c, d, e, f, g, h] = *w;
            let mut isums = dot(&[a, b, c, d], x, 0, core::array::from_fn(|t| -bias * x[t].sums()[0]));
            for isum in &mut isums {
                *isum = _mm512_mullo_epi32(*isum, scales[0]);
            }
            let high = dot(&[e, f, g, h], x, 4, core::array::from_fn(|t| -bias * x[t].sums()[1]));
            for (isum, high) in isums.iter_mut().zip(high) {
                *isum = _mm512_add_epi32(*isum, _mm512_mullo_epi32(high, scales[1]));
            }
            isums
        }
    }

    #[inline(always)]
    unsafe fn scaled_dot8<const T: usize>(
        w: &[__m512i; 8],
        scales: &[__m512i; 2],
        x: &[X; T],
    ) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::biased_dot5(w, i32::from(Self::SURPLUS8), scales, x) }
    }

    #[inline(always)]
    unsafe fn half_dots5<const T: usize>(w: &[__m512i; 8], bias: i32, x: &[X; T]) -> [[__m512i; T]; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d, e, f, g, h] = *w;
            [
                dot(&[a, b, c, d], x, 0, core::array::from_fn(|t| -bias * x[t].sums()[0])),
                dot(&[e, f, g, h], x, 4, core::array::from_fn(|t| -bias * x[t].sums()[1])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn eight(
        kind: Kind,
        parts: &[Part<__m512i, __m512>],
        x: &At<'_>,
        scratch: &mut [Line],
    ) -> Option<[[f32; 16]; 8]> {
        // SAFETY: the caller's promise.
        Some(unsafe { eights::tile(kind, kind.surplus(Self::SURPLUS8), parts, x, scratch) })
    }

    #[inline(always)]
    unsafe fn zeros() -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn negative_product(a: __m512, b: __m512i) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_xor_ps(_mm512_mul_ps(a, _mm512_cvtepi32_ps(b)), _mm512_set1_ps(-0.0)) }
    }

    #[inline(always)]
    unsafe fn negative(a: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_xor_ps(a, _mm512_set1_ps(-0.0)) }
    }

    #[inline(always)]
    unsafe fn product(a: __m512, b: __m512i) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mul_ps(a, _mm512_cvtepi32_ps(b)) }
    }

    #[inline(always)]
    unsafe fn half_e8m0(e: __m512i) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
            let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), e);
            let is_normal = _mm512_cmpgt_epi32_mask(e, _mm512_set1_epi32(1));
            _mm512_castsi512_ps(_mm512_mask_mov_epi32(subnormal, is_normal, normal))
        }
    }

    #[inline(always)]
    unsafe fn half_e4m3(bits: __m512i) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let exponent = _mm512_and_si512(_mm512_srli_epi32::<3>(bits), _mm512_set1_epi32(15));
            let is_normal = _mm512_cmpgt_epi32_mask(exponent, _mm512_setzero_si512());
            // As at level AVX2.
            let hidden = _mm512_maskz_mov_epi32(is_normal, _mm512_set1_epi32(8));
            let integer = _mm512_or_si512(_mm512_and_si512(bits, _mm512_set1_epi32(7)), hidden);
            let power = _mm512_add_epi32(
                _mm512_max_epi32(exponent, _mm512_set1_epi32(1)),
                _mm512_set1_epi32(127 - 11),
            );
            let power = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(power));
            let is_number = _mm512_cmpneq_epi32_mask(bits, _mm512_set1_epi32(0x7f));
            _mm512_maskz_mul_ps(is_number, _mm512_cvtepi32_ps(integer), power)
        }
    }

    #[inline(always)]
    unsafe fn add_scaled(d: __m512, dx: f32, isum: __m512i, acc: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(dx)), _mm512_cvtepi32_ps(isum), acc) }
    }

    #[inline(always)]
    unsafe fn fma(m: __m512, x: f32, acc: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(m, _mm512_set1_ps(x), acc) }
    }

    #[inline(always)]
    unsafe fn sum(a: __m512, b: __m512) -> [f32; 16] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [0.0; 16];
            _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_add_ps(a, b));
            sums
        }
    }
}
