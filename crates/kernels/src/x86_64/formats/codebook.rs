//! Formats of 256 weights that are looked up in codebooks: row by row, and only then in lanes.
//!
//! A look-up is a load that depends on the weights, and no vector of rows makes it cheaper. So each row is decoded by
//! itself: first what a block says of all its weights, many at a time (numbers of entries, signs, scales: [`Row`]), then
//! 32 weights to a vector. That leaves four or eight loads from the book for each, which bound the speed, and five
//! instructions for 32 signs. Eight rows meet the token side by side; their sums are folded together. All of it is
//! AVX2: the levels above have nothing that would make a look-up faster, and share it.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]
#![allow(clippy::wildcard_imports, reason = "a kernel uses many intrinsics")]

use crate::activations::Quantized;
use crate::codebooks::{IQ1, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};
use crate::split::Tile;
use crate::x86_64::kinds::kind_of;
use crate::x86_64::matmul::{Lanes, PartOfLanes, hidden};
use crate::x86_64::source::{AHEAD, Blocks, fetch, side_by_side};
use crate::{Format, Matrix};
use core::arch::asm;
use core::arch::x86_64::*;
use core::ops::Range;

/// The parts of a block.
const PARTS: usize = 8;
/// The rows that meet a token together.
const TOGETHER: usize = 8;

/// How much too high the weights of `IQ1` are made, so that none is negative.
const ABOVE: i8 = kind_of(Format::IQ1_S).surplus(0) as i8;

/// A block of a row: what says which weights it has.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Row {
    /// The entries of the book, 4 or 8 for each part; all of them are in the book.
    entries: [u16; 64],
    /// Of each part: the signs of 32 weights, a bit each; in `IQ1` four times -1 or 1, to be added to 8 weights each, and
    /// [`ABOVE`] with it.
    signs: [u32; PARTS],
    /// Of each part: the integer scales of both halves, which are `2 s + 1`.
    scales: [[u8; 2]; PARTS],
    d: f32,
}

impl Row {
    const ZERO: Self = Self { entries: [0; 64], signs: [0; PARTS], scales: [[0; 2]; PARTS], d: 0.0 };
}

/// How the entries of a book become weights.
trait Book {
    /// The 32 weights of part `part` without their signs, and these; or weights that are [`ABOVE`] too high.
    ///
    /// # Safety
    /// The CPU has AVX2; `book` holds all entries of the row.
    unsafe fn weights(book: *const u8, row: &Row, part: usize) -> (__m256i, Option<__m256i>);
}

/// Entries of eight weights, and signs.
struct Eights;
/// Entries of four weights, and signs.
struct Fours;
/// Entries of eight weights, and something to be added.
struct Shifted;

/// Four entries of eight weights.
///
/// # Safety
/// As for [`Book`].
#[inline(always)]
unsafe fn eights(book: *const u8, row: &Row, part: usize) -> __m256i {
    let entries = &row.entries[4 * part..][..4];
    // SAFETY: the caller's promise; loads need no alignment.
    unsafe {
        let at = |l: usize| book.add(8 * hidden(usize::from(entries[l])));
        let low = _mm_unpacklo_epi64(_mm_loadl_epi64(at(0).cast()), _mm_loadl_epi64(at(1).cast()));
        let high = _mm_unpacklo_epi64(_mm_loadl_epi64(at(2).cast()), _mm_loadl_epi64(at(3).cast()));
        _mm256_set_m128i(high, low)
    }
}

/// Each of four bytes of a word to eight bytes.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn spread(word: u32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let places = _mm256_setr_epi8(
            0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3,
        );
        _mm256_shuffle_epi8(_mm256_set1_epi32(word.cast_signed()), places)
    }
}

/// The signs of a part: -1 where a bit is set, otherwise 1.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn signs(row: &Row, part: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
        let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread(row.signs[part]), bit), bit);
        _mm256_or_si256(is_set, _mm256_set1_epi8(1))
    }
}

