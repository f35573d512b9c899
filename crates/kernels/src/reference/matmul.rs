//! Rows of a matrix times the activations of every token.

use super::{blocks, dequantize, lanes};
use crate::Matrix;
use crate::activations::{BLOCK, Quantized};
use crate::math::fma;
use crate::scratch::{Line, carve};
use crate::split::Tile;
use core::ops::Range;

/// Rows of a quantized matrix times int8 activations: for each token and row `acc + accm`.
pub fn quantized_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    mut out: Tile<'_>,
    _scratch: &mut [Line],
) {
    for (r, row) in rows.enumerate() {
        for token in 0..out.tokens() {
            out.token(token)[r] = quantized_dot(matrix, row, &x.token(token, matrix.cols()));
        }
    }
}

/// One row times one token.
fn quantized_dot(matrix: &Matrix<'_>, row: usize, x: &Quantized<'_>) -> f32 {
    let (mut acc, mut accm) = (0.0, 0.0);
    matrix.read_row(row, |columns, bytes| {
        for (i, b) in (columns.start / BLOCK..columns.end / BLOCK).enumerate() {
            let block = blocks::block(matrix.format(), bytes, i);
            let q = &x.q[b * BLOCK..][..BLOCK];
            let sums = &x.sums[2 * b..2 * b + 2];
            let dot = |half: usize| -> i32 {
                (half * 16..half * 16 + 16).map(|i| i32::from(block.w[i]) * i32::from(q[i])).sum()
            };
            let isum = block.scales[0] * dot(0) + block.scales[1] * dot(1);
            acc = fma(block.d * x.d[b], isum as f32, acc);
            if let Some(minimum) = block.minimum {
                let xsum = i32::from(sums[0]) + i32::from(sums[1]);
                accm = fma(minimum, x.d[b] * xsum as f32, accm);
            }
        }
    });
    acc + accm
}

/// Rows of any matrix, dequantized, times f32 activations, in 16 lanes.
pub fn float_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &[f32],
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let cols = matrix.cols();
    let (weights, _) = carve::<f32>(scratch, cols);
    for (r, row) in rows.enumerate() {
        matrix.read_row(row, |columns, bytes| dequantize(matrix.format(), bytes, &mut weights[columns]));
        for (token, x) in x.chunks_exact(cols).enumerate() {
            out.token(token)[r] = lanes::dot(weights.iter().copied(), x.iter().copied());
        }
    }
}
