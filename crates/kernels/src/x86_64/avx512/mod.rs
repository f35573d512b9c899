//! Level AVX-512: F, BW, DQ, VL and VNNI.
//!
//! Only what gains from vectors of 64 bytes differs from level AVX2.

mod attention;
pub(super) mod eights;
mod elementwise;
mod floats;
pub(super) mod integers;

pub use super::avx2::{
    convolve, delta_rule, dequantize, gate, layer_norm, quantize, rms_norm, rope, scan, soft_cap, softplus,
    swish, to_f16,
};
pub use attention::{attend, merge};
pub use elementwise::silu_mul;
pub use floats::float_rows;
pub use integers::{Avx512, quantized_rows};