impl Book for Eights {
    #[inline(always)]
    unsafe fn weights(book: *const u8, row: &Row, part: usize) -> (__m256i, Option<__m256i>) {
        // SAFETY: the caller's promise.
        unsafe { (eights(book, row, part), Some(signs(row, part))) }
    }
}

impl Book for Fours {
    #[inline(always)]
    unsafe fn weights(book: *const u8, row: &Row, part: usize) -> (__m256i, Option<__m256i>) {
        let entries = &row.entries[8 * part..][..8];
        // SAFETY: the caller's promise; loads need no alignment.
        unsafe {
            // Nothing is read ahead of here: with the entries of several rows at once, more than half of the loads would be
            // of what had to be put off.
            asm!("");
            let at = |l: usize| book.add(4 * hidden(usize::from(entries[l]))).cast::<i32>().read_unaligned();
            let weights = _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
            (weights, Some(signs(row, part)))
        }
    }
}

impl Book for Shifted {
    #[inline(always)]
    unsafe fn weights(book: *const u8, row: &Row, part: usize) -> (__m256i, Option<__m256i>) {
        // SAFETY: the caller's promise.
        unsafe { (_mm256_add_epi8(eights(book, row, part), spread(row.signs[part])), None) }
    }
}

/// Rows of a matrix with a codebook times the only token.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn decode_rows(matrix: &Matrix<'_>, rows: Range<usize>, x: &Quantized<'_>, out: Tile<'_>) {
    match matrix.format() {
        Format::IQ1_S | Format::IQ1_M => rows_of::<Shifted>(matrix, rows, x, out),
        Format::IQ3_XXS | Format::IQ3_S => rows_of::<Fours>(matrix, rows, x, out),
        _ => rows_of::<Eights>(matrix, rows, x, out),
    }
}

/// As [`decode_rows`], for a kind of book.
#[target_feature(enable = "avx2,fma,f16c")]
fn rows_of<B: Book>(matrix: &Matrix<'_>, rows: Range<usize>, x: &Quantized<'_>, mut out: Tile<'_>) {
    let (format, cols) = (matrix.format(), matrix.cols());
    assert!(x.q.len() == cols && x.d.len() == cols / 32 && out.tokens() == 1, "one token");
    assert!(cols.is_multiple_of(32 * PARTS), "whole blocks");
    let book = book(format);
    let mut decoded = [Row::ZERO; TOGETHER];
    let end = matrix.bytes().as_ptr().wrapping_add(rows.end * matrix.row_bytes());
    let mut start = rows.start;
    while start < rows.end {
        let (mut blocks, lanes) = side_by_side::<TOGETHER>(matrix, start..rows.end);
        // What the rows after these begin with, as in `stream`.
        let mut ahead = blocks.base.wrapping_add(TOGETHER * matrix.row_bytes() + AHEAD);
        let mut acc = _mm256_setzero_ps();
        let (parts, _) = x.q.as_chunks::<32>();
        for (x, dx) in parts.as_chunks::<PARTS>().0.iter().zip(x.d.as_chunks::<PARTS>().0) {
            // SAFETY: the blocks of whole rows.
            let (d, scales) = unsafe {
                fetch(ahead.min(end), TOGETHER * format.block_bytes());
                ahead = ahead.wrapping_add(TOGETHER * format.block_bytes());
                read(format, blocks.base, blocks.stride, &mut decoded);
                scales_of(&decoded)
            };
            for (part, (x, dx)) in x.iter().zip(dx).enumerate() {
                // SAFETY: the entries are the book's; 32 activations.
                let isum = unsafe {
                    let x = _mm256_loadu_si256(x.as_ptr().cast());
                    let pairs = eight!(R => {
                        // Weights are at most 62, so that four products fit an i16.
                        let (weights, signs) = B::weights(book, &decoded[R], part);
                        if let Some(signs) = signs {
                            _mm256_maddubs_epi16(weights, _mm256_sign_epi8(x, signs))
                        } else {
                            let surplus = _mm256_maddubs_epi16(_mm256_set1_epi8(ABOVE), x);
                            _mm256_sub_epi16(_mm256_maddubs_epi16(weights, x), surplus)
                        }
                    });
                    let [low, high] = fold(pairs);
                    let [low_scales, high_scales] = scales[part];
                    _mm256_add_epi32(
                        _mm256_mullo_epi32(low, low_scales),
                        _mm256_mullo_epi32(high, high_scales),
                    )
                };
                acc = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(*dx)), _mm256_cvtepi32_ps(isum), acc);
            }
            blocks.base = blocks.base.wrapping_add(format.block_bytes());
        }
        let mut sums = [0.0; TOGETHER];
        // The second accumulator stayed 0. SAFETY: room for 8 numbers.
        unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), _mm256_add_ps(acc, _mm256_setzero_ps())) };
        out.token(0)[start - rows.start..][..lanes.len()].copy_from_slice(&sums[lanes.clone()]);
        start += lanes.len();
    }
}

