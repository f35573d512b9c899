//! Rows times several tokens in f32, in tiles of which all that is read again lies in the first-level cache.
//!
//! In: rows of floats, or of any format, which are dequantized then; the tokens' activations. Out: their products.
//!
//! A tile of sums in registers meets a stretch of columns; then it is put away, the next rows come, and the activations are
//! where they were. Sums go on where they were put away, column after column, so each of the 16 lanes adds up in the order
//! of the contract, and nothing is rounded in between. What is a level's and a format's own is the [`RegisterTile`].

use super::avx2::dequantize_row;
use super::avx2::lanes::fold_eight;
use super::avx2::stored::{Bf16, F16, F32, Stored};
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::{Format, Matrix};
use core::ops::Range;

/// 16 columns of a token, or what sums them.
pub type Sixteen = [f32; 16];

/// The rows of a tile.
pub const TILE_ROWS: usize = 4;
/// The tokens of a tile, at most.
const TOKENS: usize = 6;
/// Times 16 columns in a stretch, whose activations take some half of the first-level cache.
const STRETCH: usize = 64;
/// Rows at a time. Of formats that are dequantized there are as many as a tile has.
const ROWS: usize = 96;

/// The lines that matrices of so many columns take: the activations at hand, and the sums of rows or, of fewer rows, the
/// weights too.
pub const fn lines(cols: usize) -> usize {
    let dequantized = TILE_ROWS * TOKENS + (TILE_ROWS * 4 * cols).div_ceil(Line::BYTES);
    let sums = if dequantized > ROWS * TOKENS { dequantized } else { ROWS * TOKENS };
    STRETCH * TOKENS + sums
}

/// The registers of a level, as a tile of [`TILE_ROWS`] rows.
pub trait Registers {
    /// The tokens of the tile.
    const TOKENS: usize;

    /// Adds to the sums, row by row those of each token, the products of so many times 16 columns, not 0: of each row from
    /// where it stands, and of the activations, where tokens lie side by side for each 16 columns.
    ///
    /// # Safety
    /// The CPU has the level's features, and all of that is there.
    unsafe fn add<S: Stored>(
        rows: [*const u8; TILE_ROWS],
        x: *const Sixteen,
        steps: usize,
        sums: *mut Sixteen,
    );
}

/// [`Registers`] for a format, so that the walk is there once.
#[derive(Clone, Copy, Debug)]
pub struct RegisterTile {
    tokens: usize,
    add: unsafe fn([*const u8; TILE_ROWS], *const Sixteen, usize, *mut Sixteen),
}

impl RegisterTile {
    /// The tile for rows of a format, which are floats of 4 bytes if it is none of floats.
    pub fn of<R: Registers>(format: Format) -> Self {
        let add = match format {
            Format::F16 => R::add::<F16>,
            Format::BF16 => R::add::<Bf16>,
            _ => R::add::<F32>,
        };
        Self { tokens: R::TOKENS, add }
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
    assert!(
        rest.is_empty() && x.len() == tokens * columns && tile.tokens <= TOKENS,
        "whole 16 columns of each token"
    );
    let is_float = matrix.format().is_float();
    let at_once = if is_float { ROWS } else { TILE_ROWS };
    let (at_hand, scratch) = carve::<Sixteen>(scratch, STRETCH * tile.tokens);
    let (sums, scratch) = carve::<Sixteen>(scratch, at_once * tile.tokens);
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
        for first in (0..tokens).step_by(tile.tokens) {
            sums[..count.next_multiple_of(TILE_ROWS) * tile.tokens].fill([0.0; 16]);
            for from in (0..columns).step_by(STRETCH) {
                let steps = STRETCH.min(columns - from);
                for t in 0..tile.tokens {
                    // Past the last token it stands in again; its surplus results are dropped.
                    let x = &x[(first + t).min(tokens - 1) * columns + from..][..steps];
                    for (s, x) in x.iter().enumerate() {
                        at_hand[s * tile.tokens + t] = *x;
                    }
                }
                let bytes = &bytes[from * (row_bytes / columns)..];
                for (row, sums) in
                    (0..count).step_by(TILE_ROWS).zip(sums.chunks_exact_mut(TILE_ROWS * tile.tokens))
                {
                    // Likewise the last row.
                    let mut rows = [bytes.as_ptr(); TILE_ROWS];
                    for (n, at) in rows.iter_mut().enumerate() {
                        *at = bytes[(row + n).min(count - 1) * row_bytes..].as_ptr();
                    }
                    // SAFETY: the caller's promise; each row has `steps` times 16 columns from there on, and so many are
                    // at hand of each token.
                    unsafe { (tile.add)(rows, at_hand.as_ptr(), steps, sums.as_mut_ptr()) };
                }
            }
            for t in 0..tile.tokens.min(tokens - first) {
                let to = &mut out.token(first + t)[start - first_row..][..count];
                for (eight, to) in to.chunks_mut(8).enumerate() {
                    let mut lanes = [&sums[0]; 8];
                    for (row, lanes) in (8 * eight..count).zip(&mut lanes) {
                        *lanes = &sums[row * tile.tokens + t];
                    }
                    to.copy_from_slice(&fold_eight(lanes)[..to.len()]);
                }
            }
        }
    }
}
