//! Level i8mm.

use super::dot::MatrixProduct;
use super::rows;
use crate::activations::Quantized;
use crate::split::Tile;
use crate::{Line, Matrix};
use core::ops::Range;

pub use super::dotprod::{
    attend, dequantize, float_rows, layer_norm, merge, quantize, rms_norm, rope, silu_mul, soft_cap, swish,
    to_f16,
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
    unsafe { rows::quantized_rows::<MatrixProduct>(matrix, rows, x, out, scratch) }
}