/// The sums of the first and of the last 16 products of eight rows, which come as sums of pairs.
#[inline]
#[target_feature(enable = "avx2")]
fn fold([a, b, c, d, e, f, g, h]: [__m256i; 8]) -> [__m256i; 2] {
    // Two sums of four products in each half of a row.
    let two = |a, b| {
        let fours = _mm256_add_epi16(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        _mm256_madd_epi16(fours, _mm256_set1_epi16(1))
    };
    let four = |a, b| _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let first = four(two(a, b), two(c, d));
    let last = four(two(e, f), two(g, h));
    [_mm256_permute2x128_si256::<0x20>(first, last), _mm256_permute2x128_si256::<0x31>(first, last)]
}

/// The scales of eight rows.
#[inline]
#[target_feature(enable = "avx2")]
fn scales_of(rows: &[Row; TOGETHER]) -> (__m256, [[__m256i; 2]; PARTS]) {
    let [a, b, c, e, f, g, h, i] = rows.each_ref().map(|row| row.d);
    let d = _mm256_setr_ps(a, b, c, e, f, g, h, i);
    // Sixteen bytes of each of eight rows change places with eight of each of sixteen scales.
    // SAFETY: 16 bytes; the load needs no alignment.
    let mut bytes = rows.each_ref().map(|row| unsafe { _mm_loadu_si128(row.scales.as_ptr().cast()) });
    for _ in 0..3 {
        let [a, b, c, d, e, f, g, h] = bytes;
        bytes = [
            _mm_unpacklo_epi8(a, e),
            _mm_unpackhi_epi8(a, e),
            _mm_unpacklo_epi8(b, f),
            _mm_unpackhi_epi8(b, f),
            _mm_unpacklo_epi8(c, g),
            _mm_unpackhi_epi8(c, g),
            _mm_unpacklo_epi8(d, h),
            _mm_unpackhi_epi8(d, h),
        ];
    }
    let scales =
        bytes.map(|both| [_mm256_cvtepu8_epi32(both), _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(both, both))]);
    (d, scales)
}

