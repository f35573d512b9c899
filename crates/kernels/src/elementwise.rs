//! What happens to a row of activations between matrices: norm, rotation, gate, quantization, storing keys.

use crate::activations::{BLOCK, HALF, QuantizedMut};
use crate::{Format, Level, math};

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

/// LayerNorm (Ba et al. 2016, arXiv:1607.06450): `out = (x - mean) / sqrt(variance + eps) * weight + bias`.
///
/// # Panics
/// If the lengths differ.
pub fn layer_norm(
    level: Level,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) -> Result<(), NotFinite> {
    assert!(x.len() == weight.len() && x.len() == out.len(), "a weight and an output for each value");
    assert!(bias.is_none_or(|bias| bias.len() == x.len()), "a bias for each value");
    crate::dispatch!(level, layer_norm(x, weight, bias, eps, out))
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

/// What makes a feed-forward network more than a product of matrices. Formulas are in [`math`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU by tanh.
    Gelu,
    /// GELU by the error function.
    GeluErf,
    /// `max(x, 0)^2`.
    ReluSquared,
    /// xIELU (Huang et al. 2024, arXiv:2411.13010).
    Xielu(Xielu),
    /// gpt-oss's: with `x = min(gate, 7)`, `x / (1 + e^(-1.702 x)) * (clamp(up, -7, 7) + 1)`.
    ClampedSilu,
}

/// xIELU's parameters: `positive x^2 + beta x` above 0, and `negative (e^min(x, eps) - 1 - x) + beta x` below.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Xielu {
    /// Of the square.
    pub positive: f32,
    /// Of the exponential.
    pub negative: f32,
    /// Of the line.
    pub beta: f32,
    /// Just below 0.
    pub eps: f32,
}

impl Activation {
    /// The activation of one value.
    fn of(self, x: f32) -> f32 {
        match self {
            Self::Silu => math::silu(x),
            Self::Gelu => math::swish(x, math::GELU[0], math::GELU[1]),
            Self::GeluErf => math::gelu_erf(x),
            Self::ReluSquared => math::relu_squared(x),
            Self::Xielu(p) if x > 0.0 => p.positive * x * x + p.beta * x,
            Self::Xielu(p) => (libm::expm1f(if x < p.eps { x } else { p.eps }) - x) * p.negative + p.beta * x,
            Self::ClampedSilu => math::swish(if x < 7.0 { x } else { 7.0 }, 1.702, 0.0),
        }
    }
}

/// `out = activation(gate) * up`, or `activation(gate)` where there is no `up`. What the activations have of SIMD is
/// theirs; all others are the same scalar code at every level.
///
/// # Panics
/// If the lengths differ.
pub fn activate(level: Level, activation: Activation, gate: &[f32], up: Option<&[f32]>, out: &mut [f32]) {
    if let (Activation::Silu, Some(up)) = (activation, up) {
        return silu_mul(level, gate, up, out);
    }
    assert_eq!(gate.len(), out.len(), "an output for each value");
    match activation {
        Activation::Gelu => {
            out.copy_from_slice(gate);
            let [linear, cubic] = math::GELU;
            crate::dispatch!(level, swish(out, linear, cubic));
        }
        Activation::ClampedSilu => {
            out.iter_mut().zip(gate).for_each(|(out, gate)| *out = if *gate < 7.0 { *gate } else { 7.0 });
            crate::dispatch!(level, swish(out, 1.702, 0.0));
        }
        _ => out.iter_mut().zip(gate).for_each(|(out, gate)| *out = activation.of(*gate)),
    }
    let Some(up) = up else { return };
    assert_eq!(up.len(), out.len(), "a factor for each value");
    if activation == Activation::ClampedSilu {
        out.iter_mut().zip(up).for_each(|(out, up)| *out *= up.clamp(-7.0, 7.0) + 1.0);
    } else {
        out.iter_mut().zip(up).for_each(|(out, up)| *out *= up);
    }
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

/// `x += y * scale`, a product and a sum.
///
/// # Panics
/// If the lengths differ.
pub fn add_scaled(x: &mut [f32], y: &[f32], scale: f32) {
    assert_eq!(x.len(), y.len(), "a summand for each value");
    for (x, y) in x.iter_mut().zip(y) {
        *x += y * scale;
    }
}

/// `x *= factor`.
pub fn scale(x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}

/// `x = cap tanh(x / cap)`, which stays below `cap`; tanh is [`math::tanh`].
pub fn soft_cap(level: Level, x: &mut [f32], cap: f32) {
    crate::dispatch!(level, soft_cap(x, cap));
}
