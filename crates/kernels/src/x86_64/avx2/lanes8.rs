//! Eight rows of a quantized matrix in the lanes of a vector.
//!
//! Sixteen bytes of each row, transposed as 4 x 4 dwords within 128-bit lanes, give vectors of which lane r holds four
//! neighbouring weights of row r. So a dot product of eight rows needs no sums across lanes, and rows' scales are
//! vectors. How bytes are multiplied is left to [`Dots`].
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::lanes::store;
use crate::x86_64::matmul::{Lanes, X};
use crate::x86_64::source::Blocks;
use core::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128, _mm_setr_epi8, _mm_setr_epi16,
    _mm_setr_epi32, _mm256_abs_epi8, _mm256_add_epi8, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256,
    _mm256_andnot_ps, _mm256_blend_epi16, _mm256_blendv_epi8, _mm256_broadcastsi128_si256,
    _mm256_castsi128_si256, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmpeq_epi8,
    _mm256_cmpeq_epi32, _mm256_cmpgt_epi8, _mm256_cmpgt_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32,
    _mm256_cvtph_ps, _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_inserti128_si256, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_epi32, _mm256_mul_ps, _mm256_or_si256,
    _mm256_permute4x64_epi64, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_sll_epi16,
    _mm256_sll_epi32, _mm256_slli_epi16, _mm256_slli_epi32, _mm256_sllv_epi32, _mm256_srai_epi32,
    _mm256_srl_epi16, _mm256_srl_epi32, _mm256_srli_epi32, _mm256_sub_epi32, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_ps, _mm256_xor_si256,
};
use core::marker::PhantomData;

/// Vectors of AVX2, with products as `D` makes them.
#[derive(Debug)]
pub struct Eight<D>(PhantomData<D>);

/// A way to multiply 32 weights in lanes by the activations of some tokens: see the functions of the same names in
/// [`Lanes`]. Int8 weights are what they are; scales stand in both halves of a lane.
///
/// # Safety
/// Of every function: as for [`Lanes`].
pub trait Dots {
    /// See [`Lanes::GAINS_BY_SMALL`].
    const GAINS_BY_SMALL: bool;

    /// Σ w·x over int8.
    unsafe fn dot8<const T: usize>(w: &[__m256i; 8], x: &[X; T]) -> [__m256i; T];
    /// Σ (w - `bias`)·x over unsigned int4.
    unsafe fn dot4<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [__m256i; T];
    /// Σ (w - `bias`)·x over unsigned int5.
    unsafe fn dot5<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [__m256i; T];
    /// scale · Σ w·x over unsigned int4.
    unsafe fn scaled_dot4<const T: usize>(w: &[__m256i; 8], scale: __m256i, x: &[X; T]) -> [__m256i; T];
    /// scale · Σ w·x over unsigned int5.
    unsafe fn scaled_dot5<const T: usize>(w: &[__m256i; 8], scale: __m256i, x: &[X; T]) -> [__m256i; T];
    /// Σ scale · Σ (w - `bias`)·x over both halves of unsigned int5.
    unsafe fn biased_dot5<const T: usize>(
        w: &[__m256i; 8],
        bias: i32,
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T];
    /// As `biased_dot5`, of unsigned int7.
    #[inline(always)]
    unsafe fn biased_dot7<const T: usize>(
        w: &[__m256i; 8],
        bias: i32,
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::biased_dot5(w, bias, scales, x) }
    }
    /// Σ scale · Σ (w - 32)·x over both halves of unsigned int6.
    unsafe fn scaled_dot6<const T: usize>(
        w: &[__m256i; 8],
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T];
    /// Σ scale · Σ w·x over both halves of int8.
    unsafe fn scaled_dot8<const T: usize>(
        w: &[__m256i; 8],
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T];
    /// Σ (w - `bias`)·x over each half of unsigned int5.
    unsafe fn half_dots5<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [[__m256i; T]; 2];
}

/// Four activations in every lane.
///
/// # Safety
/// The CPU has AVX2; `x` is valid for reading 32, and `j < 8`.
#[inline(always)]
pub unsafe fn four(x: &X, j: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_set1_epi32(i32::from_le_bytes(x.q.add(4 * j).cast::<[u8; 4]>().read())) }
}

