//! Rows of a matrix times the activations of every token.

use super::blocks::{self, Extent};
use super::{dequantize, lanes};
use crate::Matrix;
use crate::activations::{BLOCK, HALF, Quantized};
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
            let (q, dx) = (&x.q[b * BLOCK..][..BLOCK], x.d[b]);
            let isum = |half: usize| -> i32 {
                let products =
                    (half * HALF..(half + 1) * HALF).map(|i| i32::from(block.w[i]) * i32::from(q[i]));
                block.scales[half] * products.sum::<i32>()
            };
            let xsum = |half: usize| i32::from(x.sums[2 * b + half]);
            match block.d {
                Extent::Whole(d) => acc = fma(d * dx, (isum(0) + isum(1)) as f32, acc),
                Extent::Halves(d) => {
                    for (half, d) in d.into_iter().enumerate() {
                        acc = fma(d * dx, isum(half) as f32, acc);
                    }
                }
            }
            match block.minimum {
                Some(Extent::Whole(minimum)) => accm = fma(minimum, dx * (xsum(0) + xsum(1)) as f32, accm),
                Some(Extent::Halves(minima)) => {
                    for (half, minimum) in minima.into_iter().enumerate() {
                        accm = fma(minimum, dx * xsum(half) as f32, accm);
                    }
                }
                None => {}
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
