//! Level AVX-VNNI: AVX2 with dot products of four bytes in one instruction.
//!
//! Only the products of bytes differ from level AVX2.

mod integers;

pub use super::avx2::{
    attend, convolve, delta_rule, dequantize, float_rows, gate, layer_norm, merge, quantize, rms_norm, rope,
    scan, silu_mul, soft_cap, softplus, swish, to_f16,
};
pub use integers::quantized_rows;