/// As [`unpack`](crate::x86_64::unpacked::unpack), for any format with a codebook.
///
/// # Safety
/// As there.
#[inline(always)]
pub unsafe fn unpack<L: Lanes<N>, const N: usize>(
    format: Format,
    blocks: &mut Blocks<N>,
    count: usize,
    parts: *mut PartOfLanes<L, N>,
) {
    let mut decoded = [Row::ZERO; N];
    let mut weights = [[0_u8; 32]; N];
    let mut scales = [[0_i32; N]; 2];
    for first in (0..count).step_by(PARTS) {
        // SAFETY: the caller's promise: `blocks` stand at a block of each row; there is room for its parts.
        unsafe {
            read(format, blocks.base, blocks.stride, &mut decoded);
            for part in 0..PARTS {
                let part = hidden(part);
                write_out(format, &decoded, part, &mut weights);
                for (r, row) in decoded.iter().enumerate() {
                    [scales[0][r], scales[1][r]] = row.scales[part].map(i32::from);
                }
                let weights = Blocks::<N> { base: weights.as_ptr().cast(), stride: 32 };
                let ([a, b, c, d], [e, f, g, h]) = (L::dwords(&weights, 0), L::dwords(&weights, 16));
                let w = [a, b, c, d, e, f, g, h];
                let to = parts.add(first + part);
                (&raw mut (*to).w).write(w);
                (&raw mut (*to).scales[0]).write(L::scale(L::load_dwords(scales[0].as_ptr().cast())));
                (&raw mut (*to).scales[1]).write(L::scale(L::load_dwords(scales[1].as_ptr().cast())));
                let mut d = [0.0; N];
                for (d, row) in d.iter_mut().zip(&decoded) {
                    *d = row.d;
                }
                (&raw mut (*to).d[0]).write(L::load_floats(d.as_ptr()));
            }
            blocks.base = blocks.base.wrapping_add(format.block_bytes());
        }
    }
}

/// The weights of a part of some rows, as much too high as their kind says.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn write_out(format: Format, rows: &[Row], part: usize, to: &mut [[u8; 32]]) {
    let book = book(format);
    let surplus = kind_of(format).surplus(0);
    for (row, to) in rows.iter().zip(to) {
        // SAFETY: the entries are the book's; room for 32 bytes.
        unsafe {
            let weights = match format {
                Format::IQ1_S | Format::IQ1_M => Shifted::weights(book, row, part),
                Format::IQ3_XXS | Format::IQ3_S => Fours::weights(book, row, part),
                _ => Eights::weights(book, row, part),
            };
            let weights = match weights {
                (weights, Some(signs)) => {
                    _mm256_add_epi8(_mm256_sign_epi8(weights, signs), _mm256_set1_epi8(surplus as i8))
                }
                (weights, None) => weights,
            };
            _mm256_storeu_si256(to.as_mut_ptr().cast(), weights);
        }
    }
}

/// The book of a format.
fn book(format: Format) -> *const u8 {
    match format {
        Format::IQ1_S | Format::IQ1_M => IQ1.entries.as_ptr().cast(),
        Format::IQ2_XXS => IQ2_XXS.entries.as_ptr().cast(),
        Format::IQ2_XS => IQ2_XS.entries.as_ptr().cast(),
        Format::IQ2_S => IQ2_S.entries.as_ptr().cast(),
        Format::IQ3_XXS => IQ3_XXS.entries.as_ptr().cast(),
        Format::IQ3_S => IQ3_S.entries.as_ptr().cast(),
        _ => unreachable!("no codebook"),
    }
}

/// Reads what a block of each of some rows says.
///
/// # Safety
/// The CPU has AVX2; there are the blocks, `stride` apart.
#[inline(never)]
#[target_feature(enable = "avx2")]
unsafe fn read(format: Format, first: *const u8, stride: usize, to: &mut [Row]) {
    for (r, to) in to.iter_mut().enumerate() {
        // SAFETY: the caller's promise; blocks are bytes.
        unsafe {
            let block = first.add(r * stride);
            match format {
                Format::IQ1_S => iq1_s(&*block.cast(), to),
                Format::IQ1_M => iq1_m(&*block.cast(), to),
                Format::IQ2_XXS => iq2_xxs(&*block.cast(), to),
                Format::IQ2_XS => iq2_xs(&*block.cast(), to),
                Format::IQ2_S => iq2_s(&*block.cast(), to),
                Format::IQ3_XXS => iq3_xxs(&*block.cast(), to),
                _ => iq3_s(&*block.cast(), to),
            }
        }
    }
}

/// `N` bytes at `at`.
#[inline(always)]
fn bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    *block[at..].first_chunk().expect("inside the block")
}

/// The half-precision number at `at`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn half(block: &[u8], at: usize) -> f32 {
    to_float(u16::from_le_bytes(bytes(block, at)))
}

