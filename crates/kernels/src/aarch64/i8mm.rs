//! Level i8mm.

use super::dot::MatrixProduct;
use super::fours::{self, Fours};
use super::rows;
use crate::activations::Quantized;
use crate::split::Tile;
use crate::{Line, Matrix, Workers};
use core::ops::Range;

pub use super::dotprod::{
    attend, convolve, delta_rule, dequantize, float_rows, gate, layer_norm, merge, quantize, rms_norm, rope,
    scan, silu_mul, soft_cap, softplus, swish, to_f16,
};

/// Rows of a quantized matrix times int8 activations.
///
/// # Safety
/// As for [`super::neon::quantized_rows`]; and the CPU must have the dot product and the int8 matrix instructions.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub unsafe fn quantized_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    // SAFETY: the same promises, and this function is only called where `smmla` and `sdot` may run.
    unsafe { rows::quantized_rows::<MatrixProduct>(matrix, rows, x, None, out, scratch) }
}

/// As [`quantized_rows`], with the whole fours of `x` in order.
///
/// # Safety
/// As for [`quantized_rows`]; `fours` must have been made by [`fours`] of `x`.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub unsafe fn rows_of_fours(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    (x, fours): (&Quantized<'_>, &Fours<'_>),
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    // SAFETY: as above.
    unsafe { rows::quantized_rows::<MatrixProduct>(matrix, rows, x, Some(fours), out, scratch) }
}

/// The whole fours of `x`, as [`rows_of_fours`] takes them.
pub fn fours<'a>(
    x: &Quantized<'_>,
    cols: usize,
    workers: &dyn Workers,
    scratch: &'a mut [Line],
) -> Fours<'a> {
    fours::pack::<MatrixProduct>(x, cols, workers, scratch)
}
