//! Rows of float matrices, and of dequantized ones, times f32 activations.

use super::dequantize;
use super::lanes::{Bf16, F16, F32, Stored, dots};
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::{Format, Matrix};
use core::ops::Range;

/// Rows that meet a token at the same time.
const ROWS: usize = 4;

/// Rows of any matrix times f32 activations, in 16 lanes.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn float_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &[f32],
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let first = rows.start;
    let (weights, _) = carve::<f32>(scratch, ROWS * matrix.cols());
    for start in rows.clone().step_by(ROWS) {
        let count = ROWS.min(rows.end - start);
        // Past the last row it stands in again; its surplus results are dropped.
        let row = |r: usize| start + r.min(count - 1);
        let bytes = || core::array::from_fn(|r| matrix.row(row(r)));
        match matrix.format() {
            Format::F32 => each_token::<F32>(bytes(), x, count, start - first, &mut out),
            Format::F16 => each_token::<F16>(bytes(), x, count, start - first, &mut out),
            Format::BF16 => each_token::<Bf16>(bytes(), x, count, start - first, &mut out),
            quantized => {
                for (r, weights) in weights.chunks_exact_mut(matrix.cols()).enumerate() {
                    matrix.read_row(row(r), |columns, bytes| {
                        dequantize(quantized, bytes, &mut weights[columns]);
                    });
                }
                let weights: &[u8] = bytemuck::cast_slice(weights);
                let bytes = core::array::from_fn(|r| &weights[r * 4 * matrix.cols()..][..4 * matrix.cols()]);
                each_token::<F32>(bytes, x, count, start - first, &mut out);
            }
        }
    }
}

/// Writes the outputs of `count` rows for every token, from column `at` of the tile on.
#[target_feature(enable = "avx2,fma,f16c")]
fn each_token<S: Stored>(rows: [&[u8]; ROWS], x: &[f32], count: usize, at: usize, out: &mut Tile<'_>) {
    let cols = rows[0].len() / S::BYTES;
    for (token, x) in x.chunks_exact(cols).enumerate() {
        let results = dots::<S, ROWS>(rows, x);
        out.token(token)[at..at + count].copy_from_slice(&results[..count]);
    }
}
