//! Level AVX2: AVX2, FMA and F16C.
//!
//! Every function equals its namesake in [`crate::reference`] bit for bit. Only where data is read and written is
//! `unsafe`; the intrinsics that compute are safe inside functions that enable their features.

mod attention;
mod elementwise;
mod floats;
pub(super) mod integers;
pub(super) mod lanes;
pub(super) mod lanes8;
mod recurrent;
pub(super) mod stored;

pub use attention::{attend, merge};
pub use elementwise::{dequantize, layer_norm, quantize, rms_norm, rope, silu_mul, soft_cap, swish, to_f16};
pub(super) use floats::dequantize_row;
pub use floats::float_rows;
pub use integers::quantized_rows;
pub use recurrent::{convolve, delta_rule, gate, scan, softplus};
