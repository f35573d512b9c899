//! What happens to a row of activations between matrices, eight values at a time.

use super::lanes::{dots, fma, fold, load, store};
use super::stored::{Bf16, F16, F32, Stored};
use crate::activations::{BLOCK, HALF, QuantizedMut};
use crate::elementwise::{NotFinite, Rotation};
use crate::math::{EXP_OVERFLOW, EXP_POLYNOMIAL, EXP_UNDERFLOW, LN2_HIGH, LN2_LOW, ROUND};
use crate::reference::lanes::LANES;
use crate::{Format, reference};
use core::arch::x86_64::{
    __m256, __m256i, _CMP_GT_OQ, _CMP_LT_OQ, _MM_FROUND_TO_NEAREST_INT, _mm_storeu_si128, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_ps, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtps_epi32, _mm256_cvtps_ph, _mm256_div_ps, _mm256_fmadd_ps,
    _mm256_fmsub_ps, _mm256_max_epi32, _mm256_mul_ps, _mm256_or_ps, _mm256_packs_epi16, _mm256_packs_epi32,
    _mm256_permute4x64_pd, _mm256_permutevar8x32_epi32, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_storeu_si256,
    _mm256_sub_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm256_xor_ps, _mm256_xor_si256,
};
use core::arch::x86_64::{_mm256_castpd_ps, _mm256_castps_pd};

/// e^x as [`math::exp`] defines it, for numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn exp(x: __m256) -> __m256 {
    let n = _mm256_sub_ps(
        _mm256_fmadd_ps(x, _mm256_set1_ps(core::f32::consts::LOG2_E), _mm256_set1_ps(ROUND)),
        _mm256_set1_ps(ROUND),
    );
    let r = _mm256_fmadd_ps(n, _mm256_set1_ps(-LN2_LOW), _mm256_fmadd_ps(n, _mm256_set1_ps(-LN2_HIGH), x));
    let mut p = _mm256_set1_ps(EXP_POLYNOMIAL[0]);
    for c in &EXP_POLYNOMIAL[1..] {
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(*c));
    }
    let p = _mm256_fmadd_ps(_mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5)), _mm256_mul_ps(r, r), r);
    let p = _mm256_add_ps(p, _mm256_set1_ps(1.0));
    let power = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
    let e = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
    let under = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_set1_ps(EXP_UNDERFLOW));
    let over = _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_set1_ps(EXP_OVERFLOW));
    _mm256_blendv_ps(_mm256_andnot_ps(under, e), _mm256_set1_ps(f32::INFINITY), over)
}

/// `silu(gate) * up`.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (gates, gate_rest) = gate.as_chunks::<8>();
    let (ups, up_rest) = up.as_chunks::<8>();
    let (outs, out_rest) = out.as_chunks_mut::<8>();
    for (out, (gate, up)) in outs.iter_mut().zip(gates.iter().zip(ups)) {
        let gate = load(gate);
        let e = exp(_mm256_xor_ps(gate, _mm256_set1_ps(-0.0)));
        let silu = _mm256_div_ps(gate, _mm256_add_ps(_mm256_set1_ps(1.0), e));
        store(out, _mm256_mul_ps(silu, load(up)));
    }
    reference::silu_mul(gate_rest, up_rest, out_rest);
}

/// `x = x / (1 + e^-z)` with `z = x (linear + cubic x^2)`.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn swish(x: &mut [f32], linear: f32, cubic: f32) {
    let (xs, rest) = x.as_chunks_mut::<8>();
    let (linears, cubics) = (_mm256_set1_ps(linear), _mm256_set1_ps(cubic));
    for x in xs {
        let v = load(x);
        let z = _mm256_mul_ps(v, _mm256_fmadd_ps(_mm256_mul_ps(v, v), cubics, linears));
        let e = exp(_mm256_xor_ps(z, _mm256_set1_ps(-0.0)));
        store(x, _mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0), e)));
    }
    reference::swish(rest, linear, cubic);
}

/// `x = cap tanh(x / cap)`.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn soft_cap(x: &mut [f32], cap: f32) {
    let (xs, rest) = x.as_chunks_mut::<8>();
    let (sign, one) = (_mm256_set1_ps(-0.0), _mm256_set1_ps(1.0));
    for x in xs {
        let y = _mm256_div_ps(load(x), _mm256_set1_ps(cap));
        let t = exp(_mm256_mul_ps(_mm256_set1_ps(-2.0), _mm256_andnot_ps(sign, y)));
        let tanh = _mm256_div_ps(_mm256_sub_ps(one, t), _mm256_add_ps(one, t));
        let tanh = _mm256_or_ps(tanh, _mm256_and_ps(sign, y));
        store(x, _mm256_mul_ps(_mm256_set1_ps(cap), tanh));
    }
    reference::soft_cap(rest, cap);
}

