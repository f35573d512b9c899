//! Sixteen rows of a quantized matrix in the lanes of a vector.
//!
//! As at level AVX2, with dot products of four bytes in one instruction. It multiplies unsigned by signed bytes and
//! sums in i32, so that weights are stored unsigned, a constant too high, and that constant times the sum of the
//! activations is where each sum starts from.

use crate::x86_64::formats::quantized_rows;
use crate::x86_64::matmul::{Blocks, Lanes, X};
use core::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_loadu_si256, _mm256_setr_epi16,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castsi128_si512, _mm512_cvtepi32_epi16,
    _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_inserti32x4,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_or_si512, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_sll_epi32, _mm512_slli_epi16, _mm512_srai_epi32, _mm512_srl_epi16, _mm512_srl_epi32,
    _mm512_srli_epi32, _mm512_storeu_ps, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_ps, _mm512_xor_si512,
};

quantized_rows!("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", Avx512, 16, 1);

/// AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Debug)]
pub struct Avx512;

/// Adds Σ w·x over `N` dwords, from dword `first` of `x` on, to `starts`.
///
/// # Safety
/// As for [`Lanes`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot<const T: usize, const N: usize>(
    w: &[__m512i; N],
    x: &[X; T],
    first: usize,
    starts: [i32; T],
) -> [__m512i; T] {
    let mut isums = starts.map(|start| _mm512_set1_epi32(start));
    for (j, w) in w.iter().enumerate() {
        for (isums, x) in isums.iter_mut().zip(x) {
            // SAFETY: the caller's promise: 32 activations.
            let four = unsafe { x.q.add(4 * (first + j)).cast::<[u8; 4]>().read() };
            *isums = _mm512_dpbusd_epi32(*isums, *w, _mm512_set1_epi32(i32::from_le_bytes(four)));
        }
    }
    isums
}

impl Lanes<16> for Avx512 {
    const TOKENS: usize = 8;
    const SURPLUS8: u8 = 128;
    type I = __m512i;
    type F = __m512;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dwords(blocks: &Blocks<16>, at: usize) -> [__m512i; 4] {
        // SAFETY: the caller's promise; the loads need no alignment.
        let load = |r: usize| -> __m128i { unsafe { _mm_loadu_si128(blocks.row(r, at).cast()) } };
        let four = |r: usize| {
            let first = _mm512_castsi128_si512(load(r));
            let two = _mm512_inserti32x4::<1>(first, load(r + 4));
            _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(two, load(r + 8)), load(r + 12))
        };
        let rows = [four(0), four(1), four(2), four(3)];
        let low = [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])];
        let high = [_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])];
        [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dword(blocks: &Blocks<16>, at: usize) -> __m512i {
        // SAFETY: the caller's promise.
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = core::array::from_fn(|r| unsafe {
            i32::from_le_bytes(blocks.row(r, at).cast::<[u8; 4]>().read())
        });
        _mm512_setr_epi32(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn half(blocks: &Blocks<16>, at: usize) -> __m512 {
        // SAFETY: the caller's promise.
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = core::array::from_fn(|r| unsafe {
            i16::from_le_bytes(blocks.row(r, at).cast::<[u8; 2]>().read())
        });
        _mm512_cvtph_ps(_mm256_setr_epi16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn load_dwords(from: *const u8) -> __m512i {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn load_halves(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn split_halves(dwords: __m512i) -> [__m512; 2] {
        [dwords, _mm512_srli_epi32::<16>(dwords)].map(|v| _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn bits(v: __m512i, shift: i32, mask: u8) -> __m512i {
        _mm512_and_si512(_mm512_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm512_set1_epi8(mask as i8))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn join(low: __m512i, high: __m512i) -> __m512i {
        _mm512_or_si512(low, _mm512_slli_epi16::<4>(high))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn byte(v: __m512i, i: usize) -> __m512i {
        let shifted = _mm512_srl_epi32(v, _mm_cvtsi32_si128(8 * i as i32));
        _mm512_and_si512(shifted, _mm512_set1_epi32(0xff))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn signed_byte(v: __m512i, i: usize) -> __m512i {
        _mm512_srai_epi32::<24>(_mm512_sll_epi32(v, _mm_cvtsi32_si128(24 - 8 * i as i32)))
    }

    /// Unsigned, 128 too high.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn weights8(w: __m512i) -> __m512i {
        _mm512_xor_si512(w, _mm512_set1_epi8(-128))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn scale(scale: __m512i) -> __m512i {
        scale
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dot8<const T: usize>(w: &[__m512i; 8], x: &[X; T]) -> [__m512i; T] {
        let starts = core::array::from_fn(|t| -128 * (x[t].sums[0] + x[t].sums[1]));
        // SAFETY: the caller's promise.
        unsafe { dot(w, x, 0, starts) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn dot4<const T: usize>(w: &[__m512i; 8], bias: i32, x: &[X; T]) -> [__m512i; T] {
        let starts = core::array::from_fn(|t| -bias * (x[t].sums[0] + x[t].sums[1]));
        // SAFETY: the caller's promise.
        unsafe { dot(w, x, 0, starts) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn scaled_dot4<const T: usize>(w: &[__m512i; 8], scale: __m512i, x: &[X; T]) -> [__m512i; T] {
        // SAFETY: the caller's promise.
        let isums = unsafe { dot(w, x, 0, [0; T]) };
        isums.map(|isum| _mm512_mullo_epi32(isum, scale))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn scaled_dot6<const T: usize>(
        w: &[__m512i; 8],
        scales: &[__m512i; 2],
        x: &[X; T],
    ) -> [__m512i; T] {
        let mut isums = [_mm512_setzero_si512(); T];
        for (h, (w, scale)) in w.as_chunks::<4>().0.iter().zip(scales).enumerate() {
            let starts = core::array::from_fn(|t| -32 * x[t].sums[h]);
            // SAFETY: the caller's promise.
            let halves = unsafe { dot(w, x, 4 * h, starts) };
            for (isums, half) in isums.iter_mut().zip(halves) {
                *isums = _mm512_add_epi32(*isums, _mm512_mullo_epi32(half, *scale));
            }
        }
        isums
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn negative_product(a: __m512, b: __m512i) -> __m512 {
        _mm512_xor_ps(_mm512_mul_ps(a, _mm512_cvtepi32_ps(b)), _mm512_set1_ps(-0.0))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn add_scaled(d: __m512, dx: f32, isum: __m512i, acc: __m512) -> __m512 {
        _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(dx)), _mm512_cvtepi32_ps(isum), acc)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fma(m: __m512, x: f32, acc: __m512) -> __m512 {
        _mm512_fmadd_ps(m, _mm512_set1_ps(x), acc)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn sum(a: __m512, b: __m512) -> [f32; 16] {
        let mut sums = [0.0; 16];
        // SAFETY: the array is 16 floats; the store needs no alignment.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_add_ps(a, b)) };
        sums
    }
}
