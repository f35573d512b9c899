//! Formats of 256 weights whose 8 or 16 sub-blocks have integer scales, in their turn times a scale of half precision.
//!
//! First each sub-block gets the scale that suits it best; the largest of them gives the scale of the block. Then each
//! sub-block gets the integer scale that does least harm, which is the nearest one or a neighbour.

use super::fit::{self, nearest_within};
use super::small::joined;
use super::{half, inverse};
use crate::elementwise::NotFinite;
use crate::math::f16_to_f32;

/// What is tried for a scale: the range of the weights spread over this much more than the integers there are. Small
/// scales come first and win a tie: the largest scale of a block sets how coarse all of them are.
const TRIALS: [f32; 10] = [0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9];

/// A block whose weights are `d * scales[i / N] * numbers[i] - dmin * minima[i / N]`.
struct Shifted<const PARTS: usize> {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; PARTS],
    minima: [u8; PARTS],
    numbers: [u8; 256],
}

/// The scales of a block without minima: of sub-block `i` it is `d * integers[i]`.
pub struct Scales<const PARTS: usize> {
    pub d: [u8; 2],
    pub integers: [i8; PARTS],
    /// `1 / (d * integers[i])`, and 0 where the scale is.
    pub inverses: [f32; PARTS],
}

/// The scales of a block, integers from `-most` to `most - 1`, for sub-blocks that want the scales `wanted` and give each
/// weight, in steps, the level that `level` says.
pub fn scales<const N: usize, const PARTS: usize>(
    parts: &[[f32; N]],
    wanted: &[f32; PARTS],
    most: f32,
    level: impl Fn(f32) -> f32 + Copy,
) -> Result<Scales<PARTS>, NotFinite> {
    let mut best = None;
    let (d, rounded) = half(fit::extreme(wanted) / -most)?;
    for (d, value) in [Some((d, rounded)), coarse(d, 1), coarse(d, -1)].into_iter().flatten() {
        let mut scales = Scales { d, integers: [0; PARTS], inverses: [0.0; PARTS] };
        let mut sum = 0.0;
        for (i, part) in parts.iter().enumerate() {
            let mut least = (f32::INFINITY, 0.0);
            for scale in neighbours(wanted[i] * inverse(value), -most, most - 1.0) {
                let (step, steps) = (value * scale, inverse(value * scale));
                let error = fit::error(part, |x| step * level(x * steps));
                if error < least.0 {
                    least = (error, scale);
                }
            }
            sum += least.0;
            scales.integers[i] = least.1 as i8;
            scales.inverses[i] = inverse(value * least.1);
        }
        if best.as_ref().is_none_or(|(least, _)| sum < *least) {
            best = Some((sum, scales));
        }
    }
    best.map(|(_, scales)| scales).ok_or(NotFinite)
}

/// A number of half precision beside `d`, where `d` is so small that its own is no better for sure.
fn coarse(d: [u8; 2], by: i16) -> Option<([u8; 2], f32)> {
    let bits = u16::from_le_bytes(d);
    let beside = bits.checked_add_signed(by)?;
    ((1..64).contains(&(bits & 0x7fff)) && beside & 0x7fff != 0)
        .then(|| (beside.to_le_bytes(), f16_to_f32(beside)))
}

/// Sub-blocks of 16 with integers from `-middle` to `middle - 1` and scales from `-most` to `most - 1`: the scales, and
/// the integers counted from 0.
fn scaled(weights: &[f32; 256], middle: f32, most: f32) -> Result<(Scales<16>, [u8; 256]), NotFinite> {
    let parts = weights.as_chunks::<16>().0;
    let level = |x| nearest_within(x, -middle, middle - 1.0);
    let mut wanted = [0.0; 16];
    for (wanted, part) in wanted.iter_mut().zip(parts) {
        let extreme = fit::extreme(part);
        // The extreme as the least integer, or, where that is another matter, as the greatest.
        let mirrored = TRIALS.iter().map(|trial| (middle - 1.0 + trial) / extreme);
        let mirrored = mirrored.take(if middle < 8.0 { TRIALS.len() } else { 0 });
        let inverses = TRIALS.iter().map(|trial| (-middle - trial) / extreme).chain(mirrored);
        *wanted = if extreme == 0.0 { 0.0 } else { fit::scale(part, inverses, level) };
    }
    let scales = scales(parts, &wanted, most, level)?;
    let number = |i: usize| (level(weights[i] * scales.inverses[i / 16]) + middle) as u8;
    let numbers = core::array::from_fn(number);
    Ok((scales, numbers))
}

