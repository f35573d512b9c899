//! What happens to a row of activations between matrices.
//!
//! Four or sixteen values at a time; the values that are left over go through the scalar functions that define
//! the results.

use super::blocks::{
    Decoded, IQ4_NL, IQ4_XS, IntegerScales, MXFP4, NVFP4, Packed, Q1_0, Q2_0, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K,
    Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Split, TQ2_0, each_part,
};
use super::float::{Value, dots, exp, fold, load, store, zero_lanes};
use super::lookup;
use crate::Format;
use crate::activations::{BLOCK, HALF, QuantizedMut};
use crate::elementwise::{NotFinite, Rotation};
use crate::math;
use crate::reference;
use crate::reference::lanes::LANES;
use core::arch::aarch64::*;

/// The weights of a row: `d * scale * w`, plus the minimum where there is one.
#[target_feature(enable = "neon")]
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(format.row_bytes(out.len()), Some(bytes.len()), "a row of {format}");
    // SAFETY: the bytes are whole blocks of as many weights as `out` holds.
    unsafe {
        match format {
            Format::Q8_0 => dequantize_blocks::<Q8_0>(bytes, out),
            Format::Q4_0 => dequantize_blocks::<Q4_0>(bytes, out),
            Format::Q4_1 => dequantize_blocks::<Q4_1>(bytes, out),
            Format::Q5_0 => dequantize_blocks::<Q5_0>(bytes, out),
            Format::Q5_1 => dequantize_blocks::<Q5_1>(bytes, out),
            Format::IQ4_NL => dequantize_blocks::<IQ4_NL>(bytes, out),
            Format::MXFP4 => dequantize_blocks::<MXFP4>(bytes, out),
            Format::NVFP4 => dequantize_blocks::<NVFP4>(bytes, out),
            Format::Q1_0 => dequantize_blocks::<Q1_0>(bytes, out),
            Format::Q2_0 => dequantize_blocks::<Q2_0>(bytes, out),
            Format::Q2_K => dequantize_blocks::<Q2_K>(bytes, out),
            Format::Q3_K => dequantize_blocks::<Q3_K>(bytes, out),
            Format::Q4_K => dequantize_blocks::<Q4_K>(bytes, out),
            Format::Q5_K => dequantize_blocks::<Q5_K>(bytes, out),
            Format::Q6_K => dequantize_blocks::<Q6_K>(bytes, out),
            Format::IQ4_XS => dequantize_blocks::<IQ4_XS>(bytes, out),
            Format::TQ2_0 => dequantize_blocks::<TQ2_0>(bytes, out),
            Format::F16 => {
                let (chunks, rest) = out.as_chunks_mut::<4>();
                for (out, halves) in chunks.iter_mut().zip(bytes.chunks_exact(8)) {
                    store(out, u16::load(halves.as_ptr().cast()));
                }
                let done = bytes.len() - rest.len() * 2;
                reference::dequantize(format, &bytes[done..], rest);
            }
            _ => match lookup::decoder(format) {
                Some(decode) => {
                    let mut block = Decoded::ZERO;
                    let blocks = bytes.chunks_exact(format.block_bytes());
                    for (bytes, out) in blocks.zip(out.chunks_exact_mut(format.block_len())) {
                        decode(bytes.as_ptr(), &mut block);
                        dequantize_block::<Decoded>((&raw const block).cast(), out);
                    }
                }
                None => reference::dequantize(format, bytes, out),
            },
        }
    }
}

/// As [`dequantize`], for a block format.
///
/// # Safety
/// `bytes` must be whole blocks of as many weights as `out` holds.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn dequantize_blocks<F: Packed>(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(F::BYTES).zip(out.chunks_exact_mut(F::PARTS * BLOCK)) {
        // SAFETY: a whole block.
        unsafe { dequantize_block::<F>(block.as_ptr(), out) };
    }
}

/// As [`dequantize`], for one block of a format.
///
/// # Safety
/// `block` must be a whole block, and `out` have room for its weights.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn dequantize_block<F: Packed>(block: *const u8, out: &mut [f32]) {
    let parts = out.as_chunks_mut::<BLOCK>().0;
    // SAFETY: as promised by the caller; the parts are those of the format.
    unsafe {
        let shared = F::shared([block; 4]);
        each_part!(F, PART => { dequantize_part::<F, PART>(block, &shared, parts) });
    }
}

