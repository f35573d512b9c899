//! Rows of float matrices times several tokens, in tiles of which all that is read again lies in the first-level cache.
//!
//! A tile of sums in registers meets a stretch of columns; then it is put away, the next rows come, and the activations are
//! where they were. Sums go on where they were put away, column after column, so each of the 16 lanes adds up in the order
//! of the contract. In between nothing is rounded that would not be in a register.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::avx2::lanes::fold_eight;
use super::avx2::stored::Stored;
use crate::Matrix;
use crate::scratch::{Line, carve};
use crate::split::Tile;
use core::ops::Range;

/// 16 columns of a row, or what sums them.
pub type Sixteen = [f32; 16];

/// Times 16 columns in a stretch, at most.
const STRETCH: usize = 64;
/// Rows whose sums are put away: a multiple of the rows of every tile.
const ROWS: usize = 96;
/// Tokens whose activations are kept at hand: a multiple of the tokens of every tile, at most.
const TOKENS: usize = 6;

/// What the sums and the activations take.
pub const LINES: usize = (ROWS + STRETCH) * TOKENS;

/// A tile of `N` rows by `T` tokens in the registers of a level.
///
/// # Safety
/// Of every function: the CPU has the level's features.
pub trait Register<const N: usize, const T: usize> {
    /// Times 16 columns in a stretch: as many as leave the activations room in the first-level cache.
    const STRETCH: usize;

    /// Adds to `sums`, row by row those of each token, the products of `steps` times 16 columns: of each row from where it
    /// stands, and of `x`, where the tokens lie side by side for each 16 columns.
    unsafe fn add<S: Stored>(rows: [*const u8; N], x: *const Sixteen, steps: usize, sums: *mut Sixteen);
}

/// Rows of a matrix of floats times several tokens.
///
/// # Panics
/// If columns are no multiple of 16, or `scratch` is smaller than [`LINES`].
///
/// # Safety
/// The CPU has the features of `R`.
#[inline(always)]
pub unsafe fn tiled_rows<R: Register<N, T>, S: Stored, const N: usize, const T: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &[f32],
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    const { assert!(ROWS.is_multiple_of(N) && TOKENS.is_multiple_of(T), "whole tiles") };
    let (x, rest) = x.as_chunks::<16>();
    let columns = matrix.cols() / 16;
    let tokens = out.tokens();
    assert!(rest.is_empty() && x.len() == tokens * columns && matrix.row_bytes() == columns * 16 * S::BYTES);
    let (sums, scratch) = carve::<Sixteen>(scratch, ROWS * TOKENS);
    let (at_hand, _) = carve::<Sixteen>(scratch, STRETCH * TOKENS);
    let first_row = rows.start;
    for start in rows.clone().step_by(ROWS) {
        let count = ROWS.min(rows.end - start);
        let (bytes, row_bytes) = (matrix.successive_rows(start..start + count), matrix.row_bytes());
        for first in (0..tokens).step_by(TOKENS) {
            // Past the last token and the last row it stands in again; its surplus results are dropped.
            let tiles = TOKENS.min(tokens - first).div_ceil(T);
            sums[..count.next_multiple_of(N) * tiles * T].fill([0.0; 16]);
            for from in (0..columns).step_by(R::STRETCH) {
                let steps = R::STRETCH.min(columns - from);
                for t in 0..tiles * T {
                    let x = &x[(first + t).min(tokens - 1) * columns + from..][..steps];
                    let to = at_hand[t / T * T * R::STRETCH + t % T..].iter_mut().step_by(T);
                    for (to, x) in to.zip(x) {
                        *to = *x;
                    }
                }
                for (row, sums) in (0..count).step_by(N).zip(sums.chunks_exact_mut(tiles * N * T)) {
                    let at = |n: usize| (row + n).min(count - 1) * row_bytes + from * 16 * S::BYTES;
                    let rows = core::array::from_fn(|n| bytes.as_ptr().wrapping_add(at(n)));
                    for (sums, x) in sums.chunks_exact_mut(N * T).zip(at_hand.chunks_exact(R::STRETCH * T)) {
                        // SAFETY: the caller's promise; each row has `steps` times 16 columns from `from` on, and the
                        // tokens at hand are so many.
                        unsafe { R::add::<S>(rows, x.as_ptr(), steps, sums.as_mut_ptr()) };
                    }
                }
            }
            for t in 0..TOKENS.min(tokens - first) {
                let to = &mut out.token(first + t)[start - first_row..][..count];
                for (eight, to) in to.chunks_mut(8).enumerate() {
                    let mut lanes = [&sums[0]; 8];
                    for (row, lanes) in (8 * eight..count).zip(&mut lanes) {
                        *lanes = &sums[(row / N * tiles + t / T) * N * T + row % N * T + t % T];
                    }
                    // SAFETY: the caller's promise.
                    to.copy_from_slice(&unsafe { fold_eight(lanes) }[..to.len()]);
                }
            }
        }
    }
}
