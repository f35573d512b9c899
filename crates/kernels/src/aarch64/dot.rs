//! The ways to multiply bytes and add the products: widening multiplications, which every CPU has, `sdot` and `smmla`.
//!
//! All give exact integers, so they give the same ones. Four rows are multiplied at a time, and their sums end up
//! in one vector: what follows (scales, accumulation) then costs one instruction for four rows.

mod sdot;
mod smmla;
mod widening;

pub use sdot::{DotProduct, sdot_lane};
pub use smmla::MatrixProduct;
pub use widening::Widening;

use super::fours::Four;
use super::panel::{PanelBlock, TOKENS};
use super::rows::QUADS;
use core::arch::aarch64::*;

/// 32 weights of a row, or 32 activations.
pub type Weights = [int8x16_t; 2];
/// 32 weights of each of four rows, row by row.
pub type Rows = [Weights; 4];
/// 32 weights of each of four rows, word by word: vector i holds weights 4i..4i+4 of each row.
pub type Words = [int8x16_t; 8];

/// A way to multiply and add bytes.
///
/// `narrow` says that weights are in -16..=15, `halves` that they are in -32..=31: so sums stay in 16 bits for longer.
///
/// A tile is four rows by several tokens. Its sums are as many vectors as there are tokens, in an order of the
/// level's own: [`down`](Self::down) and [`across`](Self::across) bring what belongs to rows and to tokens into that
/// order, and [`by_token`](Self::by_token) leads out of it.
///
/// # Safety
/// Each method needs NEON, those of [`DotProduct`] and [`MatrixProduct`] also their instructions.
pub trait Dot {
    /// What multiplies one token alone.
    type Single: Dot;
    /// 32 activations in the form in which they meet [`Words`].
    type Spread: Copy;
    /// Whether that takes many registers.
    const WIDE: bool;
    /// Whether products are added in 16 bits, so that it matters how small weights are.
    const SHORT: bool = false;
    /// Whether weights are asked for ahead. The cores that have more than NEON follow one stream by themselves.
    const PREFETCH: bool;
    /// The vectors of four rows that a register tile holds.
    const TALL: usize;
    /// Whether the sums of a tile are of two rows and two tokens each, and tiles are of an even number of tokens.
    const PAIRS: bool;

    /// The dot products of four rows with 32 activations.
    unsafe fn rows(rows: &Rows, x: Weights, narrow: bool) -> int32x4_t;

    /// The dot products of four rows with the first and with the last 16 of 32 activations.
    unsafe fn row_halves(rows: &Rows, x: Weights) -> [int32x4_t; 2];

    /// As `row_halves`, of weights in -63..=63.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn wide_row_halves(rows: &Rows, x: Weights) -> [int32x4_t; 2] {
        // SAFETY: the same promises.
        unsafe { Self::row_halves(rows, x) }
    }

    /// Loads 32 activations.
    unsafe fn spread(x: *const i8) -> Self::Spread;

    /// As `rows`, of words, added to `start`.
    unsafe fn words(start: int32x4_t, words: &Words, x: &Self::Spread, narrow: bool) -> int32x4_t;

    /// As `row_halves`, of words.
    unsafe fn word_halves(words: &Words, x: &Self::Spread) -> [int32x4_t; 2];

    /// The weights of four rows in the order in which tiles read them.
    unsafe fn pack_rows(rows: &Rows) -> [int8x16_t; 8];

    /// The weights of four rows in the order in which tiles read them.
    unsafe fn pack_words(words: &Words) -> [int8x16_t; 8];

    /// The activations of a tile in the order in which it reads them.
    unsafe fn pack_x<const TOKENS: usize>(x: [Weights; TOKENS]) -> [Weights; TOKENS];

    /// The dot products of four packed rows with 32 activations of each token.
    unsafe fn tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
        narrow: bool,
    ) -> [int32x4_t; TOKENS];

    /// As `tile`, with the first and with the last 16 of 32 activations.
    unsafe fn tile_halves<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; TOKENS]; 2];

    /// As `tile_halves`, of weights in -63..=63.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn wide_tile_halves<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; TOKENS]; 2] {
        // SAFETY: the same promises.
        unsafe { Self::tile_halves(packed, x) }
    }

    /// The sums of products over all blocks of a panel without integer scales, of four tokens with as many blocks: a
    /// hand-written loop, for a level where the compiler does not find enough registers.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn full_tile(_panel: &[PanelBlock], _x: &[Four]) -> Option<[[float32x4_t; TOKENS]; QUADS]> {
        None
    }

    /// A value of each of four tokens in the order in which [`full_tile`](Self::full_tile) reads them.
    fn by_four(tokens: [f32; TOKENS]) -> [[f32; TOKENS]; 2] {
        [tokens; 2]
    }

    /// A value of each row: vector i of a tile meets the one numbered i modulo 2.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn down(rows: float32x4_t) -> [float32x4_t; 2] {
        [rows; 2]
    }

    /// A value of each token, as the vectors of a tile meet them.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn across<const TOKENS: usize>(tokens: [f32; TOKENS]) -> [float32x4_t; TOKENS] {
        tokens.map(|token| vdupq_n_f32(token))
    }

    /// As [`across`](Self::across), of values [`by_four`](Self::by_four).
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn across_four(values: &[[f32; TOKENS]; 2]) -> [float32x4_t; TOKENS] {
        // SAFETY: four values.
        let v = unsafe { vld1q_f32(values[0].as_ptr()) };
        [vdupq_laneq_f32::<0>(v), vdupq_laneq_f32::<1>(v), vdupq_laneq_f32::<2>(v), vdupq_laneq_f32::<3>(v)]
    }

    /// The vectors of a tile, one for each token, with a row in each lane.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn by_token<const TOKENS: usize>(tile: [float32x4_t; TOKENS]) -> [float32x4_t; TOKENS] {
        tile
    }
}

/// What sums begin with. Four are loaded by one instruction, where the vector units have enough to do.
static ZEROS: [[i32; 4]; 4] = [[0; 4]; 4];

/// The sums of four rows of which four sums each are left.
#[inline]
#[target_feature(enable = "neon")]
fn fold([a, b, c, d]: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
}

/// Words from rows, or rows (as the four quarters of each half) from words: four by four words change places.
#[inline]
#[target_feature(enable = "neon")]
fn transpose(from: [int8x16_t; 4]) -> [int8x16_t; 4] {
    let [a, b, c, d] = from.map(|v| vreinterpretq_s32_s8(v));
    let (ab0, ab1) = (vtrn1q_s32(a, b), vtrn2q_s32(a, b));
    let (cd0, cd1) = (vtrn1q_s32(c, d), vtrn2q_s32(c, d));
    let wide = |v: int32x4_t| vreinterpretq_s64_s32(v);
    [
        vtrn1q_s64(wide(ab0), wide(cd0)),
        vtrn1q_s64(wide(ab1), wide(cd1)),
        vtrn2q_s64(wide(ab0), wide(cd0)),
        vtrn2q_s64(wide(ab1), wide(cd1)),
    ]
    .map(|v| vreinterpretq_s8_s64(v))
}

/// Words from rows.
#[inline]
#[target_feature(enable = "neon")]
fn words_of([a, b, c, d]: &Rows) -> Words {
    let ([e, f, g, h], [i, j, k, l]) =
        (transpose([a[0], b[0], c[0], d[0]]), transpose([a[1], b[1], c[1], d[1]]));
    [e, f, g, h, i, j, k, l]
}
