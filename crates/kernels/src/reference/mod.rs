//! The definition of every result: plain scalar Rust, written to be read.
//!
//! The numerics contract in the [crate's documentation](crate) says in words what this module says in code. It is
//! slow on purpose: its arithmetic is fused multiply-add in software where the target has none, one element at a
//! time, and it judges the fast versions. It never uses an intrinsic.

mod attention;
pub mod blocks;
mod elementwise;
pub mod lanes;
mod matmul;
mod recurrent;

pub use attention::{attend, merge};
pub use elementwise::{dequantize, layer_norm, quantize, rms_norm, rope, silu_mul, soft_cap, swish, to_f16};
pub use matmul::{float_rows, quantized_rows};
pub use recurrent::{convolve, delta_rule, gate, scan, softplus};
