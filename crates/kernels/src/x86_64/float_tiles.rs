//! Rows times several tokens in f32, in tiles of which all that is read again lies in the first-level cache.
//!
//! In: rows of floats, or of any format, which are dequantized then; the tokens' activations. Out: their products.
//!
//! A tile of sums in registers meets a stretch of columns; then it is put away, the next rows come, and the activations are
//! where they were. Sums go on where they were put away, column after column, so each of the 16 lanes adds up in the order
//! of the contract, and nothing is rounded in between. What is a level's and a format's own is the [`RegisterTile`].

use super::avx2::dequantize_row;
use super::avx2::lanes::fold_four;
use super::avx2::stored::{Bf16, F16, F32, Stored};
use super::source::fetch;
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::{Format, Matrix};
use core::ops::Range;

/// What sums 16 columns.
pub type Sixteen = [f32; 16];
/// Half of 16 columns of a token.
pub type Eight = [f32; 8];

/// The rows of a tile.
pub const TILE_ROWS: usize = 4;
/// The tokens of a tile.
pub const TOKENS: usize = 6;
/// Times 16 columns in a stretch, whose activations take most of the first-level cache.
pub const STRETCH: usize = 64;
/// Rows at a time. Of formats that are dequantized there are as many as a tile has.
const ROWS: usize = 96;
/// So many rows ahead memory is asked for the next ones, as long as the first tokens meet them.
const AHEAD: usize = 2 * TILE_ROWS;

/// The lines that matrices of so many columns take: the activations at hand, and the sums of rows or, of fewer rows, the
/// weights too.
pub const fn lines(cols: usize) -> usize {
    let dequantized = TILE_ROWS * TOKENS + (TILE_ROWS * 4 * cols).div_ceil(Line::BYTES);
    let sums = if dequantized > ROWS * TOKENS { dequantized } else { ROWS * TOKENS };
    STRETCH * TOKENS + sums
}

/// The registers of a level.
pub trait Registers {
    /// So many tokens lie side by side in the activations at hand, for each 16 columns, and all of a stretch before the next
    /// ones; if not all of a tile do, then first the first halves of 16 columns, and behind them all second ones.
    const ABREAST: usize;

    /// Adds to the sums, row by row those of each token, the products of so many times 16 columns, not 0: of each row from
    /// where it stands, and of the activations at hand of so many tokens at least. There are no sums yet if they are not to
    /// `go_on`.
    ///
    /// # Safety
    /// The CPU has the level's features, and all of that is there.
    unsafe fn add<S: Stored>(
        rows: [*const u8; TILE_ROWS],
        at_hand: (*const Eight, usize),
        steps: usize,
        sums: *mut Sixteen,
        go_on: bool,
    );
}

/// [`Registers`] for a format, so that the walk is there once.
#[derive(Clone, Copy, Debug)]
pub struct RegisterTile {
    /// See [`Registers::ABREAST`].
    abreast: usize,
    /// See [`Stored::IN_TURNS`].
    in_turns: bool,
    add: unsafe fn([*const u8; TILE_ROWS], (*const Eight, usize), usize, *mut Sixteen, bool),
}

impl RegisterTile {
    /// The tile for rows of a format, which are floats of 4 bytes if it is none of floats.
    pub fn of<R: Registers>(format: Format) -> Self {
        match format {
            Format::F16 => Self::stored::<R, F16>(),
            Format::BF16 => Self::stored::<R, Bf16>(),
            _ => Self::stored::<R, F32>(),
        }
    }

    fn stored<R: Registers, S: Stored>() -> Self {
        let in_turns = R::ABREAST < TOKENS && S::IN_TURNS;
        Self { abreast: R::ABREAST, in_turns, add: R::add::<S> }
    }

