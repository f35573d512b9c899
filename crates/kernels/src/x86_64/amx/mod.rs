//! Level AMX: AVX-512, and the matrix engine for prompts.
//!
//! The engine multiplies the activations of 16 tokens by the weights of 16 rows at once. One token has no use for it,
//! and takes the kernels of level AVX-512.

mod engine;
mod integers;
pub mod probe;

pub use super::avx512::{
    attend, convolve, delta_rule, dequantize, float_rows, gate, layer_norm, merge, quantize, quantized_rows,
    rms_norm, rope, scan, silu_mul, soft_cap, softplus, swish, to_f16,
};
#[cfg(feature = "std")]
pub use engine::is_permitted;
pub use integers::{LEAST_TOKENS, lines, tiled_rows};
