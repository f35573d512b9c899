//! Rows of float matrices, and of dequantized ones, times f32 activations.

use super::dequantize;
use super::lanes::products;
use super::stored::{Bf16, F16, F32, Stored};
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::x86_64::float_tiles::{Register, Sixteen, tiled_rows};
use crate::{Format, Matrix};
use core::ops::Range;

/// Rows that meet the only token at the same time: as many sums as hide the latency of an fma.
const ROWS: usize = 4;
/// Rows that meet two tokens at the same time: two vectors of sums for each row and token, and there are 16 registers.
const ROWS_OF_PAIRS: usize = 3;

/// Rows of any matrix times f32 activations, in 16 lanes.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn float_rows(matrix: &Matrix<'_>, rows: Range<usize>, x: &[f32], out: Tile<'_>, scratch: &mut [Line]) {
    // SAFETY: this function's features.
    unsafe {
        match matrix.format() {
            // Tiles have whole 16 columns, as models do.
            _ if out.tokens() == 1 || !matrix.cols().is_multiple_of(16) => {
                groups::<ROWS, 1>(matrix, rows, x, out, scratch);
            }
            Format::F32 => tiled_rows::<Avx2, F32, 4, 3>(matrix, rows, x, out, scratch),
            Format::F16 => tiled_rows::<Avx2, F16, 4, 3>(matrix, rows, x, out, scratch),
            Format::BF16 => tiled_rows::<Avx2, Bf16, 4, 3>(matrix, rows, x, out, scratch),
            _ => groups::<ROWS_OF_PAIRS, 2>(matrix, rows, x, out, scratch),
        }
    }
}

/// The same, `N` rows and `T` tokens at a time.
#[target_feature(enable = "avx2,fma,f16c")]
fn groups<const N: usize, const T: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &[f32],
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let first = rows.start;
    let (weights, _) = carve::<f32>(scratch, N * matrix.cols());
    for start in rows.clone().step_by(N) {
        let count = N.min(rows.end - start);
        // Past the last row it stands in again; its surplus results are dropped.
        let row = |r: usize| start + r.min(count - 1);
        let bytes = || core::array::from_fn(|r| matrix.row(row(r)));
        let to = start - first..start - first + count;
        match matrix.format() {
            Format::F32 => each_token::<F32, N, T>(bytes(), x, to, &mut out),
            Format::F16 => each_token::<F16, N, T>(bytes(), x, to, &mut out),
            Format::BF16 => each_token::<Bf16, N, T>(bytes(), x, to, &mut out),
            _ => {
                for (r, weights) in weights.chunks_exact_mut(matrix.cols()).enumerate() {
                    dequantize_row(matrix, row(r), weights);
                }
                let weights: &[u8] = bytemuck::cast_slice(weights);
                let bytes = core::array::from_fn(|r| &weights[r * 4 * matrix.cols()..][..4 * matrix.cols()]);
                each_token::<F32, N, T>(bytes, x, to, &mut out);
            }
        }
    }
}

/// Not inlined: what all formats take is much code.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn dequantize_row(matrix: &Matrix<'_>, row: usize, weights: &mut [f32]) {
    matrix.read_row(row, |columns, bytes| dequantize(matrix.format(), bytes, &mut weights[columns]));
}

/// Writes the outputs of rows for every token, to the columns `to` of the tile.
#[target_feature(enable = "avx2,fma,f16c")]
fn each_token<S: Stored, const N: usize, const T: usize>(
    rows: [&[u8]; N],
    x: &[f32],
    to: Range<usize>,
    out: &mut Tile<'_>,
) {
    let cols = rows[0].len() / S::BYTES;
    let tokens = out.tokens();
    for first in (0..tokens).step_by(T) {
        // Past the last token it stands in again.
        let token = |t: usize| (first + t).min(tokens - 1);
        let results = products::<S, N, T>(rows, core::array::from_fn(|t| &x[token(t) * cols..][..cols]));
        for (t, results) in results.iter().enumerate() {
            out.token(token(t))[to.clone()].copy_from_slice(&results[..to.len()]);
        }
    }
}

/// 16 registers hold 4 rows by 3 tokens, where there is one half of the lanes at a time.
struct Avx2;

impl Register<4, 3> for Avx2 {
    const STRETCH: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add<S: Stored>(rows: [*const u8; 4], x: *const Sixteen, steps: usize, sums: *mut Sixteen) {
        for half in [0, 8] {
            // SAFETY: the caller's promise: this half of the lanes.
            unsafe {
                let rows = rows.map(|row| row.add(half * S::BYTES));
                S::add_half(rows, x.cast::<f32>().add(half), steps, sums.cast::<f32>().add(half));
            }
        }
    }
}