    /// Brings a stretch of one of the tile's tokens to hand, and asks for what is brought next, as long.
    fn bring(&self, t: usize, x: &[Sixteen], next: &[Sixteen], at_hand: &mut [Eight]) {
        fetch(next.as_ptr().cast(), size_of_val(next));
        if self.abreast == TOKENS {
            for (x, to) in x.iter().zip(at_hand.chunks_exact_mut(2 * TOKENS)) {
                to[2 * t].copy_from_slice(&x[..8]);
                to[2 * t + 1].copy_from_slice(&x[8..]);
            }
            return;
        }
        let (first, second) = at_hand.split_at_mut(STRETCH * TOKENS);
        let (from, t) = (t / self.abreast * self.abreast * STRETCH, t % self.abreast);
        let first = first[from..].chunks_exact_mut(self.abreast);
        let second = second[from..].chunks_exact_mut(self.abreast);
        for (x, (first, second)) in x.iter().zip(first.zip(second)) {
            let (quarters, _) = x.as_chunks::<4>();
            let (b, c) = if self.in_turns { (2, 1) } else { (1, 2) };
            first[t][..4].copy_from_slice(&quarters[0]);
            first[t][4..].copy_from_slice(&quarters[b]);
            second[t][..4].copy_from_slice(&quarters[c]);
            second[t][4..].copy_from_slice(&quarters[3]);
        }
    }
}

/// Rows of a matrix of any format times several tokens, by tiles for that format.
///
/// # Panics
/// If columns are no multiple of 16, or `scratch` is smaller than [`lines`] says.
///
/// # Safety
/// The CPU has the features of the tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn tiled_rows(
    tile: RegisterTile,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &[f32],
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let (x, rest) = x.as_chunks::<16>();
    let (columns, tokens) = (matrix.cols() / 16, out.tokens());
    assert!(rest.is_empty() && x.len() == tokens * columns, "whole 16 columns of each token");
    // A stretch of a token. Past the last one it stands in again; its surplus results are dropped.
    let stretch = |token: usize, from: usize| {
        &x[token.min(tokens - 1) * columns + from..][..STRETCH.min(columns - from)]
    };
    let is_float = matrix.format().is_float();
    let at_once = if is_float { ROWS } else { TILE_ROWS };
    let (at_hand, scratch) = carve::<Eight>(scratch, 2 * STRETCH * TOKENS);
    let (sums, scratch) = carve::<Sixteen>(scratch, at_once * TOKENS);
    let (weights, _) = carve::<f32>(scratch, if is_float { 0 } else { TILE_ROWS * matrix.cols() });
    let first_row = rows.start;
    for start in rows.clone().step_by(at_once) {
        let count = at_once.min(rows.end - start);
        let bytes: &[u8] = if is_float {
            matrix.successive_rows(start..start + count)
        } else {
            for row in 0..count {
                dequantize_row(matrix, start + row, &mut weights[row * matrix.cols()..][..matrix.cols()]);
            }
            bytemuck::cast_slice(&weights[..count * matrix.cols()])
        };
        let row_bytes = bytes.len() / count;
        for first in (0..tokens).step_by(TOKENS) {
            let here = TOKENS.min(tokens - first);
            for from in (0..columns).step_by(STRETCH) {
                let steps = STRETCH.min(columns - from);
                let is_last = from + steps == columns;
                let next = if is_last { (first + TOKENS, 0) } else { (first, from + steps) };
                for t in 0..TOKENS {
                    tile.bring(t, stretch(first + t, from), stretch(next.0 + t, next.1), at_hand);
                }
                let bytes = &bytes[from * (row_bytes / columns)..];
                for (row, sums) in
                    (0..count).step_by(TILE_ROWS).zip(sums.chunks_exact_mut(TILE_ROWS * TOKENS))
                {
                    // Past the last row it stands in again, too.
                    let rows: [_; TILE_ROWS] =
                        core::array::from_fn(|n| bytes[(row + n).min(count - 1) * row_bytes..].as_ptr());
                    if is_float && first == 0 {
                        for row in rows {
                            fetch(row.wrapping_add(AHEAD * row_bytes), steps * (row_bytes / columns));
                        }
                    }
                    // SAFETY: the caller's promise; each row has `steps` times 16 columns from there on, and so many are
                    // at hand of each token.
                    unsafe { (tile.add)(rows, (at_hand.as_ptr(), here), steps, sums.as_mut_ptr(), from > 0) };
                    if !is_last {
                        continue;
                    }
                    let to = start - first_row + row..start - first_row + count.min(row + TILE_ROWS);
                    for t in 0..here {
                        let lanes = core::array::from_fn(|n| &sums[n * TOKENS + t]);
                        let folded =
                            if tile.in_turns { fold_four::<true>(lanes) } else { fold_four::<false>(lanes) };
                        out.token(first + t)[to.clone()].copy_from_slice(&folded[..to.len()]);
                    }
                }
            }
        }
    }
}
