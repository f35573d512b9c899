//! Formats whose weights are levels of [`IQ4`], which lie closer together around 0: 32 weights share a scale.

use super::fit;
use super::k::scales;
use super::small::joined;
use super::{half, inverse, nibbles};
use crate::codebooks::IQ4;
use crate::elementwise::NotFinite;

/// For each half integer from -128 on the number of the nearest level: levels are integers, so that the middle between two
/// is one of these.
static NEAREST: [u8; 512] = nearest_levels();

const fn nearest_levels() -> [u8; 512] {
    let mut numbers = [0; 512];
    let mut at = 0;
    while at < 512 {
        // Four times the distance, from the middle of what this place stands for.
        let x = at as i32 * 2 - 511;
        let mut number = 1;
        while number < 16 {
            let best = numbers[at] as usize;
            if (4 * IQ4[number] as i32 - x).abs() < (4 * IQ4[best] as i32 - x).abs() {
                numbers[at] = number as u8;
            }
            number += 1;
        }
        at += 1;
    }
    numbers
}

/// The number of the level nearest to `x`.
fn number(x: f32) -> u8 {
    // Cut off at 0 and above: a float below 0 becomes 0.
    NEAREST[((x * 2.0 + 256.0) as usize).min(511)]
}

/// The level nearest to `x`.
fn level(x: f32) -> f32 {
    f32::from(IQ4[usize::from(number(x))])
}

/// The scale that suits 32 weights best.
fn scale(weights: &[f32; 32]) -> f32 {
    let extreme = fit::extreme(weights);
    if extreme == 0.0 {
        return 0.0;
    }
    // The extreme near the lowest level, or near the highest.
    let ends = [f32::from(IQ4[0]), f32::from(IQ4[15])];
    let inverses = (-7_i8..=7).flat_map(|trial| ends.map(|end| (end + f32::from(trial)) / extreme));
    fit::scale(weights, inverses, level)
}

/// d (f16), 16 bytes of numbers of 4 bits.
pub fn iq4_nl(weights: &[f32; 32]) -> Result<[u8; 18], NotFinite> {
    let (bytes, d) = half(scale(weights))?;
    let steps = inverse(d);
    Ok(joined([&bytes, &nibbles(&weights.map(|weight| number(weight * steps)))]))
}

/// d (f16), the upper 2 bits of 8 scales around 32 in 2 bytes, their lower halves in 4 bytes, 128 bytes of numbers.
pub fn iq4_xs(weights: &[f32; 256]) -> Result<[u8; 136], NotFinite> {
    let parts = weights.as_chunks::<32>().0;
    let mut wanted = [0.0; 8];
    for (wanted, part) in wanted.iter_mut().zip(parts) {
        *wanted = scale(part);
    }
    let scales = scales(parts, &wanted, 32.0, level)?;
    let (mut upper, mut lower, mut numbers) = (0_u16, [0; 4], [0; 128]);
    for (i, part) in parts.iter().enumerate() {
        let scale = (scales.integers[i] + 32) as u8;
        upper |= u16::from(scale >> 4) << (2 * i);
        lower[i / 2] |= (scale & 15) << (i % 2 * 4);
        let nearest = part.map(|weight| number(weight * scales.inverses[i]));
        numbers[16 * i..][..16].copy_from_slice(&nibbles(&nearest));
    }
    Ok(joined([&scales.d, &upper.to_le_bytes(), &lower, &numbers]))
}