/// A half-precision number in single precision.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn to_float(half: u16) -> f32 {
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(half))))
}

/// 16 bytes at `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn sixteen(block: &[u8], at: usize) -> __m128i {
    let bytes: [u8; 16] = bytes(block, at);
    // SAFETY: 16 bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// 32 bytes at `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn thirty_two(block: &[u8], at: usize) -> __m256i {
    let bytes: [u8; 32] = bytes(block, at);
    // SAFETY: 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

impl Row {
    /// Sets entries 16n.. .
    #[inline]
    #[target_feature(enable = "avx2")]
    fn set_entries(&mut self, n: usize, entries: __m256i) {
        let to = &mut self.entries[16 * n..][..16];
        // SAFETY: 16 numbers of 2 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), entries) };
    }

    /// Sets the signs of all parts.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn set_signs(&mut self, signs: __m256i) {
        // SAFETY: 8 words; the store needs no alignment.
        unsafe { _mm256_storeu_si256(self.signs.as_mut_ptr().cast(), signs) };
    }

    /// Sets the scales of all parts to `2 s + 1`, `s` in 16 bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn set_scales(&mut self, scales: __m128i) {
        let odd = _mm_or_si128(_mm_add_epi8(scales, scales), _mm_set1_epi8(1));
        // SAFETY: 16 bytes; the store needs no alignment.
        unsafe { _mm_storeu_si128(self.scales.as_mut_ptr().cast(), odd) };
    }
}

/// The low and the high half of each of eight bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(bytes: [u8; 8]) -> __m128i {
    // SAFETY: 8 bytes.
    let bytes = unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) };
    let both = _mm_unpacklo_epi8(bytes, _mm_srli_epi16::<4>(bytes));
    _mm_and_si128(both, _mm_set1_epi8(15))
}

/// The upper 4 bits of eight words, each twice.
#[inline]
#[target_feature(enable = "avx2")]
fn upper(words: __m256i) -> __m128i {
    let places = _mm256_setr_epi8(
        3, 3, 7, 7, 11, 11, 15, 15, -1, -1, -1, -1, -1, -1, -1, -1, 3, 3, 7, 7, 11, 11, 15, 15, -1, -1, -1,
        -1, -1, -1, -1, -1,
    );
    let bytes = _mm256_shuffle_epi8(words, places);
    let bytes = _mm_unpacklo_epi64(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
    _mm_and_si128(_mm_srli_epi16::<4>(bytes), _mm_set1_epi8(15))
}

/// Seven signs in each byte, and the eighth that makes the number of set ones even.
#[inline]
#[target_feature(enable = "avx2")]
fn even_signs(seven: __m256i) -> __m256i {
    // The parity of four bits, as the eighth bit.
    let parity = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0,
    ));
    let four = _mm256_xor_si256(seven, _mm256_and_si256(_mm256_srli_epi16::<4>(seven), _mm256_set1_epi8(7)));
    _mm256_or_si256(seven, _mm256_shuffle_epi8(parity, _mm256_and_si256(four, _mm256_set1_epi8(15))))
}

/// The signs in eight words of four times seven.
#[inline]
#[target_feature(enable = "avx2")]
fn sevens(words: __m256i) -> __m256i {
    let byte = |shifted, byte: i32| _mm256_and_si256(shifted, _mm256_set1_epi32(127 << (8 * byte)));
    let low = _mm256_or_si256(byte(words, 0), byte(_mm256_slli_epi32::<1>(words), 1));
    let high =
        _mm256_or_si256(byte(_mm256_slli_epi32::<2>(words), 2), byte(_mm256_slli_epi32::<3>(words), 3));
    even_signs(_mm256_or_si256(low, high))
}