/// 32 weights. The block stands for four rows, so that every lane holds its scales.
///
/// # Safety
/// `block` must be a whole block, `shared` of it, and `PART` below the format's parts.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn dequantize_part<F: Packed, const PART: usize>(
    block: *const u8,
    shared: &F::Shared,
    parts: &mut [[f32; BLOCK]],
) {
    // SAFETY: as promised by the caller.
    let (scales, weights) = unsafe { (F::scales::<PART>(shared), F::weights::<PART>(block)) };
    let halves = parts[PART].as_chunks_mut::<HALF>().0;
    let split =
        |which: Split, first: float32x4_t| [first, if F::SPLIT == which { scales.second } else { first }];
    let (d, minima) = (split(Split::Scale, scales.d), split(Split::Minimum, scales.minimum));
    for (half, (out, weights)) in halves.iter_mut().zip(weights).enumerate() {
        let d = match F::SCALES {
            IntegerScales::None => d[half],
            IntegerScales::One | IntegerScales::Two => vmulq_f32(d[half], vcvtq_f32_s32(scales.halves[half])),
        };
        let weights = vsubq_s8(weights, vdupq_n_s8(F::OFFSET));
        let (low, high) = (vmovl_s8(vget_low_s8(weights)), vmovl_high_s8(weights));
        let quarters = [
            vmovl_s16(vget_low_s16(low)),
            vmovl_high_s16(low),
            vmovl_s16(vget_low_s16(high)),
            vmovl_high_s16(high),
        ];
        for (out, weights) in out.as_chunks_mut::<4>().0.iter_mut().zip(quarters) {
            let mut value = vmulq_f32(d, vcvtq_f32_s32(weights));
            if F::MINIMUM {
                value = vaddq_f32(value, minima[half]);
            }
            store(out, value);
        }
    }
}

/// A row in int8 blocks.
#[target_feature(enable = "neon")]
pub fn quantize(x: &[f32], out: &mut QuantizedMut<'_>) -> Result<(), NotFinite> {
    let q = out.q.as_chunks_mut::<BLOCK>().0;
    let sums = out.sums.as_chunks_mut::<{ BLOCK / HALF }>().0;
    for (((x, q), d_out), sums) in x.as_chunks::<BLOCK>().0.iter().zip(q).zip(out.d.iter_mut()).zip(sums) {
        let (x, _) = x.as_chunks::<4>();
        // Magnitudes compare like their bits, NaN above infinity above all finite ones.
        let mut amax = vdupq_n_u32(0);
        for x in x {
            amax = vmaxq_u32(amax, vreinterpretq_u32_f32(vabsq_f32(load(x))));
        }
        let amax = vmaxvq_u32(amax);
        if amax >= f32::INFINITY.to_bits() {
            return Err(NotFinite);
        }
        let d = f32::from_bits(amax) / 127.0;
        if d < f32::MIN_POSITIVE {
            (*d_out, *q, *sums) = (0.0, [0; BLOCK], [0; 2]);
            continue;
        }
        *d_out = d;
        let d = vdupq_n_f32(d);
        for (half, (q, sum)) in q.as_chunks_mut::<HALF>().0.iter_mut().zip(sums).enumerate() {
            // To nearest, ties to even. |x| / d is at most 127 * (1 + 2^-22), which rounds to 127: nothing to clamp.
            let round = |i: usize| vcvtnq_s32_f32(vdivq_f32(load(&x[half * 4 + i]), d));
            let low = vmovn_high_s32(vmovn_s32(round(0)), round(1));
            let high = vmovn_high_s32(vmovn_s32(round(2)), round(3));
            let all = vmovn_high_s16(vmovn_s16(low), high);
            // SAFETY: sixteen values.
            unsafe { vst1q_s8(q.as_mut_ptr(), all) };
            *sum = vaddlvq_s8(all);
        }
    }
    Ok(())
}

