//! Scalar arithmetic that every level must agree on: fused multiply-add, conversions of small floats, exp.
//!
//! Each function is defined operation by operation, so that a vector version with the same operations per lane
//! gives the same bits.

/// `a * b + c`, rounded once. `libm::fmaf` is the definition; hardware gives the same bits.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inside a target_feature function this must become one instruction")]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(vfma)]
    return vfma(a, b, c);
    #[cfg(not(vfma))]
    libm::fmaf(a, b, c)
}

/// [`fma`] by hardware on Cortex-M. A function that is called, because inline assembly takes no single-precision registers
/// where there are no double-precision ones; it is still shorter than the software's way.
#[cfg(vfma)]
#[unsafe(naked)]
extern "C" fn vfma(a: f32, b: f32, c: f32) -> f32 {
    // Arguments and result are in registers, by the hard-float procedure call standard (AAPCS32, 6.1.2).
    core::arch::naked_asm!(".fpu fpv4-sp-d16", "vfma.f32 s2, s0, s1", "vmov.f32 s0, s2", "bx lr")
}

/// The value of an IEEE half-precision number.
#[inline]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let mantissa = u32::from(bits & 0x3ff);
    match exponent {
        // A multiple of 2^-24: exact in f32.
        0 => f32::from_bits(sign | (mantissa as f32 * (1.0 / 16_777_216.0)).to_bits()),
        // Infinity, or a NaN that the hardware makes quiet.
        31 => {
            f32::from_bits(sign | 0x7f80_0000 | mantissa << 13 | if mantissa == 0 { 0 } else { 0x0040_0000 })
        }
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// The half-precision number nearest to `value`, ties to even; too large a value becomes infinity.
#[inline]
pub fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00 | (magnitude >> 13) as u16 & 0x3ff;
    }
    if magnitude >= 0x4780_0000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below 2^-14 halves are multiples of 2^-24: adding 0.5, whose last place is 2^-24, rounds to one.
        let rounded = f32::from_bits(magnitude) + 0.5;
        return sign | (rounded.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let odd = magnitude >> 13 & 1;
    // Rounding may carry into the exponent, up to infinity, as it should.
    sign | ((magnitude - (112 << 23) + 0xfff + odd) >> 13) as u16
}

/// The value of a bfloat16 number.
#[inline]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bfloat16 number nearest to `value`, ties to even; too large a value becomes infinity, and NaN stays NaN.
#[inline]
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    // Rounding may carry into the exponent, up to infinity, as it should.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Below this, [`exp`] is 0: smaller results would be subnormal.
pub const EXP_UNDERFLOW: f32 = -87.0;
/// Above this, [`exp`] is infinite.
pub const EXP_OVERFLOW: f32 = 88.722_83;
/// Adding and subtracting this rounds to the nearest integer, ties to even, for values below 2^22.
pub const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; a small integer times the first is exact.
pub const LN2_HIGH: f32 = 0.693_359_4;
/// See [`LN2_HIGH`].
pub const LN2_LOW: f32 = -2.121_944_4e-4;
/// Coefficients of (exp(r) - 1 - r - r^2/2) / r^3 for |r| <= ln(2)/2, highest power first (S. Moshier, Cephes, `expf`).
pub const EXP_POLYNOMIAL: [f32; 5] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1];

/// e^x, within 2 units in the last place; 0 below [`EXP_UNDERFLOW`], infinite above [`EXP_OVERFLOW`].
#[inline]
pub fn exp(x: f32) -> f32 {
    if x < EXP_UNDERFLOW {
        return 0.0;
    }
    if x > EXP_OVERFLOW {
        return f32::INFINITY;
    }
    if x.is_nan() {
        return f32::NAN;
    }
    exp_in_range(x)
}

/// [`exp`] of what neither underflows nor overflows.
#[cfg(not(vfma))]
#[inline]
fn exp_in_range(x: f32) -> f32 {
    let n = fma(x, core::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x));
    let mut p = EXP_POLYNOMIAL[0];
    for c in &EXP_POLYNOMIAL[1..] {
        p = fma(p, r, *c);
    }
    // 1 + r + r^2 (1/2 + r p)
    let p = fma(fma(p, r, 0.5), r * r, r) + 1.0;
    f32::from_bits(p.to_bits().wrapping_add(((n as i32) << 23) as u32))
}