#[target_feature(enable = "avx2,f16c")]
fn iq1_s(block: &[u8; 50], to: &mut Row) {
    to.d = half(block, 0) / 8.0;
    let high = sixteen(block, 34);
    for n in 0..2 {
        // Of each of four parts its 16 bits four times, and in each the 3 bits of another entry.
        let places = _mm256_setr_epi8(
            0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 4, 5, 4, 5, 4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7,
        );
        let places = _mm256_add_epi8(places, _mm256_set1_epi8(8 * n as i8));
        let parts = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(high), places);
        let shifts = _mm256_set1_epi64x(1 << 9 | 1 << (6 + 16) | 1 << (3 + 32) | 1 << 48);
        let upper = _mm256_srli_epi16::<1>(_mm256_mullo_epi16(parts, shifts));
        let upper = _mm256_and_si256(upper, _mm256_set1_epi16(0x700));
        to.set_entries(n, _mm256_or_si256(_mm256_cvtepu8_epi16(sixteen(block, 2 + 16 * n)), upper));
    }
    // The top bit says that an eighth is to be taken off: -1 in four bytes instead of 1.
    let less = _mm256_srai_epi32::<31>(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(high)));
    to.set_signs(_mm256_add_epi8(_mm256_or_si256(less, _mm256_set1_epi8(1)), _mm256_set1_epi8(ABOVE)));
    let scales = _mm_and_si128(_mm_srli_epi16::<12>(high), _mm_set1_epi16(7));
    to.set_scales(_mm_or_si128(scales, _mm_slli_epi16::<8>(scales)));
}

#[target_feature(enable = "avx2,f16c")]
fn iq1_m(block: &[u8; 56], to: &mut Row) {
    let packed = u64::from_le_bytes(bytes(block, 48));
    let d = (packed >> 12 & 15) | (packed >> 24 & 0xf0) | (packed >> 36 & 0xf00) | (packed >> 48 & 0xf000);
    to.d = to_float(d as u16) / 8.0;
    for n in 0..2 {
        // Each of eight bytes twice, for two entries.
        let halves: [u8; 8] = bytes(block, 32 + 8 * n);
        // SAFETY: 8 bytes.
        let halves = unsafe { _mm_loadl_epi64(halves.as_ptr().cast()) };
        let twice = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(halves, halves));
        let upper = _mm256_mullo_epi16(twice, _mm256_set1_epi32(1 << 8 | 1 << (4 + 16)));
        let upper = _mm256_and_si256(upper, _mm256_set1_epi16(0x700));
        to.set_entries(n, _mm256_or_si256(_mm256_cvtepu8_epi16(sixteen(block, 16 * n)), upper));
    }
    // Bit 3 of each half of a byte says that an eighth is to be taken off: -1 instead of 1.
    let high = sixteen(block, 32);
    let low = _mm_slli_epi16::<4>(high);
    let both = _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high));
    let less = _mm256_cmpgt_epi8(_mm256_setzero_si256(), both);
    to.set_signs(_mm256_add_epi8(_mm256_or_si256(less, _mm256_set1_epi8(1)), _mm256_set1_epi8(ABOVE)));
    // Each of four words of 16 bits four times, and in each the 3 bits of another scale.
    let places = _mm256_setr_epi8(
        0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 4, 5, 4, 5, 4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7,
    );
    let words = _mm256_shuffle_epi8(_mm256_set1_epi64x(packed.cast_signed()), places);
    let shifts = _mm256_set1_epi64x(1 << 13 | 1 << (10 + 16) | 1 << (7 + 32) | 1 << (4 + 48));
    let scales = _mm256_srli_epi16::<13>(_mm256_mullo_epi16(words, shifts));
    to.set_scales(_mm_packus_epi16(_mm256_castsi256_si128(scales), _mm256_extracti128_si256::<1>(scales)));
}

#[target_feature(enable = "avx2,f16c")]
fn iq2_xxs(block: &[u8; 66], to: &mut Row) {
    to.d = half(block, 0) / 8.0;
    let mut words = [_mm256_setzero_si256(); 2];
    for (n, words) in words.iter_mut().enumerate() {
        // Four times four entries, then a word.
        let four = thirty_two(block, 2 + 32 * n);
        let sorted = _mm256_permutevar8x32_epi32(four, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
        to.set_entries(n, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(sorted)));
        *words = sorted;
    }
    let words = _mm256_permute2x128_si256::<0x31>(words[0], words[1]);
    to.set_signs(sevens(words));
    to.set_scales(upper(words));
}

