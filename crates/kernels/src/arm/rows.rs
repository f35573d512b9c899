//! Rows of a quantized matrix times the activations of every token.
//!
//! Rows go in pairs. For some blocks of a pair the integer sums are computed first, then the accumulators walk over them:
//! one loop has integer registers, the other those of the FPU. Each row's steps are those of the reference, in order.

use super::float::{self, Two};
use super::integers::{self, ROWS};
use crate::activations::{BLOCK, Quantized};
use crate::scratch::Line;
use crate::split::Tile;
use crate::{Format, Layout, Matrix, reference};
use core::mem::MaybeUninit;
use core::ops::Range;

/// Blocks whose sums are computed before the accumulators take them: as many as lie on the stack without being felt.
const BLOCKS: usize = 8;

/// Rows of a quantized matrix times int8 activations.
///
/// # Safety
/// The CPU must have the DSP instructions; `x` must hold `out.tokens()` rows of the matrix's columns, and `rows` lie in the
/// matrix and be as many as the columns of `out`.
pub unsafe fn quantized_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    // SAFETY: the same promises.
    unsafe {
        match (matrix.layout(), matrix.format()) {
            // d (f16), 32 int8.
            (Layout::Rows, Format::Q8_0) => {
                pairs::<34>(matrix, rows, x, out, |quants, x, _| integers::int8(quants, x));
            }
            // d (f16), 16 bytes of int4 around 8.
            (Layout::Rows, Format::Q4_0) => {
                pairs::<18>(matrix, rows, x, out, |quants, x, [first, last]| {
                    let offset = 8 * (i32::from(first) + i32::from(last));
                    integers::int4(quants, x).map(|sum| sum - offset)
                });
            }
            _ => reference::quantized_rows(matrix, rows, x, out, scratch),
        }
    }
}

/// As [`quantized_rows`], for a format of blocks of `BYTES` with 32 weights, which begin with a scale in half precision.
/// `sums` gives `Σ w·x` of what follows the scale in a block of two rows, with the sums of the activations' halves.
///
/// Rows are short where there is no operating system: so this counts, and makes no slices on the way.
///
/// # Safety
/// As for [`quantized_rows`].
#[inline]
unsafe fn pairs<const BYTES: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    mut out: Tile<'_>,
    sums: impl Fn([*const u8; ROWS], *const i8, [i16; 2]) -> [i32; ROWS],
) {
    let blocks = matrix.cols() / BLOCK;
    let mut row = rows.start;
    while row < rows.end {
        // The last of an odd number of rows is its own neighbour.
        let both = row + 1 < rows.end;
        let pair = [matrix.row(row).as_ptr(), matrix.row(if both { row + 1 } else { row }).as_ptr()];
        for token in 0..out.tokens() {
            // SAFETY: pointers at whole rows, and at as many activations of this token.
            let Two(first, second) = unsafe {
                let x = Token {
                    q: x.q.as_ptr().add(token * matrix.cols()),
                    d: x.d.as_ptr().add(token * blocks),
                    sums: x.sums.as_ptr().cast::<[i16; 2]>().add(token * blocks),
                };
                pair_of_rows::<BYTES>(pair, x, blocks, &sums)
            };
            let out = &mut out.token(token)[row - rows.start..];
            out[0] = first;
            if both {
                out[1] = second;
            }
        }
        row += ROWS;
    }
}

/// The activations of a token: see [`Quantized`].
#[derive(Clone, Copy)]
struct Token {
    q: *const i8,
    d: *const f32,
    sums: *const [i16; 2],
}

/// Two rows times one token.
///
/// # Safety
/// There must be `blocks` blocks of each.
#[inline]
unsafe fn pair_of_rows<const BYTES: usize>(
    rows: [*const u8; ROWS],
    x: Token,
    blocks: usize,
    sums: &impl Fn([*const u8; ROWS], *const i8, [i16; 2]) -> [i32; ROWS],
) -> Two {
    // Not cleared: that would take as long as a block.
    let mut isums = [MaybeUninit::uninit(); BLOCKS];
    let (mut acc, mut first) = (Two(0.0, 0.0), 0);
    while first < blocks {
        let count = BLOCKS.min(blocks - first);
        // SAFETY: each of these blocks is there; its quants lie behind a scale of two bytes. `isums` has room for the
        // sums, and as many of them are written as are read.
        unsafe {
            let rows = [rows[0].add(first * BYTES), rows[1].add(first * BYTES)];
            let mut i = 0;
            while i < count {
                let at = i * BYTES + 2;
                let quants = [rows[0].add(at), rows[1].add(at)];
                let b = first + i;
                isums.get_unchecked_mut(i).write(sums(quants, x.q.add(b * BLOCK), *x.sums.add(b)));
                i += 1;
            }
            acc = float::accumulate::<BYTES>(
                acc,
                rows[0],
                rows[1],
                isums.as_ptr().cast(),
                x.d.add(first),
                count,
            );
        }
        first += count;
    }
    // The contract's second accumulator, which these formats leave at 0: it makes -0 to 0.
    Two(acc.0 + 0.0, acc.1 + 0.0)
}
