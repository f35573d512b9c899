//! What happens to a row of activations between matrices.

use super::{blocks, lanes};
use crate::Format;
use crate::activations::{BLOCK, HALF, QuantizedMut};
use crate::elementwise::{NotFinite, Rotation};
use crate::math::{self, bf16_to_f32, f16_to_f32, f32_to_f16, fma, silu};

/// The weights of a row: `d * scale * w`, plus the minimum where there is one.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    let pairs = || bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match format {
        Format::F32 => {
            for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Format::F16 => out.iter_mut().zip(pairs()).for_each(|(out, bits)| *out = f16_to_f32(bits)),
        Format::BF16 => out.iter_mut().zip(pairs()).for_each(|(out, bits)| *out = bf16_to_f32(bits)),
        _ => {
            for (b, out) in out.chunks_exact_mut(BLOCK).enumerate() {
                let block = blocks::block(format, bytes, b);
                for (i, out) in out.iter_mut().enumerate() {
                    let half = i / HALF;
                    let value = block.d.of(half) * block.scales[half] as f32 * f32::from(block.w[i]);
                    *out = block.minimum.map_or(value, |minimum| value + minimum.of(half));
                }
            }
        }
    }
}

/// A row in int8 blocks.
pub fn quantize(x: &[f32], out: &mut QuantizedMut<'_>) -> Result<(), NotFinite> {
    for (b, x) in x.chunks_exact(BLOCK).enumerate() {
        let q = &mut out.q[b * BLOCK..][..BLOCK];
        // Magnitudes compare like their bits, NaN above infinity above all finite ones.
        let amax = x.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
        if amax >= f32::INFINITY.to_bits() {
            return Err(NotFinite);
        }
        let d = f32::from_bits(amax) / 127.0;
        if d < f32::MIN_POSITIVE {
            out.d[b] = 0.0;
            q.fill(0);
        } else {
            out.d[b] = d;
            for (q, x) in q.iter_mut().zip(x) {
                *q = libm::rintf(x / d).clamp(-127.0, 127.0) as i8;
            }
        }
        for (sum, half) in out.sums[2 * b..2 * b + 2].iter_mut().zip(q.chunks_exact(HALF)) {
            *sum = half.iter().map(|q| i16::from(*q)).sum();
        }
    }
    Ok(())
}

/// RMSNorm: `(x * r) * weight` with `r = 1 / sqrt(Σ x² / n + eps)`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let squares = lanes::dot(x.iter().copied(), x.iter().copied());
    let r = 1.0 / libm::sqrtf(squares / x.len() as f32 + eps);
    if !squares.is_finite() {
        return Err(NotFinite);
    }
    for (out, (x, weight)) in out.iter_mut().zip(x.iter().zip(weight)) {
        *out = x * r * weight;
    }
    Ok(())
}

/// LayerNorm: `c * r * weight`, and `+ bias` where there is one, with `c = x - Σ x / n` and
/// `r = 1 / sqrt(Σ c² / n + eps)`.
pub fn layer_norm(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) -> Result<(), NotFinite> {
    let n = x.len() as f32;
    let mean = lanes::sum(x.iter().copied()) / n;
    let centred = || x.iter().map(|x| x - mean);
    let squares = lanes::dot(centred(), centred());
    if !squares.is_finite() {
        return Err(NotFinite);
    }
    let r = 1.0 / libm::sqrtf(squares / n + eps);
    for (out, (c, weight)) in out.iter_mut().zip(centred().zip(weight)) {
        *out = c * r * weight;
    }
    for (out, bias) in out.iter_mut().zip(bias.unwrap_or_default()) {
        *out += bias;
    }
    Ok(())
}

/// RoPE: the pair (a, b) becomes `(a cos - b sin, a sin + b cos)`, each as one product and one fma.
pub fn rope(rotation: Rotation, cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]) {
    let pairs = cos.len();
    for head in heads.chunks_exact_mut(head_dim) {
        for (i, (cos, sin)) in cos.iter().zip(sin).enumerate() {
            let (first, second) = match rotation {
                Rotation::Adjacent => (2 * i, 2 * i + 1),
                Rotation::Halves => (i, i + pairs),
            };
            let (a, b) = (head[first], head[second]);
            head[first] = fma(a, *cos, -(b * sin));
            head[second] = fma(a, *sin, b * cos);
        }
    }
}

/// `silu(gate) * up`.
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for (out, (gate, up)) in out.iter_mut().zip(gate.iter().zip(up)) {
        *out = silu(*gate) * up;
    }
}

/// `x = x / (1 + e^-z)` with `z = x (linear + cubic x^2)`.
pub fn swish(x: &mut [f32], linear: f32, cubic: f32) {
    x.iter_mut().for_each(|x| *x = math::swish(*x, linear, cubic));
}

/// `x = cap tanh(x / cap)`.
pub fn soft_cap(x: &mut [f32], cap: f32) {
    x.iter_mut().for_each(|x| *x = cap * math::tanh(*x / cap));
}

/// To half precision.
pub fn to_f16(x: &[f32], out: &mut [u16]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = f32_to_f16(*x);
    }
}
