//! What happens to a row of activations between matrices: norm, rotation, gate, quantization, storing keys.

use crate::activations::{BLOCK, HALF, QuantizedMut};
use crate::{Format, Level};

/// A row held a NaN or an infinity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotFinite;

/// Which pairs of a head RoPE rotates together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    /// (0, 1), (2, 3), ... as in the RoPE paper (Su et al. 2021, arXiv:2104.09864), which ggml calls `norm`.
    Adjacent,
    /// (0, n/2), (1, n/2 + 1), ... as in GPT-NeoX.
    Halves,
}

/// The weights of one row of a matrix, in f32, bit for bit as ggml dequantizes them.
///
/// # Panics
/// If `bytes` is not `out.len()` weights of `format`.
pub fn dequantize(level: Level, format: Format, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(format.row_bytes(out.len()), Some(bytes.len()), "whole blocks of {format}");
    crate::dispatch!(level, dequantize(format, bytes, out));
}

/// One row in int8: see the numerics contract in the [crate's documentation](crate).
///
/// # Panics
/// If the buffers contradict each other or the row is not whole blocks of 32.
pub fn quantize(level: Level, x: &[f32], out: &mut QuantizedMut<'_>) -> Result<(), NotFinite> {
    assert!(x.len().is_multiple_of(BLOCK) && out.q.len() == x.len(), "whole blocks");
    assert!(
        out.d.len() == x.len() / BLOCK && out.sums.len() == x.len() / HALF,
        "a scale and two sums a block"
    );
    crate::dispatch!(level, quantize(x, out))
}

/// RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467): `out = x / sqrt(mean(x^2) + eps) * weight`.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(level: Level, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    assert!(x.len() == weight.len() && x.len() == out.len(), "a weight and an output for each value");
    crate::dispatch!(level, rms_norm(x, weight, eps, out))
}

/// RoPE on several heads of one token: rotates the first `2 * cos.len()` values of each head by the given angles.
///
/// # Panics
/// If a head is shorter than the rotation or the heads are not whole.
pub fn rope(level: Level, rotation: Rotation, cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]) {
    assert!(cos.len() == sin.len() && cos.len() * 2 <= head_dim, "an angle for each pair");
    assert!(heads.len().is_multiple_of(head_dim), "whole heads");
    crate::dispatch!(level, rope(rotation, cos, sin, head_dim, heads));
}

/// `out = silu(gate) * up`.
///
/// # Panics
/// If the lengths differ.
pub fn silu_mul(level: Level, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == out.len(), "a gate for each value");
    crate::dispatch!(level, silu_mul(gate, up, out));
}

/// Rounds to half precision, to store keys and values.
///
/// # Panics
/// If the lengths differ.
pub fn to_f16(level: Level, x: &[f32], out: &mut [u16]) {
    assert_eq!(x.len(), out.len(), "an output for each value");
    crate::dispatch!(level, to_f16(x, out));
}

/// `x += y`.
///
/// # Panics
/// If the lengths differ.
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "a summand for each value");
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
