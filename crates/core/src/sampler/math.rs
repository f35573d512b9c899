//! Exponentials and sums over a whole vocabulary: one definition for every machine, that a compiler can vectorize.
//!
//! The kernels' `exp` is made of fused multiply-adds, which the contract wants there and which cost a library call each
//! where a target is not known to have them. A vocabulary has a hundred thousand tokens, so this one takes plain
//! products and sums, whose bits are the same everywhere too.

use stonechat_kernels::math::{EXP_POLYNOMIAL, LN2_HIGH, LN2_LOW, ROUND};

/// Below this, [`exp`] is 0: smaller results would be subnormal.
const UNDERFLOW: f32 = -87.0;

/// e^x for an x that is not positive, within 3 units in the last place; 0 below -87, and for what is no number.
#[inline]
pub fn exp(x: f32) -> f32 {
    // Outside, whatever comes of it is not used.
    let inside = x >= UNDERFLOW;
    let x = if inside { x } else { 0.0 };
    let n = (x * core::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = EXP_POLYNOMIAL[0];
    for c in &EXP_POLYNOMIAL[1..] {
        p = p * r + c;
    }
    let p = ((p * r + 0.5) * (r * r) + r) + 1.0;
    let power = f32::from_bits(p.to_bits().wrapping_add(((n as i32) << 23) as u32));
    if inside { power } else { 0.0 }
}

/// The sum of `value(item)`: 16 partial sums, the i-th item to sum i mod 16, folded 8, 4, 2, 1. Vectors hold them,
/// and so many numbers are added more exactly than one by one.
#[inline]
pub fn sum<T>(items: &[T], value: impl Fn(&T) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let chunks = items.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, item) in lanes.iter_mut().zip(chunk) {
            *lane += value(item);
        }
    }
    for (lane, item) in lanes.iter_mut().zip(rest) {
        *lane += value(item);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::{exp, sum};
    use std::vec::Vec;

    #[test]
    fn exp_is_near_the_exact_one() {
        let mut worst = 0.0f64;
        for step in 0..870_000 {
            let x = -(step as f32) * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
        }
        assert!(worst < 3.0 * f64::from(f32::EPSILON) / 2.0, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([exp(-88.0), exp(f32::NEG_INFINITY), exp(f32::NAN)], [0.0; 3]);
    }

    #[test]
    fn a_sum_of_many_is_exact_enough_at_any_length() {
        for len in [0, 1, 15, 16, 17, 100_003] {
            let items: Vec<f32> = (0..len).map(|i| 1.0 + (i % 7) as f32 * 0.125).collect();
            let exact: f64 = items.iter().map(|item| f64::from(*item)).sum();
            assert!((f64::from(sum(&items, |item| *item)) - exact).abs() <= exact * 1e-6, "{len}");
        }
    }
}
