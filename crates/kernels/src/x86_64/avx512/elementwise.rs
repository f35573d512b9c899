//! What happens to a row of activations between matrices, sixteen values at a time.

use crate::math::{EXP_OVERFLOW, EXP_POLYNOMIAL, EXP_UNDERFLOW, LN2_HIGH, LN2_LOW, ROUND};
use crate::reference;
use core::arch::x86_64::{
    __m512, _CMP_GT_OQ, _CMP_NLT_UQ, _mm512_add_epi32, _mm512_add_ps, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_mov_ps, _mm512_maskz_mov_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps, _mm512_xor_ps,
};

/// Sixteen values to a vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: the array is 16 floats; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// A vector to sixteen values.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(values: &mut [f32; 16], vector: __m512) {
    // SAFETY: the array is 16 floats; the store needs no alignment.
    unsafe { _mm512_storeu_ps(values.as_mut_ptr(), vector) }
}

/// e^x as [`math::exp`](crate::math::exp) defines it, for numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn exp(x: __m512) -> __m512 {
    let n = _mm512_sub_ps(
        _mm512_fmadd_ps(x, _mm512_set1_ps(core::f32::consts::LOG2_E), _mm512_set1_ps(ROUND)),
        _mm512_set1_ps(ROUND),
    );
    let r = _mm512_fmadd_ps(n, _mm512_set1_ps(-LN2_LOW), _mm512_fmadd_ps(n, _mm512_set1_ps(-LN2_HIGH), x));
    let mut p = _mm512_set1_ps(EXP_POLYNOMIAL[0]);
    for c in &EXP_POLYNOMIAL[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*c));
    }
    let p = _mm512_fmadd_ps(_mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5)), _mm512_mul_ps(r, r), r);
    let p = _mm512_add_ps(p, _mm512_set1_ps(1.0));
    let power = _mm512_slli_epi32::<23>(_mm512_cvtps_epi32(n));
    let e = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), power));
    let e = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(EXP_UNDERFLOW)), e);
    let over = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_set1_ps(EXP_OVERFLOW));
    _mm512_mask_mov_ps(e, over, _mm512_set1_ps(f32::INFINITY))
}

/// `silu(gate) * up`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (gates, gate_rest) = gate.as_chunks::<16>();
    let (ups, up_rest) = up.as_chunks::<16>();
    let (outs, out_rest) = out.as_chunks_mut::<16>();
    for (out, (gate, up)) in outs.iter_mut().zip(gates.iter().zip(ups)) {
        let gate = load(gate);
        let e = exp(_mm512_xor_ps(gate, _mm512_set1_ps(-0.0)));
        let silu = _mm512_div_ps(gate, _mm512_add_ps(_mm512_set1_ps(1.0), e));
        store(out, _mm512_mul_ps(silu, load(up)));
    }
    reference::silu_mul(gate_rest, up_rest, out_rest);
}
