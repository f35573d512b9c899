//! Ternary digits, five to a byte.

use super::{Coded, half, read};
use crate::aarch64::blocks::sixteen;
use crate::aarch64::dot::Weights;
use core::arch::aarch64::*;

/// 256 of -1, 0 and 1, five to a byte, one f16 scale.
pub struct TQ1_0;

/// 3^0 to 3^4.
const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// The digits that come first once bytes are multiplied by these powers of 3, less 1. A byte is a fraction of 256, its
/// first digit `3 b / 256`: here `(3 b / 4) / 64`.
#[inline]
#[target_feature(enable = "neon")]
fn digits(bytes: uint8x16_t, powers: uint8x16_t) -> int8x16_t {
    let fraction = vmulq_u8(bytes, powers);
    let three_quarters = vhaddq_u8(fraction, vshrq_n_u8::<1>(fraction));
    vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8::<6>(three_quarters)), vdupq_n_s8(1))
}

impl Coded for TQ1_0 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(block: *const u8) -> f32 {
        // SAFETY: the scale stands at 52.
        half(unsafe { read(block, 52) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]) {
        // SAFETY: as promised by the caller.
        let load = |at: usize| unsafe { vld1q_u8(block.add(at)) };
        let power = |i: usize| vdupq_n_u8(POWERS[i]);
        let weights = match part {
            // Digit `part` of the bytes 0..32.
            0..5 => [digits(load(0), power(part)), digits(load(16), power(part))],
            // Two digits of the bytes 32..48.
            5 => [digits(load(32), power(0)), digits(load(32), power(1))],
            6 => [digits(load(32), power(2)), digits(load(32), power(3))],
            // Their fifth; then four digits of the bytes 48..52.
            _ => {
                // SAFETY: as promised by the caller.
                let four = vdupq_n_u32(unsafe { read(block, 48) });
                let powers = sixteen(&[1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27]);
                [digits(load(32), power(4)), digits(vreinterpretq_u8_u32(four), powers)]
            }
        };
        (weights, [1; 2])
    }
}