/// RMSNorm: `(x * r) * weight` with `r = 1 / sqrt(Σ x² / n + eps)`.
#[target_feature(enable = "neon")]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let [squares] = dots([x], x);
    let r = 1.0 / libm::sqrtf(squares / x.len() as f32 + eps);
    if !squares.is_finite() {
        return Err(NotFinite);
    }
    let (x, x_rest) = x.as_chunks::<4>();
    let (weight, weight_rest) = weight.as_chunks::<4>();
    let (out, out_rest) = out.as_chunks_mut::<4>();
    for (out, (x, weight)) in out.iter_mut().zip(x.iter().zip(weight)) {
        store(out, vmulq_f32(vmulq_n_f32(load(x), r), load(weight)));
    }
    for (out, (x, weight)) in out_rest.iter_mut().zip(x_rest.iter().zip(weight_rest)) {
        *out = x * r * weight;
    }
    Ok(())
}

/// LayerNorm: `c * r * weight`, and `+ bias` where there is one, with `c = x - Σ x / n` and
/// `r = 1 / sqrt(Σ c² / n + eps)`.
#[target_feature(enable = "neon")]
pub fn layer_norm(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) -> Result<(), NotFinite> {
    let n = x.len() as f32;
    let (whole, rest) = x.as_chunks::<LANES>();
    // What is left over is as if zeros followed: to a sum of squares, or to a sum that is not -0, they add nothing.
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let mut sums = zero_lanes();
    for x in whole.iter().chain([&last]) {
        for (sum, x) in sums.iter_mut().zip(x.as_chunks::<4>().0) {
            *sum = vaddq_f32(*sum, load(x));
        }
    }
    let mean = fold(sums) / n;
    let mut squares = zero_lanes();
    for x in whole {
        for (sum, x) in squares.iter_mut().zip(x.as_chunks::<4>().0) {
            let c = vsubq_f32(load(x), vdupq_n_f32(mean));
            *sum = vfmaq_f32(*sum, c, c);
        }
    }
    last[..rest.len()].iter_mut().for_each(|x| *x -= mean);
    for (sum, c) in squares.iter_mut().zip(last.as_chunks::<4>().0) {
        *sum = vfmaq_f32(*sum, load(c), load(c));
    }
    let squares = fold(squares);
    if !squares.is_finite() {
        return Err(NotFinite);
    }
    let r = 1.0 / libm::sqrtf(squares / n + eps);
    // Without sums across lanes and without fma: the compiler makes vectors of it.
    for (out, (x, weight)) in out.iter_mut().zip(x.iter().zip(weight)) {
        *out = (x - mean) * r * weight;
    }
    for (out, bias) in out.iter_mut().zip(bias.unwrap_or_default()) {
        *out += bias;
    }
    Ok(())
}

/// RoPE: the pair (a, b) becomes `(a cos - b sin, a sin + b cos)`, each as one product and one fma.
#[target_feature(enable = "neon")]
pub fn rope(rotation: Rotation, cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]) {
    let pairs = cos.len();
    let (cos4, cos_rest) = cos.as_chunks::<4>();
    let (sin4, sin_rest) = sin.as_chunks::<4>();
    let angles = || cos4.iter().zip(sin4).map(|(cos, sin)| (load(cos), load(sin)));
    for head in heads.chunks_exact_mut(head_dim) {
        let head = &mut head[..2 * pairs];
        match rotation {
            Rotation::Adjacent => {
                let (chunks, rest) = head.as_chunks_mut::<8>();
                for (chunk, (cos, sin)) in chunks.iter_mut().zip(angles()) {
                    // SAFETY: eight values.
                    unsafe {
                        let float32x4x2_t(a, b) = vld2q_f32(chunk.as_ptr());
                        let (a, b) = rotate(a, b, cos, sin);
                        vst2q_f32(chunk.as_mut_ptr(), float32x4x2_t(a, b));
                    }
                }
                for (pair, (cos, sin)) in
                    rest.as_chunks_mut::<2>().0.iter_mut().zip(cos_rest.iter().zip(sin_rest))
                {
                    *pair = rotate_one(*pair, *cos, *sin);
                }
            }
            Rotation::Halves => {
                let (first, second) = head.split_at_mut(pairs);
                let (first, first_rest) = first.as_chunks_mut::<4>();
                let (second, second_rest) = second.as_chunks_mut::<4>();
                for ((first, second), (cos, sin)) in first.iter_mut().zip(second).zip(angles()) {
                    let (a, b) = rotate(load(first), load(second), cos, sin);
                    store(first, a);
                    store(second, b);
                }
                let rest = first_rest.iter_mut().zip(second_rest).zip(cos_rest.iter().zip(sin_rest));
                for ((first, second), (cos, sin)) in rest {
                    [*first, *second] = rotate_one([*first, *second], *cos, *sin);
                }
            }
        }
    }
}