/// The sums of both halves in every lane.
///
/// # Safety
/// The CPU has AVX2; `x` is valid for reading.
#[inline(always)]
pub unsafe fn both_sums(x: &X) -> __m256i {
    // SAFETY: the caller's promise; the read needs no alignment.
    unsafe { _mm256_set1_epi32(x.sums.cast::<i32>().read_unaligned()) }
}

/// The 16 bytes at `at` of rows `r` and `r + 4`.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn pair(blocks: &Blocks<8>, r: usize, at: usize) -> __m256i {
    // SAFETY: the caller's promise; the loads need no alignment.
    unsafe {
        let low = _mm_loadu_si128(blocks.row(r, at).cast());
        _mm256_inserti128_si256::<1>(
            _mm256_castsi128_si256(low),
            _mm_loadu_si128(blocks.row(r + 4, at).cast()),
        )
    }
}

impl<D: Dots> Lanes<8> for Eight<D> {
    const SURPLUS8: u8 = 0;
    const GAINS_BY_SMALL: bool = D::GAINS_BY_SMALL;
    type I = __m256i;
    type F = __m256;

    #[inline(always)]
    unsafe fn dwords(blocks: &Blocks<8>, at: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = [pair(blocks, 0, at), pair(blocks, 1, at), pair(blocks, 2, at), pair(blocks, 3, at)];
            let low = [_mm256_unpacklo_epi32(rows[0], rows[1]), _mm256_unpacklo_epi32(rows[2], rows[3])];
            let high = [_mm256_unpackhi_epi32(rows[0], rows[1]), _mm256_unpackhi_epi32(rows[2], rows[3])];
            [
                _mm256_unpacklo_epi64(low[0], low[1]),
                _mm256_unpackhi_epi64(low[0], low[1]),
                _mm256_unpacklo_epi64(high[0], high[1]),
                _mm256_unpackhi_epi64(high[0], high[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn dword(blocks: &Blocks<8>, at: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d, e, f, g, h] =
                core::array::from_fn(|r| i32::from_le_bytes(blocks.row(r, at).cast::<[u8; 4]>().read()));
            _mm256_setr_epi32(a, b, c, d, e, f, g, h)
        }
    }

    #[inline(always)]
    unsafe fn half(blocks: &Blocks<8>, at: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d, e, f, g, h] =
                core::array::from_fn(|r| i16::from_le_bytes(blocks.row(r, at).cast::<[u8; 2]>().read()));
            _mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h))
        }
    }

    #[inline(always)]
    unsafe fn load_dwords(from: *const u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_floats(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn bytes(blocks: &Blocks<8>, at: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d, e, f, g, h] = core::array::from_fn(|r| i32::from(blocks.row(r, at).read()));
            _mm256_setr_epi32(a, b, c, d, e, f, g, h)
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())) }
    }

    #[inline(always)]
    unsafe fn split_halves(dwords: __m256i) -> [__m256; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let lower_first = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
            let sorted = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(
                dwords,
                _mm256_broadcastsi128_si256(lower_first),
            ));
            let upper = _mm256_extracti128_si256::<1>(sorted);
            [_mm256_cvtph_ps(_mm256_castsi256_si128(sorted)), _mm256_cvtph_ps(upper)]
        }
    }

    #[inline(always)]
    unsafe fn bits(v: __m256i, shift: i32, mask: u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm256_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    unsafe fn join(low: __m256i, high: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_or_si256(low, _mm256_slli_epi16::<4>(high)) }
    }

    #[inline(always)]
    unsafe fn merge(low: __m256i, high: __m256i, shift: i32) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_or_si256(low, _mm256_sll_epi16(high, _mm_cvtsi32_si128(shift))) }
    }

    #[inline(always)]
    unsafe fn add_bits(low: __m256i, bits: __m256i, first: usize, by: u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            // The byte with the bits to all bytes of the lane, and of each byte one bit.
            let byte = _mm256_set1_epi32((first / 8) as i32 * 0x0101_0101);
            let lanes = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c));
            let spread = _mm256_shuffle_epi8(bits, _mm256_add_epi8(byte, lanes));
            let bit = _mm256_set1_epi32(if first.is_multiple_of(8) {
                0x0804_0201
            } else {
                0x8040_2010_u32.cast_signed()
            });
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
            _mm256_add_epi8(low, _mm256_and_si256(set, _mm256_set1_epi8(by as i8)))
        }
    }

    #[inline(always)]
    unsafe fn four_pairs(v: __m256i, i: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            // Copies of the byte, each 6 bits higher than the one before.
            let byte = Self::byte(v, i);
            let two = _mm256_or_si256(byte, _mm256_slli_epi32::<12>(byte));
            let four = _mm256_or_si256(two, _mm256_slli_epi32::<6>(two));
            _mm256_and_si256(four, _mm256_set1_epi8(3))
        }
    }

    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], bytes: __m256i) -> __m256i {
        // SAFETY: the caller's promise; the table is 16 bytes.
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast());
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), bytes)
        }
    }

    /// 128 less: there are comparisons of signed bytes alone.
    #[inline(always)]
    unsafe fn digits(v: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_xor_si256(v, _mm256_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn triple(v: __m256i) -> __m256i {
        // SAFETY: the caller's promise. What is 128 less stays 128 less, since twice that is 256.
        unsafe { _mm256_add_epi8(_mm256_add_epi8(v, v), v) }
    }

    #[inline(always)]
    unsafe fn over_triple(v: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            // Three times a byte is 256 or more above 85, and 512 or more above 170; each comparison (with 128 less) gives -1.
            let above_85 = _mm256_cmpgt_epi8(v, _mm256_set1_epi8(-43));
            let above_170 = _mm256_cmpgt_epi8(v, _mm256_set1_epi8(42));
            _mm256_abs_epi8(_mm256_add_epi8(above_85, above_170))
        }
    }

    #[inline(always)]
    unsafe fn byte(v: __m256i, i: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let shifted = _mm256_srl_epi32(v, _mm_cvtsi32_si128(8 * i as i32));
            _mm256_and_si256(shifted, _mm256_set1_epi32(0xff))
        }
    }

    #[inline(always)]
    unsafe fn signed_byte(v: __m256i, i: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_srai_epi32::<24>(_mm256_sll_epi32(v, _mm_cvtsi32_si128(24 - 8 * i as i32))) }
    }

    #[inline(always)]
    unsafe fn field(v: __m256i, shift: i32, mask: i32, by: i32) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let field = _mm256_srl_epi32(v, _mm_cvtsi32_si128(shift));
            _mm256_add_epi32(_mm256_and_si256(field, _mm256_set1_epi32(mask)), _mm256_set1_epi32(by))
        }
    }

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
    unsafe fn byte_scale(v: __m256i, i: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let first = _mm_setr_epi32(
                0x8000_8000_u32.cast_signed(),
                0x8004_8004_u32.cast_signed(),
                0x8008_8008_u32.cast_signed(),
                0x800c_800c_u32.cast_signed(),
            );
            let places = _mm256_add_epi8(
                _mm256_broadcastsi128_si256(first),
                _mm256_set1_epi32(i as i32 * 0x0001_0001),
            );
            _mm256_shuffle_epi8(v, places)
        }
    }

    #[inline(always)]
    unsafe fn dot8<const T: usize>(w: &[__m256i; 8], x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::dot8(w, x) }
    }

    #[inline(always)]
    unsafe fn dot4<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::dot4(w, bias, x) }
    }

    #[inline(always)]
    unsafe fn dot5<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::dot5(w, bias, x) }
    }

    #[inline(always)]
    unsafe fn scaled_dot4<const T: usize>(w: &[__m256i; 8], scale: __m256i, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::scaled_dot4(w, scale, x) }
    }

    #[inline(always)]
    unsafe fn scaled_dot5<const T: usize>(w: &[__m256i; 8], scale: __m256i, x: &[X; T]) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::scaled_dot5(w, scale, x) }
    }

    #[inline(always)]
    unsafe fn scaled_dot6<const T: usize>(
        w: &[__m256i; 8],
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::scaled_dot6(w, scales, x) }
    }

    #[inline(always)]
    unsafe fn biased_dot5<const T: usize>(
        w: &[__m256i; 8],
        bias: i32,
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::biased_dot5(w, bias, scales, x) }
    }

    #[inline(always)]
    unsafe fn biased_dot7<const T: usize>(
        w: &[__m256i; 8],
        bias: i32,
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::biased_dot7(w, bias, scales, x) }
    }

    #[inline(always)]
    unsafe fn scaled_dot8<const T: usize>(
        w: &[__m256i; 8],
        scales: &[__m256i; 2],
        x: &[X; T],
    ) -> [__m256i; T] {
        // SAFETY: the caller's promise.
        unsafe { D::scaled_dot8(w, scales, x) }
    }

    #[inline(always)]
    unsafe fn half_dots5<const T: usize>(w: &[__m256i; 8], bias: i32, x: &[X; T]) -> [[__m256i; T]; 2] {
        // SAFETY: the caller's promise.
        unsafe { D::half_dots5(w, bias, x) }
    }

    #[inline(always)]
    unsafe fn zeros() -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn negative_product(a: __m256, b: __m256i) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_xor_ps(_mm256_mul_ps(a, _mm256_cvtepi32_ps(b)), _mm256_set1_ps(-0.0)) }
    }

    #[inline(always)]
    unsafe fn negative(a: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_xor_ps(a, _mm256_set1_ps(-0.0)) }
    }

    #[inline(always)]
    unsafe fn product(a: __m256, b: __m256i) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_mul_ps(a, _mm256_cvtepi32_ps(b)) }
    }

    #[inline(always)]
    unsafe fn half_e8m0(e: __m256i) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
            let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
            let is_normal = _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1));
            _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, is_normal))
        }
    }

    #[inline(always)]
    unsafe fn half_e4m3(bits: __m256i) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let exponent = _mm256_and_si256(_mm256_srli_epi32::<3>(bits), _mm256_set1_epi32(15));
            let is_normal = _mm256_cmpgt_epi32(exponent, _mm256_setzero_si256());
            // An integer of 4 bits times a power of two, of which subnormal numbers have the smallest.
            let hidden = _mm256_and_si256(is_normal, _mm256_set1_epi32(8));
            let integer = _mm256_or_si256(_mm256_and_si256(bits, _mm256_set1_epi32(7)), hidden);
            let power = _mm256_add_epi32(
                _mm256_max_epi32(exponent, _mm256_set1_epi32(1)),
                _mm256_set1_epi32(127 - 11),
            );
            let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(power));
            let is_nan = _mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, _mm256_set1_epi32(0x7f)));
            _mm256_andnot_ps(is_nan, _mm256_mul_ps(_mm256_cvtepi32_ps(integer), power))
        }
    }

    #[inline(always)]
    unsafe fn add_scaled(d: __m256, dx: f32, isum: __m256i, acc: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(dx)), _mm256_cvtepi32_ps(isum), acc) }
    }

    #[inline(always)]
    unsafe fn fma(m: __m256, x: f32, acc: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(m, _mm256_set1_ps(x), acc) }
    }

    #[inline(always)]
    unsafe fn add_minimum(m: __m256, dx: f32, x: &X, acc: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let sum = _mm256_madd_epi16(both_sums(x), _mm256_set1_epi16(1));
            let sum = _mm256_mul_ps(_mm256_set1_ps(dx), _mm256_cvtepi32_ps(sum));
            _mm256_fmadd_ps(m, sum, acc)
        }
    }

    #[inline(always)]
    unsafe fn add_minima(m: [__m256; 2], dx: f32, x: &X, mut acc: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let both = both_sums(x);
            let sums = [_mm256_madd_epi16(both, _mm256_set1_epi32(1)), _mm256_srai_epi32::<16>(both)];
            for (m, sum) in m.into_iter().zip(sums) {
                acc = _mm256_fmadd_ps(m, _mm256_mul_ps(_mm256_set1_ps(dx), _mm256_cvtepi32_ps(sum)), acc);
            }
            acc
        }
    }

    #[inline(always)]
    unsafe fn sum(a: __m256, b: __m256) -> [f32; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [0.0; 8];
            store(&mut sums, _mm256_add_ps(a, b));
            sums
        }
    }
}
