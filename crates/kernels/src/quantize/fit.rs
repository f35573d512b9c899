//! The search for scales: for some weights and a set of levels, the scale with which the weights come nearest to levels.
//!
//! A scale is tried by giving each weight its nearest level. For these levels, the best scale (and minimum) is that of
//! least squares, and what its sum of squared errors would be follows from the same sums. The best of some trials is
//! then its own next trial, until that gains nothing (Lloyd 1982, "Least squares quantization in PCM").
//!
//! All sums go over eight lanes, so that a compiler may take vectors for them and must not change a bit.

use crate::math::ROUND;

const LANES: usize = 8;
/// How often a result is tried again.
const REPEATS: usize = 4;

/// The nearest integer, ties to even, for magnitudes below 2^22.
pub fn nearest(x: f32) -> f32 {
    (x + ROUND) - ROUND
}

/// The nearest of the integers from `low` to `high`.
#[inline(always)]
#[allow(clippy::inline_always, reason = "one instruction each in a loop of vectors")]
pub fn nearest_within(x: f32, low: f32, high: f32) -> f32 {
    // Bounded first: only then is the rounding exact.
    let x = if x > low { x } else { low };
    nearest(if x < high { x } else { high })
}

/// Sums over the weights of terms that `terms` gives for each.
#[inline(always)]
#[allow(clippy::inline_always, reason = "becomes one loop with its argument")]
pub fn sums<const N: usize, const TERMS: usize>(
    x: &[f32; N],
    terms: impl Fn(f32) -> [f32; TERMS],
) -> [f32; TERMS] {
    let mut lanes = [[0.0; LANES]; TERMS];
    for x in x.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            let terms = terms(x[lane]);
            for term in 0..TERMS {
                lanes[term][lane] += terms[term];
            }
        }
    }
    lanes.map(|l| ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])))
}

/// The sum of squared differences from what `value` makes of each weight.
#[inline(always)]
#[allow(clippy::inline_always, reason = "becomes one loop with its argument")]
pub fn error<const N: usize>(x: &[f32; N], value: impl Fn(f32) -> f32) -> f32 {
    let [error] = sums(x, |x| {
        let difference = value(x) - x;
        [difference * difference]
    });
    error
}

/// The weight of the largest magnitude, the first of several.
pub fn extreme<const N: usize>(x: &[f32; N]) -> f32 {
    x.iter().fold(0.0, |most: f32, x| if x.abs() > most.abs() { *x } else { most })
}

/// The scale `s` with which `s` times the level that `level` finds for `x / s` is nearest to each `x`; 0 where all are 0.
/// `inverses` are the first trials, as `1 / s`.
#[inline(always)]
#[allow(clippy::inline_always, reason = "becomes one loop with its arguments")]
pub fn scale<const N: usize>(
    x: &[f32; N],
    inverses: impl Iterator<Item = f32>,
    level: impl Fn(f32) -> f32 + Copy,
) -> f32 {
    let attempt = |inverse: f32| {
        let [qx, qq] = sums(x, |x| {
            let q = level(x * inverse);
            [q * x, q * q]
        });
        // The squared error is that of all zeros less this gain.
        if qq > 0.0 { (qx / qq * qx, qx / qq) } else { (0.0, 0.0) }
    };
    best(inverses.map(attempt), |scale| attempt(1.0 / scale), |scale| scale != 0.0).unwrap_or(0.0)
}

/// Weights as integers with a scale and a minimum: `scale * q - minimum`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Affine {
    /// The step, never negative.
    pub scale: f32,
    /// What is taken off, never negative.
    pub minimum: f32,
}

/// The best of integers from 0 to `most` for these weights.
pub fn affine<const N: usize>(x: &[f32; N], most: f32, trials: impl Iterator<Item = f32>) -> Affine {
    let (low, high) = x.iter().fold((0.0, f32::MIN), |(low, high): (f32, f32), x| {
        (if *x < low { *x } else { low }, if *x > high { *x } else { high })
    });
    let flat = Affine { scale: 0.0, minimum: -low };
    if high <= low {
        return flat;
    }
    let count = N as f32;
    let [all] = sums(x, |x| [x]);
    let attempt = |inverse: f32, minimum: f32| {
        let [q, qq, qx] = sums(x, |x| {
            let q = nearest_within((x + minimum) * inverse, 0.0, most);
            [q, q * q, q * x]
        });
        // The squared error is that of all zeros less a gain, which is what comes first here.
        let without_minimum = (qx / qq * qx, Affine { scale: qx / qq, minimum: 0.0 });
        let spread = count * qq - q * q;
        if spread <= 0.0 {
            // One integer for all.
            return if qx > 0.0 { without_minimum } else { (f32::MIN, flat) };
        }
        let scale = (count * qx - all * q) / spread;
        let minimum = (scale * q - all) / count;
        if minimum < 0.0 { without_minimum } else { (scale * qx - minimum * all, Affine { scale, minimum }) }
    };
    let width = high - low;
    best(
        trials.map(|trial| attempt((most + trial) / width, -low)),
        |found| attempt(1.0 / found.scale, found.minimum),
        |found| found.scale > 0.0,
    )
    .filter(|found| found.scale > 0.0)
    .unwrap_or(flat)
}

/// A gain must exceed another by this factor to be more than the rounding of sums.
const MORE: f32 = 1.0 + 4.0 * f32::EPSILON;

/// Of some results with their gains the best, the first of several, which is then tried again as long as that gains
/// something.
#[inline(always)]
#[allow(clippy::inline_always, reason = "becomes one loop with its arguments")]
fn best<T: Copy>(
    first: impl Iterator<Item = (f32, T)>,
    again: impl Fn(T) -> (f32, T),
    may_go_on: impl Fn(T) -> bool,
) -> Option<T> {
    let (mut gain, mut found) =
        first.reduce(|best, next| if next.0 > best.0 * MORE { next } else { best })?;
    for _ in 0..REPEATS {
        if !may_go_on(found) {
            break;
        }
        let next = again(found);
        if next.0 <= gain * MORE {
            break;
        }
        (gain, found) = next;
    }
    Some(found)
}
