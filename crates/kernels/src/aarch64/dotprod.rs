//! Level dotprod.

use super::dot::DotProduct;
use super::rows;
use crate::activations::Quantized;
use crate::split::Tile;
use crate::{Line, Matrix};
use core::ops::Range;

pub use super::attention::attend_dotprod as attend;
pub use super::neon::{
    dequantize, float_rows, layer_norm, merge, quantize, rms_norm, rope, silu_mul, soft_cap, swish, to_f16,
};

/// Rows of a quantized matrix times int8 activations.
///
/// # Safety
/// As for [`super::neon::quantized_rows`]; and the CPU must have the dot product instructions.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn quantized_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    // SAFETY: the same promises, and this function is only called where `sdot` may run.
    unsafe { rows::quantized_rows::<DotProduct>(matrix, rows, x, out, scratch) }
}
