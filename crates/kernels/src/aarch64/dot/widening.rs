//! Products of 16 bits, added in pairs: level NEON.

use super::{Dot, Rows, Weights, Words, fold, transpose};
use core::arch::{aarch64::*, asm};

/// Widening multiplications: eight products an instruction, of 16 bits.
pub struct Widening;

/// Each row's 32 narrow products, added so far that eight sums of a row are left.
#[inline]
#[target_feature(enable = "neon")]
fn narrow_sums([w0, w1]: Weights, [x0, x1]: Weights) -> int16x8_t {
    let sums = half_sums(w0, x0);
    smlal2(smlal(sums, w1, x1), w1, x1)
}

/// The products of 16 weights in eight sums of two: at most 2 * 128 * 127, which fits.
#[inline]
#[target_feature(enable = "neon")]
fn half_sums(w: int8x16_t, x: int8x16_t) -> int16x8_t {
    smlal2(smull(w, x), w, x)
}

/// The sums of four rows of which eight sums each are left. Before the last step a sum covers a quarter of
/// them: with narrow weights, 16 products of at most 16 * 127 or 8 of at most 32 * 127 fit 16 bits.
#[inline]
#[target_feature(enable = "neon")]
fn fold_narrow([a, b, c, d]: [int16x8_t; 4]) -> int32x4_t {
    vpaddlq_s16(vpaddq_s16(vpaddq_s16(a, b), vpaddq_s16(c, d)))
}

/// The same of weights in -63..=63, of which 4 products of at most 63 * 127 fit 16 bits.
#[inline]
#[target_feature(enable = "neon")]
fn fold_wide([a, b, c, d]: [int16x8_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddlq_s16(vpaddq_s16(a, b)), vpaddlq_s16(vpaddq_s16(c, d)))
}

/// Two rows in each vector, four sums for each.
type WordSums = [int16x8_t; 2];

/// The products of `N` words of four rows.
#[inline]
#[target_feature(enable = "neon")]
fn products<const N: usize>(words: &[int8x16_t], x: &[int8x16_t]) -> WordSums {
    let (mut low, mut high) = (smull(words[0], x[0]), smull2(words[0], x[0]));
    for i in 1..N {
        (low, high) = (smlal(low, words[i], x[i]), smlal2(high, words[i], x[i]));
    }
    [low, high]
}