/// The weights of a row.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F16 => widen::<F16>(bytes, out),
        Format::BF16 => widen::<Bf16>(bytes, out),
        _ => reference::dequantize(format, bytes, out),
    }
}

/// Small floats to f32.
#[target_feature(enable = "avx2,fma,f16c")]
fn widen<S: Stored>(bytes: &[u8], out: &mut [f32]) {
    let mut eights = bytes.chunks_exact(8 * S::BYTES);
    let (outs, rest) = out.as_chunks_mut::<8>();
    for (out, bytes) in outs.iter_mut().zip(&mut eights) {
        // SAFETY: the chunk is 8 stored floats.
        store(out, unsafe { S::load(bytes.as_ptr()) });
    }
    for (out, bytes) in rest.iter_mut().zip(eights.remainder().chunks_exact(S::BYTES)) {
        *out = S::get(bytes);
    }
}

/// To half precision.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn to_f16(x: &[f32], out: &mut [u16]) {
    let (xs, x_rest) = x.as_chunks::<8>();
    let (outs, out_rest) = out.as_chunks_mut::<8>();
    for (out, x) in outs.iter_mut().zip(xs) {
        let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load(x));
        // SAFETY: the chunk is 8 values of 2 bytes; the store needs no alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), halves) };
    }
    reference::to_f16(x_rest, out_rest);
}

/// A row in int8 blocks.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn quantize(x: &[f32], out: &mut QuantizedMut<'_>) -> Result<(), NotFinite> {
    let (qs, _) = out.q.as_chunks_mut::<BLOCK>();
    let (sums, _) = out.sums.as_chunks_mut::<2>();
    let (xs, _) = x.as_chunks::<BLOCK>();
    for (((x, q), d), sums) in xs.iter().zip(qs).zip(out.d.iter_mut()).zip(sums) {
        let (eights, _) = x.as_chunks::<8>();
        let x = [load(&eights[0]), load(&eights[1]), load(&eights[2]), load(&eights[3])];
        let amax = amax(x);
        if amax >= f32::INFINITY.to_bits() {
            return Err(NotFinite);
        }
        *d = f32::from_bits(amax) / 127.0;
        if *d < f32::MIN_POSITIVE {
            *d = 0.0;
            q.fill(0);
            sums.fill(0);
            continue;
        }
        // |x / d| is at most 127 and a rounding of d away from it: nothing is left to clamp.
        let by = _mm256_set1_ps(*d);
        let int = |x| _mm256_cvtps_epi32(_mm256_div_ps(x, by));
        let low = _mm256_packs_epi32(int(x[0]), int(x[1]));
        let high = _mm256_packs_epi32(int(x[2]), int(x[3]));
        // Packing works in 128-bit lanes; the dwords come out as 0 2 4 6 1 3 5 7.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        // SAFETY: the chunk is 32 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(q.as_mut_ptr().cast(), packed) };
        *sums = half_sums(packed);
    }
    Ok(())
}

/// The bits of the largest magnitude. Magnitudes compare like their bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn amax(x: [__m256; 4]) -> u32 {
    let bits = |x| _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0), x));
    let most =
        _mm256_max_epi32(_mm256_max_epi32(bits(x[0]), bits(x[1])), _mm256_max_epi32(bits(x[2]), bits(x[3])));
    let mut lanes = [0u32; 8];
    // SAFETY: the array is 32 bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), most) };
    lanes.into_iter().fold(0, u32::max)
}

/// The sums of the lower and the upper 16 int8.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn half_sums(q: __m256i) -> [i16; 2] {
    // Shifted up by 128 the bytes are unsigned; their sums over 8 are exact.
    let sums = _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
    let mut eights = [0i64; 4];
    // SAFETY: the array is 32 bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(eights.as_mut_ptr().cast(), sums) };
    let shifted = 128 * HALF as i64;
    [(eights[0] + eights[1] - shifted) as i16, (eights[2] + eights[3] - shifted) as i16]
}

/// RMSNorm: `(x * r) * weight` with `r = 1 / sqrt(Σ x² / n + eps)`.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
    let [squares] = dots::<F32, 1>([bytemuck::cast_slice(x)], x);
    if !squares.is_finite() {
        return Err(NotFinite);
    }
    let r = 1.0 / libm::sqrtf(squares / x.len() as f32 + eps);
    let (xs, x_rest) = x.as_chunks::<8>();
    let (weights, weight_rest) = weight.as_chunks::<8>();
    let (outs, out_rest) = out.as_chunks_mut::<8>();
    for (out, (x, weight)) in outs.iter_mut().zip(xs.iter().zip(weights)) {
        store(out, _mm256_mul_ps(_mm256_mul_ps(load(x), _mm256_set1_ps(r)), load(weight)));
    }
    for (out, (x, weight)) in out_rest.iter_mut().zip(x_rest.iter().zip(weight_rest)) {
        *out = x * r * weight;
    }
    Ok(())
}

