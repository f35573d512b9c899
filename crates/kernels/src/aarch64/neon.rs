//! Level NEON.

use super::dot::Widening;
use super::rows;
use crate::activations::Quantized;
use crate::split::Tile;
use crate::{Line, Matrix};
use core::ops::Range;

pub use super::attention::{attend, merge};
pub use super::elementwise::{
    dequantize, layer_norm, quantize, rms_norm, rope, silu_mul, soft_cap, swish, to_f16,
};
pub use super::float::float_rows;
pub use super::recurrent::{convolve, delta_rule, gate, scan, softplus};

/// Rows of a quantized matrix times int8 activations.
///
/// # Safety
/// `x` must hold `out.tokens()` rows of the matrix's columns, and `rows` lie in the matrix and be as many as the
/// columns of `out`.
#[target_feature(enable = "neon")]
pub unsafe fn quantized_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    // SAFETY: the same promises; `Widening` asks for NEON alone.
    unsafe { rows::quantized_rows::<Widening>(matrix, rows, x, None, out, scratch) }
}