/// The integer nearest to `wanted`, and those beside it, from `low` to `high`.
fn neighbours(wanted: f32, low: f32, high: f32) -> impl Iterator<Item = f32> {
    let middle = nearest_within(wanted, low, high);
    [middle, middle - 1.0, middle + 1.0].into_iter().filter(move |scale| (low..=high).contains(scale))
}

/// Sub-blocks of `N` with integers from 0 to `top`, scales and minima from 0 to `most`.
fn shifted<const N: usize, const PARTS: usize>(
    weights: &[f32; 256],
    top: f32,
    most: f32,
) -> Result<Shifted<PARTS>, NotFinite> {
    const { assert!(N * PARTS == 256, "sub-blocks fill the block") };
    let parts = weights.as_chunks::<N>().0;
    let mut wanted = [fit::Affine { scale: 0.0, minimum: 0.0 }; PARTS];
    for (wanted, part) in wanted.iter_mut().zip(parts) {
        *wanted = fit::affine(part, top, TRIALS.into_iter());
    }
    let largest = |of: fn(&fit::Affine) -> f32| wanted.iter().map(of).fold(0.0, f32::max);
    let (d_bytes, d) = half(largest(|part| part.scale) / most)?;
    let (dmin_bytes, dmin) = half(largest(|part| part.minimum) / most)?;
    let mut block =
        Shifted { d: d_bytes, dmin: dmin_bytes, scales: [0; PARTS], minima: [0; PARTS], numbers: [0; 256] };
    for (i, part) in parts.iter().enumerate() {
        let number = |x: f32, low: f32, steps: f32| nearest_within((x + low) * steps, 0.0, top);
        let mut best = (f32::INFINITY, 0.0, 0.0);
        for minimum in neighbours(wanted[i].minimum * inverse(dmin), 0.0, most) {
            let low = dmin * minimum;
            // The scale that suits the integers which this minimum gives.
            let [qq, qx] = fit::sums(part, |x| {
                let q = number(x, low, inverse(wanted[i].scale));
                [q * q, q * (x + low)]
            });
            for scale in neighbours(qx * inverse(qq) * inverse(d), 0.0, most) {
                let (step, steps) = (d * scale, inverse(d * scale));
                let error = fit::error(part, |x| step * number(x, low, steps) - low);
                if error < best.0 {
                    best = (error, scale, minimum);
                }
            }
        }
        let (_, scale, minimum) = best;
        (block.scales[i], block.minima[i]) = (scale as u8, minimum as u8);
        for (place, x) in block.numbers[N * i..].iter_mut().zip(part) {
            *place = number(*x, dmin * minimum, inverse(d * scale)) as u8;
        }
    }
    Ok(block)
}

/// 16 bytes of a scale (low half) and a minimum (high half) each, 64 bytes of 2 bits, d, dmin (f16).
pub fn q2_k(weights: &[f32; 256]) -> Result<[u8; 84], NotFinite> {
    let block = shifted::<16, 16>(weights, 3.0, 15.0)?;
    let both: [u8; 16] = core::array::from_fn(|i| block.scales[i] | block.minima[i] << 4);
    Ok(joined([&both, &two_bits(&block.numbers, 0), &block.d, &block.dmin]))
}