/// Rotates four pairs.
#[inline]
#[target_feature(enable = "neon")]
fn rotate(a: float32x4_t, b: float32x4_t, cos: float32x4_t, sin: float32x4_t) -> (float32x4_t, float32x4_t) {
    (vfmaq_f32(vnegq_f32(vmulq_f32(b, sin)), a, cos), vfmaq_f32(vmulq_f32(b, cos), a, sin))
}

/// Rotates one pair.
#[inline]
fn rotate_one([a, b]: [f32; 2], cos: f32, sin: f32) -> [f32; 2] {
    [math::fma(a, cos, -(b * sin)), math::fma(a, sin, b * cos)]
}

/// `silu(gate) * up`.
#[target_feature(enable = "neon")]
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (gate, gate_rest) = gate.as_chunks::<4>();
    let (up, up_rest) = up.as_chunks::<4>();
    let (out, out_rest) = out.as_chunks_mut::<4>();
    let one = vdupq_n_f32(1.0);
    for (out, (gate, up)) in out.iter_mut().zip(gate.iter().zip(up)) {
        let gate = load(gate);
        let silu = vdivq_f32(gate, vaddq_f32(one, exp(vnegq_f32(gate))));
        store(out, vmulq_f32(silu, load(up)));
    }
    reference::silu_mul(gate_rest, up_rest, out_rest);
}

/// `x = x / (1 + e^-z)` with `z = x (linear + cubic x^2)`.
#[target_feature(enable = "neon")]
pub fn swish(x: &mut [f32], linear: f32, cubic: f32) {
    let (xs, rest) = x.as_chunks_mut::<4>();
    for x in xs {
        let v = load(x);
        let z = vmulq_f32(v, vfmaq_f32(vdupq_n_f32(linear), vmulq_f32(v, v), vdupq_n_f32(cubic)));
        store(x, vdivq_f32(v, vaddq_f32(vdupq_n_f32(1.0), exp(vnegq_f32(z)))));
    }
    reference::swish(rest, linear, cubic);
}

/// `x = cap tanh(x / cap)`.
#[target_feature(enable = "neon")]
pub fn soft_cap(x: &mut [f32], cap: f32) {
    let (xs, rest) = x.as_chunks_mut::<4>();
    let one = vdupq_n_f32(1.0);
    for x in xs {
        let y = vdivq_f32(load(x), vdupq_n_f32(cap));
        let t = exp(vmulq_f32(vdupq_n_f32(-2.0), vabsq_f32(y)));
        let tanh = vdivq_f32(vsubq_f32(one, t), vaddq_f32(one, t));
        // The sign is that of y.
        let tanh = vbslq_f32(vdupq_n_u32(0x8000_0000), y, tanh);
        store(x, vmulq_f32(vdupq_n_f32(cap), tanh));
    }
    reference::soft_cap(rest, cap);
}

/// To half precision.
#[target_feature(enable = "neon")]
pub fn to_f16(x: &[f32], out: &mut [u16]) {
    let (x, x_rest) = x.as_chunks::<4>();
    let (out, out_rest) = out.as_chunks_mut::<4>();
    for (out, x) in out.iter_mut().zip(x) {
        let halves = vreinterpret_u16_f16(vcvt_f16_f32(load(x)));
        // SAFETY: four values.
        unsafe { vst1_u16(out.as_mut_ptr(), halves) };
    }
    reference::to_f16(x_rest, out_rest);
}