/// LayerNorm: `c * r * weight`, and `+ bias` where there is one, with `c = x - Σ x / n` and
/// `r = 1 / sqrt(Σ c² / n + eps)`.
#[target_feature(enable = "avx2,fma,f16c")]
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
    let halves = |x: &[f32; LANES]| {
        let (halves, _) = x.as_chunks::<8>();
        [load(&halves[0]), load(&halves[1])]
    };
    let mut sums = [_mm256_set1_ps(0.0); 2];
    for x in whole.iter().chain([&last]).map(halves) {
        sums = [_mm256_add_ps(sums[0], x[0]), _mm256_add_ps(sums[1], x[1])];
    }
    let mean = fold(sums) / n;
    last[..rest.len()].iter_mut().for_each(|x| *x -= mean);
    let centred = |x| _mm256_sub_ps(x, _mm256_set1_ps(mean));
    let mut squares = [_mm256_set1_ps(0.0); 2];
    for x in whole.iter().map(halves) {
        let c = [centred(x[0]), centred(x[1])];
        squares = [_mm256_fmadd_ps(c[0], c[0], squares[0]), _mm256_fmadd_ps(c[1], c[1], squares[1])];
    }
    let c = halves(&last);
    squares = [_mm256_fmadd_ps(c[0], c[0], squares[0]), _mm256_fmadd_ps(c[1], c[1], squares[1])];
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
#[target_feature(enable = "avx2,fma,f16c")]
pub fn rope(rotation: Rotation, cos: &[f32], sin: &[f32], head_dim: usize, heads: &mut [f32]) {
    let pairs = cos.len();
    for head in heads.chunks_exact_mut(head_dim) {
        let rotated = &mut head[..2 * pairs];
        match rotation {
            Rotation::Halves => rope_halves(cos, sin, rotated),
            Rotation::Adjacent => rope_adjacent(cos, sin, rotated),
        }
    }
}

/// Eight pairs.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn rotate(a: __m256, b: __m256, cos: __m256, sin: __m256) -> (__m256, __m256) {
    (_mm256_fmsub_ps(a, cos, _mm256_mul_ps(b, sin)), _mm256_fmadd_ps(a, sin, _mm256_mul_ps(b, cos)))
}

/// One pair.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn rotate_one(a: &mut f32, b: &mut f32, cos: f32, sin: f32) {
    (*a, *b) = (fma(*a, cos, -(*b * sin)), fma(*a, sin, *b * cos));
}

#[target_feature(enable = "avx2,fma,f16c")]
fn rope_halves(cos: &[f32], sin: &[f32], head: &mut [f32]) {
    let (a, b) = head.split_at_mut(cos.len());
    let (coss, cos_rest) = cos.as_chunks::<8>();
    let (sins, sin_rest) = sin.as_chunks::<8>();
    let (a, a_rest) = a.as_chunks_mut::<8>();
    let (b, b_rest) = b.as_chunks_mut::<8>();
    for ((a, b), (cos, sin)) in a.iter_mut().zip(b).zip(coss.iter().zip(sins)) {
        let (first, second) = rotate(load(a), load(b), load(cos), load(sin));
        store(a, first);
        store(b, second);
    }
    for ((a, b), (cos, sin)) in a_rest.iter_mut().zip(b_rest).zip(cos_rest.iter().zip(sin_rest)) {
        rotate_one(a, b, *cos, *sin);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn rope_adjacent(cos: &[f32], sin: &[f32], head: &mut [f32]) {
    let (coss, cos_rest) = cos.as_chunks::<8>();
    let (sins, sin_rest) = sin.as_chunks::<8>();
    let (pairs, rest) = head.as_chunks_mut::<16>();
    for (pairs, (cos, sin)) in pairs.iter_mut().zip(coss.iter().zip(sins)) {
        let (halves, _) = pairs.as_chunks_mut::<8>();
        let (v0, v1) = (load(&halves[0]), load(&halves[1]));
        // In 128-bit lanes: the pairs come as 0 1 4 5 2 3 6 7, and so must the angles.
        let order = |v| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v)));
        let (a, b) = (_mm256_shuffle_ps::<0b10_00_10_00>(v0, v1), _mm256_shuffle_ps::<0b11_01_11_01>(v0, v1));
        let (a, b) = rotate(a, b, order(load(cos)), order(load(sin)));
        store(&mut halves[0], _mm256_unpacklo_ps(a, b));
        store(&mut halves[1], _mm256_unpackhi_ps(a, b));
    }
    let (pairs, _) = rest.as_chunks_mut::<2>();
    for ([a, b], (cos, sin)) in pairs.iter_mut().zip(cos_rest.iter().zip(sin_rest)) {
        rotate_one(a, b, *cos, *sin);
    }
}
