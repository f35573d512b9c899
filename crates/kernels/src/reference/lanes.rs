//! The 16 virtual lanes of every float reduction.

use crate::math::fma;

/// The number of virtual lanes.
pub const LANES: usize = 16;

/// The sum of the lanes, folded 8, 4, 2, 1.
pub fn fold(mut lanes: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// Σ a·b.
pub fn dot(a: impl Iterator<Item = f32>, b: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; LANES];
    for (i, (a, b)) in a.zip(b).enumerate() {
        lanes[i % LANES] = fma(a, b, lanes[i % LANES]);
    }
    fold(lanes)
}

/// Σ a.
pub fn sum(a: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; LANES];
    for (i, a) in a.enumerate() {
        lanes[i % LANES] += a;
    }
    fold(lanes)
}
