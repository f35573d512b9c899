//! Level DSP.

pub use super::attention::{attend, merge};
pub use super::elementwise::quantize;
pub use super::rows::quantized_rows;
pub use crate::reference::{
    convolve, delta_rule, dequantize, float_rows, gate, layer_norm, rms_norm, rope, scan, silu_mul, soft_cap,
    softplus, swish, to_f16,
};