/// The same operations in one function: as many calls of [`fma`] would take four times as long.
#[cfg(vfma)]
#[unsafe(naked)]
extern "C" fn exp_in_range(x: f32) -> f32 {
    core::arch::naked_asm!(
        ".fpu fpv4-sp-d16",
        "adr r0, 1f",
        "vldmia r0, {{s1-s11}}",
        // n in s12
        "vmov.f32 s12, s2",
        "vfma.f32 s12, s0, s1",
        "vsub.f32 s12, s12, s2",
        // r in s0, its square in s13
        "vfma.f32 s0, s12, s3",
        "vfma.f32 s0, s12, s4",
        "vmul.f32 s13, s0, s0",
        // p in s9, then in s10
        "vfma.f32 s6, s5, s0",
        "vfma.f32 s7, s6, s0",
        "vfma.f32 s8, s7, s0",
        "vfma.f32 s9, s8, s0",
        "vfma.f32 s10, s9, s0",
        "vfma.f32 s0, s10, s13",
        "vadd.f32 s0, s0, s11",
        "vcvt.s32.f32 s12, s12",
        "vmov r0, s0",
        "vmov r1, s12",
        "add r0, r0, r1, lsl #23",
        "vmov s0, r0",
        "bx lr",
        ".balign 4",
        "1:",
        ".word {log2_e}, {round}, {high}, {low}, {p0}, {p1}, {p2}, {p3}, {p4}, {half}, {one}",
        log2_e = const core::f32::consts::LOG2_E.to_bits(),
        round = const ROUND.to_bits(),
        high = const (-LN2_HIGH).to_bits(),
        low = const (-LN2_LOW).to_bits(),
        p0 = const EXP_POLYNOMIAL[0].to_bits(),
        p1 = const EXP_POLYNOMIAL[1].to_bits(),
        p2 = const EXP_POLYNOMIAL[2].to_bits(),
        p3 = const EXP_POLYNOMIAL[3].to_bits(),
        p4 = const EXP_POLYNOMIAL[4].to_bits(),
        half = const 0.5f32.to_bits(),
        one = const 1.0f32.to_bits(),
    )
}

/// x / (1 + e^-x), the activation of Elfwing et al. 2017 (arXiv:1702.03118).
#[inline]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// x / (1 + e^-z) with `z = x (linear + cubic x^2)` (Ramachandran et al. 2017, arXiv:1710.05941, for `cubic` 0).
#[inline]
pub fn swish(x: f32, linear: f32, cubic: f32) -> f32 {
    let z = x * fma(x * x, cubic, linear);
    x / (1.0 + exp(-z))
}

/// What makes [`swish`] GELU with a tanh in place of the error function (Hendrycks and Gimpel 2016, arXiv:1606.08415), by
/// `(1 + tanh u) / 2 = 1 / (1 + e^-2u)`: `2 sqrt(2 / pi)`, and 0.044715 times that.
pub const GELU: [f32; 2] = [1.595_769_2, 0.071_354_814];

/// `(x / 2) (1 + erf(x / sqrt 2))`, GELU as it is defined.
#[inline]
pub fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * core::f32::consts::FRAC_1_SQRT_2))
}

/// The square of what is positive in x (So et al. 2021, arXiv:2109.08668).
#[inline]
pub fn relu_squared(x: f32) -> f32 {
    let x = if x > 0.0 { x } else { 0.0 };
    x * x
}

/// tanh, as `(1 - t) / (1 + t)` with `t = e^-2|x|`, and the sign of x.
#[inline]
pub fn tanh(x: f32) -> f32 {
    let t = exp(-2.0 * x.abs());
    ((1.0 - t) / (1.0 + t)).copysign(x)
}

/// Coefficients of (ln(1 + u) - 2 s) / s^3 in s^2, `s = u / (u + 2)`, highest power first: those of the series of 2 artanh.
/// For u below 1, what is left out is less than 2^-29 of the result.
pub const SOFTPLUS: [f32; 7] =
    [2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0];

/// ln(1 + e^x), as `max(x, 0) + ln(1 + u)` with `u = e^-|x|` (Dugas et al. 2000).
#[inline]
pub fn softplus(x: f32) -> f32 {
    let u = exp(-x.abs());
    let s = u / (u + 2.0);
    let z = s * s;
    let mut p = SOFTPLUS[0];
    for c in &SOFTPLUS[1..] {
        p = fma(p, z, *c);
    }
    let positive = if x > 0.0 { x } else { 0.0 };
    positive + fma(s * z, p, s + s)
}

/// 1 / (1 + e^-x).
#[inline]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}
