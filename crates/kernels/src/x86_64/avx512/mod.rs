//! Level AVX-512: F, BW, DQ, VL and VNNI.
//!
//! Only what gains from vectors of 64 bytes differs from level AVX2.

mod integers;

pub use super::avx2::{attend, dequantize, float_rows, quantize, rms_norm, rope, silu_mul, to_f16};
pub use integers::{Avx512, quantized_rows};