#[target_feature(enable = "avx2,f16c")]
fn iq2_xs(block: &[u8; 74], to: &mut Row) {
    to.d = half(block, 0) / 8.0;
    let both = [thirty_two(block, 2), thirty_two(block, 34)];
    for (n, both) in both.iter().enumerate() {
        to.set_entries(n, _mm256_and_si256(*both, _mm256_set1_epi16(511)));
    }
    let seven = _mm256_packus_epi16(_mm256_srli_epi16::<9>(both[0]), _mm256_srli_epi16::<9>(both[1]));
    to.set_signs(even_signs(_mm256_permute4x64_epi64::<0b11_01_10_00>(seven)));
    to.set_scales(halves(bytes(block, 66)));
}

#[target_feature(enable = "avx2,f16c")]
fn iq2_s(block: &[u8; 82], to: &mut Row) {
    to.d = half(block, 0) / 8.0;
    let high = sixteen(block, 66);
    for n in 0..2 {
        // Of each of four parts its byte four times, and in each the 2 bits of another entry.
        let places = _mm256_setr_epi8(
            0, -1, 0, -1, 0, -1, 0, -1, 1, -1, 1, -1, 1, -1, 1, -1, 2, -1, 2, -1, 2, -1, 2, -1, 3, -1, 3, -1,
            3, -1, 3, -1,
        );
        let places = _mm256_or_si256(places, _mm256_set1_epi8(4 * n as i8));
        let parts = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(high), places);
        let shifts = _mm256_set1_epi64x(1 << 8 | 1 << (6 + 16) | 1 << (4 + 32) | 1 << (2 + 48));
        let upper = _mm256_and_si256(_mm256_mullo_epi16(parts, shifts), _mm256_set1_epi16(0x300));
        to.set_entries(n, _mm256_or_si256(_mm256_cvtepu8_epi16(sixteen(block, 2 + 16 * n)), upper));
    }
    to.set_signs(thirty_two(block, 34));
    to.set_scales(halves(bytes(block, 74)));
}

#[target_feature(enable = "avx2,f16c")]
fn iq3_xxs(block: &[u8; 98], to: &mut Row) {
    to.d = half(block, 0) / 4.0;
    for n in 0..4 {
        to.set_entries(n, _mm256_cvtepu8_epi16(sixteen(block, 2 + 16 * n)));
    }
    let words = thirty_two(block, 66);
    to.set_signs(sevens(words));
    to.set_scales(upper(words));
}

#[target_feature(enable = "avx2,f16c")]
fn iq3_s(block: &[u8; 110], to: &mut Row) {
    to.d = half(block, 0);
    let high = _mm256_broadcastsi128_si256(sixteen(block, 66));
    for n in 0..4 {
        // Of each of two parts its byte eight times, and in each the bit of another entry.
        let places = _mm256_setr_epi64x(0, 0, 0x0101_0101_0101_0101, 0x0101_0101_0101_0101);
        let places = _mm256_add_epi8(places, _mm256_set1_epi8(2 * n as i8));
        let bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);
        let is_set = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_shuffle_epi8(high, places), bit), bit);
        let upper = _mm256_and_si256(is_set, _mm256_set1_epi16(256));
        to.set_entries(n, _mm256_or_si256(_mm256_cvtepu8_epi16(sixteen(block, 2 + 16 * n)), upper));
    }
    to.set_signs(thirty_two(block, 74));
    // Each half of a byte is a part's, for both its halves.
    let [a, b, c, d] = bytes(block, 106);
    let scales = halves([a, b, c, d, 0, 0, 0, 0]);
    to.set_scales(_mm_unpacklo_epi8(scales, scales));
}
