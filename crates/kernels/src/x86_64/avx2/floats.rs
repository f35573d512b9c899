//! Rows of float matrices, and of dequantized ones, times f32 activations.

use super::dequantize;
use super::lanes::dots;
use super::stored::{self, Bf16, F16, F32, Stored};
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::x86_64::float_tiles::{
    Eight, RegisterTile, Registers, STRETCH, Sixteen, TILE_ROWS, TOKENS, tiled_rows,
};
use crate::{Format, Matrix};
use core::ops::Range;

/// Rows that meet the only token at the same time: as many sums as hide the latency of an fma.
const ROWS: usize = 4;

/// Rows of any matrix times f32 activations, in 16 lanes.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn float_rows(matrix: &Matrix<'_>, rows: Range<usize>, x: &[f32], out: Tile<'_>, scratch: &mut [Line]) {
    // Tiles have whole 16 columns, as models do.
    if out.tokens() == 1 || !matrix.cols().is_multiple_of(16) {
        return each_token(matrix, rows, x, out, scratch);
    }
    // SAFETY: this function's features.
    unsafe { tiled_rows(RegisterTile::of::<Avx2>(matrix.format()), matrix, rows, x, out, scratch) };
}

/// 16 registers hold 4 rows by 3 tokens where there is one half of the lanes at a time. As many tokens again meet the rows while
/// they lie in the first-level cache.
struct Avx2;

impl Registers for Avx2 {
    const ABREAST: usize = stored::ABREAST;

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add<S: Stored>(
        rows: [*const u8; TILE_ROWS],
        (x, tokens): (*const Eight, usize),
        steps: usize,
        sums: *mut Sixteen,
        go_on: bool,
    ) {
        for first in (0..tokens).step_by(Self::ABREAST) {
            // SAFETY: the caller's promise; where halves lie is what `ABREAST` means.
            unsafe {
                let x = [0, TOKENS].map(|half| x.add((half + first) * STRETCH).cast());
                S::add_halves(rows, x, steps, sums.add(first).cast(), go_on);
            }
        }
    }
}

/// Rows times one token after the other.
#[target_feature(enable = "avx2,fma,f16c")]
fn each_token(matrix: &Matrix<'_>, rows: Range<usize>, x: &[f32], mut out: Tile<'_>, scratch: &mut [Line]) {
    let first = rows.start;
    let (weights, _) = carve::<f32>(scratch, ROWS * matrix.cols());
    for start in rows.clone().step_by(ROWS) {
        let count = ROWS.min(rows.end - start);
        // Past the last row it stands in again; its surplus results are dropped.
        let row = |r: usize| start + r.min(count - 1);
        let mut bytes: [&[u8]; ROWS] = [&[]; ROWS];
        if matrix.format().is_float() {
            for (r, bytes) in bytes.iter_mut().enumerate() {
                *bytes = matrix.row(row(r));
            }
        } else {
            for (r, (bytes, weights)) in
                bytes.iter_mut().zip(weights.chunks_exact_mut(matrix.cols())).enumerate()
            {
                dequantize_row(matrix, row(r), weights);
                *bytes = bytemuck::cast_slice(weights);
            }
        }
        for (token, x) in x.chunks_exact(matrix.cols()).enumerate() {
            let results = match matrix.format() {
                Format::F16 => dots::<F16, ROWS>(bytes, x),
                Format::BF16 => dots::<Bf16, ROWS>(bytes, x),
                _ => dots::<F32, ROWS>(bytes, x),
            };
            out.token(token)[start - first..][..count].copy_from_slice(&results[..count]);
        }
    }
}

/// Not inlined: what all formats take is much code.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn dequantize_row(matrix: &Matrix<'_>, row: usize, weights: &mut [f32]) {
    matrix.read_row(row, |columns, bytes| dequantize(matrix.format(), bytes, &mut weights[columns]));
}