/// 32 bytes of third bits, 64 bytes of the lower 2 bits, 12 bytes of 6-bit scales around 32, d (f16).
pub fn q3_k(weights: &[f32; 256]) -> Result<[u8; 110], NotFinite> {
    let (Scales { d, integers, .. }, numbers) = scaled(weights, 4.0, 32.0)?;
    let third: [u8; 32] =
        core::array::from_fn(|i| (0..8).fold(0, |bits, part| bits | (numbers[32 * part + i] >> 2) << part));
    let mut scales = [0; 12];
    for (i, scale) in integers.iter().enumerate() {
        let scale = (scale + 32) as u8;
        scales[i % 8] |= (scale & 15) << (i / 8 * 4);
        scales[8 + i % 4] |= (scale >> 4) << (i / 4 * 2);
    }
    Ok(joined([&third, &two_bits(&numbers, 0), &scales, &d]))
}

/// d, dmin (f16), 8 scales and 8 minima of 6 bits in 12 bytes, 128 bytes of int4.
pub fn q4_k(weights: &[f32; 256]) -> Result<[u8; 144], NotFinite> {
    let block = shifted::<32, 8>(weights, 15.0, 63.0)?;
    Ok(joined([&block.d, &block.dmin, &six_bits(&block.scales, &block.minima), &halves(&block.numbers)]))
}

/// As `Q4_K`, with 32 bytes of fifth bits before the int4.
pub fn q5_k(weights: &[f32; 256]) -> Result<[u8; 176], NotFinite> {
    let block = shifted::<32, 8>(weights, 31.0, 63.0)?;
    let fifth: [u8; 32] = core::array::from_fn(|i| {
        (0..8).fold(0, |bits, part| bits | (block.numbers[32 * part + i] >> 4) << part)
    });
    let scales = six_bits(&block.scales, &block.minima);
    Ok(joined([&block.d, &block.dmin, &scales, &fifth, &halves(&block.numbers)]))
}

/// 128 bytes of low halves, 64 bytes of upper 2 bits, 16 int8 scales, d (f16).
pub fn q6_k(weights: &[f32; 256]) -> Result<[u8; 210], NotFinite> {
    let (Scales { d, integers, .. }, numbers) = scaled(weights, 32.0, 128.0)?;
    // Of 128 weights, the first 64 are in the low halves of 64 bytes.
    let low: [u8; 128] = core::array::from_fn(|i| {
        let first = i / 64 * 128 + i % 64;
        numbers[first] & 15 | (numbers[first + 64] & 15) << 4
    });
    Ok(joined([&low, &two_bits(&numbers, 4), &integers.map(|scale| scale as u8), &d]))
}

/// Bits `shift` and `shift + 1` of 256 weights: 128 weights share 32 bytes, their first 32 in bits 0 and 1, and so on.
fn two_bits(numbers: &[u8; 256], shift: u32) -> [u8; 64] {
    core::array::from_fn(|i| {
        let first = i / 32 * 128 + i % 32;
        (0..4).fold(0, |bits, part| bits | (numbers[first + 32 * part] >> shift & 3) << (2 * part))
    })
}

/// The lower 4 bits of 256 weights: 64 weights share 32 bytes, the first 32 in the low halves.
fn halves(numbers: &[u8; 256]) -> [u8; 128] {
    core::array::from_fn(|i| {
        let first = i / 32 * 64 + i % 32;
        numbers[first] & 15 | (numbers[first + 32] & 15) << 4
    })
}

/// 8 scales and 8 minima of 6 bits: the first four of each in the low 6 bits of 8 bytes, of the others the low 4 bits in 4
/// bytes, and their upper 2 bits in the top of those 8.
fn six_bits(scales: &[u8; 8], minima: &[u8; 8]) -> [u8; 12] {
    core::array::from_fn(|i| match i {
        0..4 => scales[i] | (scales[i + 4] >> 4) << 6,
        4..8 => minima[i - 4] | (minima[i] >> 4) << 6,
        _ => scales[i - 4] & 15 | (minima[i - 4] & 15) << 4,
    })
}