impl Dot for Widening {
    type Single = Self;
    /// Each word of activations, four times over.
    type Spread = Words;
    const WIDE: bool = true;
    const SHORT: bool = true;
    const PREFETCH: bool = true;
    const TALL: usize = 2;
    const PAIRS: bool = false;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn rows(rows: &Rows, x: Weights, narrow: bool) -> int32x4_t {
        if narrow {
            return fold_narrow(rows.map(|row| narrow_sums(row, x)));
        }
        fold(rows.map(|[w0, w1]| vpadalq_s16(vpaddlq_s16(half_sums(w0, x[0])), half_sums(w1, x[1]))))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn row_halves(rows: &Rows, x: Weights) -> [int32x4_t; 2] {
        let half = |half: usize| fold_narrow(rows.map(|row| half_sums(row[half], x[half])));
        [half(0), half(1)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn wide_row_halves(rows: &Rows, x: Weights) -> [int32x4_t; 2] {
        let half = |half: usize| fold_wide(rows.map(|row| half_sums(row[half], x[half])));
        [half(0), half(1)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn spread(x: *const i8) -> Words {
        let (a, b, c, d, e, f, g, h);
        // SAFETY: it reads eight words of activations, aligned to nothing.
        unsafe {
            asm!(
                "ld1r {{{a:v}.4s}}, [{x}], #4",
                "ld1r {{{b:v}.4s}}, [{x}], #4",
                "ld1r {{{c:v}.4s}}, [{x}], #4",
                "ld1r {{{d:v}.4s}}, [{x}], #4",
                "ld1r {{{e:v}.4s}}, [{x}], #4",
                "ld1r {{{f:v}.4s}}, [{x}], #4",
                "ld1r {{{g:v}.4s}}, [{x}], #4",
                "ld1r {{{h:v}.4s}}, [{x}]",
                x = inout(reg) x => _,
                a = out(vreg) a, b = out(vreg) b, c = out(vreg) c, d = out(vreg) d,
                e = out(vreg) e, f = out(vreg) f, g = out(vreg) g, h = lateout(vreg) h,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        [a, b, c, d, e, f, g, h]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn words(start: int32x4_t, words: &Words, x: &Words, narrow: bool) -> int32x4_t {
        if narrow {
            // 16 products of at most 16 * 127 in a sum.
            let [low, high] = products::<8>(words, x);
            return vpadalq_s16(start, vpaddq_s16(low, high));
        }
        let [low, high] = products::<2>(words, x);
        let (mut low, mut high) = (vpaddlq_s16(low), vpaddlq_s16(high));
        for i in [2, 4, 6] {
            let sums = products::<2>(&words[i..], &x[i..]);
            (low, high) = (vpadalq_s16(low, sums[0]), vpadalq_s16(high, sums[1]));
        }
        vaddq_s32(start, vpaddq_s32(low, high))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn word_halves(words: &Words, x: &Words) -> [int32x4_t; 2] {
        let half = |from: usize| {
            // 8 products of at most 32 * 127 in a sum.
            let [low, high] = products::<4>(&words[from..], &x[from..]);
            vpaddlq_s16(vpaddq_s16(low, high))
        };
        [half(0), half(4)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_rows(rows: &Rows) -> [int8x16_t; 8] {
        let [a, b, c, d] = *rows;
        [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_words([a, b, c, d, e, f, g, h]: &Words) -> [int8x16_t; 8] {
        let ([i, j, k, l], [m, n, o, p]) = (transpose([*a, *b, *c, *d]), transpose([*e, *f, *g, *h]));
        [i, m, j, n, k, o, l, p]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_x<const TOKENS: usize>(x: [Weights; TOKENS]) -> [Weights; TOKENS] {
        x
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
        narrow: bool,
    ) -> [int32x4_t; TOKENS] {
        // SAFETY: the caller gives 128 packed weights.
        let rows = unsafe { load_rows(packed) };
        // SAFETY: NEON is there.
        x.map(|x| unsafe { Self::rows(&rows, x, narrow) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn tile_halves<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; TOKENS]; 2] {
        // SAFETY: the caller gives 128 packed weights, and NEON is there.
        unsafe { by_half(packed, x, |rows, x| Self::row_halves(rows, x)) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn wide_tile_halves<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; TOKENS]; 2] {
        // SAFETY: the caller gives 128 packed weights, and NEON is there.
        unsafe { by_half(packed, x, |rows, x| Self::wide_row_halves(rows, x)) }
    }
}

/// The sums that `halves` gives of packed rows and each token.
///
/// # Safety
/// `packed` must point at 128 weights.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn by_half<const TOKENS: usize>(
    packed: *const i8,
    x: &[Weights; TOKENS],
    halves: impl Fn(&Rows, Weights) -> [int32x4_t; 2],
) -> [[int32x4_t; TOKENS]; 2] {
    // SAFETY: as promised by the caller.
    let rows = unsafe { load_rows(packed) };
    let mut sums = [[vdupq_n_s32(0); TOKENS]; 2];
    for (i, x) in x.iter().enumerate() {
        [sums[0][i], sums[1][i]] = halves(&rows, *x);
    }
    sums
}

/// Four rows of 32 weights, one after another.
///
/// # Safety
/// `from` must point at 128 weights.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_rows(from: *const i8) -> Rows {
    // SAFETY: as promised by the caller.
    unsafe {
        let (low, high) = (vld1q_s8_x4(from), vld1q_s8_x4(from.add(64)));
        [[low.0, low.1], [low.2, low.3], [high.0, high.1], [high.2, high.3]]
    }
}

// As intrinsics, the compiler sees through these: it knows that nibbles are not negative and that the halves of some
// vectors are equal, and turns one instruction into two or three that are made for neither.

/// The products of the lower eight bytes.
#[inline]
#[target_feature(enable = "neon")]
fn smull(a: int8x16_t, b: int8x16_t) -> int16x8_t {
    let product;
    // SAFETY: NEON has the instruction, which touches no memory and no flags.
    unsafe {
        asm!(
            "smull {0:v}.8h, {1:v}.8b, {2:v}.8b",
            lateout(vreg) product, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    product
}

/// The products of the upper eight bytes.
#[inline]
#[target_feature(enable = "neon")]
fn smull2(a: int8x16_t, b: int8x16_t) -> int16x8_t {
    let product;
    // SAFETY: as above.
    unsafe {
        asm!(
            "smull2 {0:v}.8h, {1:v}.16b, {2:v}.16b",
            lateout(vreg) product, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    product
}

/// Adds the products of the lower eight bytes.
#[inline]
#[target_feature(enable = "neon")]
fn smlal(mut sum: int16x8_t, a: int8x16_t, b: int8x16_t) -> int16x8_t {
    // SAFETY: as above.
    unsafe {
        asm!(
            "smlal {0:v}.8h, {1:v}.8b, {2:v}.8b",
            inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Adds the products of the upper eight bytes.
#[inline]
#[target_feature(enable = "neon")]
fn smlal2(mut sum: int16x8_t, a: int8x16_t, b: int8x16_t) -> int16x8_t {
    // SAFETY: as above.
    unsafe {
        asm!(
            "smlal2 {0:v}.8h, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
