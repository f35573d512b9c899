//! A panel: eight rows unpacked to bytes, which then meet the activations of many tokens.

use super::blocks::{Blocks, IntegerScales, Packed};
use super::dot::Dot;
use super::rows::{GROUPS, LANES, load_x, store, unpack_rows};
use crate::activations::{BLOCK, HALF, Quantized};
use crate::split::Tile;
use bytemuck::{Pod, Zeroable};
use core::arch::aarch64::*;

/// The tokens of a register tile: with eight rows, eight vectors of sums, which leaves room for what is multiplied.
const TOKENS: usize = 4;

/// 32 weights of four rows with their scales, a row in each lane.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct PanelBlock {
    /// In the order of [`Dot::pack`].
    weights: [i8; LANES * BLOCK],
    scales: [[i32; LANES]; 2],
    d: [f32; LANES],
    minimum: [f32; LANES],
}

/// Unpacks rows: one group of four after another.
///
/// # Safety
/// The pointers must point at rows of `blocks` times 32 weights of format `F`, and the panel have room for them.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn unpack<D: Dot, F: Packed>(rows: [Blocks; GROUPS], blocks: usize, panel: &mut [PanelBlock]) {
    for (mut rows, panel) in rows.into_iter().zip(panel.chunks_exact_mut(blocks)) {
        for panel in panel.chunks_exact_mut(F::PARTS) {
            // SAFETY: the rows have a block here; the parts are those of the format.
            unsafe {
                let shared = F::shared(rows);
                unpack_part::<D, F, 0>(&rows, &shared, panel);
                if F::PARTS == 8 {
                    unpack_part::<D, F, 1>(&rows, &shared, panel);
                    unpack_part::<D, F, 2>(&rows, &shared, panel);
                    unpack_part::<D, F, 3>(&rows, &shared, panel);
                    unpack_part::<D, F, 4>(&rows, &shared, panel);
                    unpack_part::<D, F, 5>(&rows, &shared, panel);
                    unpack_part::<D, F, 6>(&rows, &shared, panel);
                    unpack_part::<D, F, 7>(&rows, &shared, panel);
                }
                rows = rows.map(|row| row.add(F::BYTES));
            }
        }
    }
}

/// Unpacks 32 weights of four rows.
///
/// # Safety
/// The pointers must point at whole blocks.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn unpack_part<D: Dot, F: Packed, const PART: usize>(
    rows: &Blocks,
    shared: &F::Shared,
    panel: &mut [PanelBlock],
) {
    let panel = &mut panel[PART];
    // SAFETY: there is a whole block at each pointer; the stores fill the panel's arrays.
    unsafe {
        let mut weights = unpack_rows::<F, PART>(rows);
        if F::OFFSET != 0 {
            weights = weights.map(|row| row.map(|w| vsubq_s8(w, vdupq_n_s8(F::OFFSET))));
        }
        for (to, packed) in panel.weights.as_chunks_mut::<16>().0.iter_mut().zip(D::pack(&weights)) {
            vst1q_s8(to.as_mut_ptr(), packed);
        }
        let scales = F::scales::<PART>(shared);
        vst1q_f32(panel.d.as_mut_ptr(), scales.d);
        if F::SCALES != IntegerScales::None {
            for (to, scale) in panel.scales.iter_mut().zip(scales.halves) {
                vst1q_s32(to.as_mut_ptr(), scale);
            }
        }
        if F::MINIMUM {
            vst1q_f32(panel.minimum.as_mut_ptr(), scales.minimum);
        }
    }
}

/// The rows of a panel times every token, into the columns of `out` from `first` on.
///
/// # Safety
/// `x` must hold `out.tokens()` rows of as many activations as the panel's rows have weights; the panel must have been
/// unpacked for `D` and `F`.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn multiply<D: Dot, F: Packed>(
    panel: &[PanelBlock],
    x: &Quantized<'_>,
    out: &mut Tile<'_>,
    first: usize,
) {
    let mut token = 0;
    while token < out.tokens() {
        // SAFETY: each tile has as many tokens as are left, or fewer.
        token += unsafe {
            match out.tokens() - token {
                1 => tile::<D, F, 1>(panel, x, out, token, first),
                2 | 3 => tile::<D, F, 2>(panel, x, out, token, first),
                _ => tile::<D, F, TOKENS>(panel, x, out, token, first),
            }
        };
    }
}

/// The rows of a panel times `TOKENS` tokens from `token` on; gives `TOKENS`.
///
/// # Safety
/// As for [`multiply`]; the tokens must be there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile<D: Dot, F: Packed, const TOKENS: usize>(
    panel: &[PanelBlock],
    x: &Quantized<'_>,
    out: &mut Tile<'_>,
    token: usize,
    first: usize,
) -> usize {
    let blocks = panel.len() / GROUPS;
    let (groups, _) = panel.split_at(blocks);
    let groups = [groups.as_ptr(), panel[blocks..].as_ptr()];
    let mut sums = [[vdupq_n_f32(0.0); TOKENS]; GROUPS];
    for block in 0..blocks {
        // SAFETY: the tokens and both groups have this block.
        unsafe {
            let mut values = [[vdupq_n_s8(0); 2]; TOKENS];
            let mut dx = [0.0; TOKENS];
            for (i, (values, dx)) in values.iter_mut().zip(&mut dx).enumerate() {
                let at = (token + i) * blocks + block;
                *values = load_x(x.q.as_ptr().add(at * BLOCK));
                *dx = *x.d.get_unchecked(at);
            }
            for (group, sums) in groups.iter().zip(&mut sums) {
                let weights = &*group.add(block);
                let isums = integer_sums::<D, F, TOKENS>(weights, &values);
                let d = vld1q_f32(weights.d.as_ptr());
                for i in 0..TOKENS {
                    sums[i] = vfmaq_f32(sums[i], vmulq_n_f32(d, dx[i]), vcvtq_f32_s32(isums[i]));
                }
            }
        }
    }
    let mut minima = [[vdupq_n_f32(0.0); TOKENS]; GROUPS];
    if F::MINIMUM {
        // A loop of its own: the sums of both would not fit the registers.
        for block in 0..blocks {
            // SAFETY: the tokens and both groups have this block.
            unsafe {
                let m = groups.map(|group| vld1q_f32((*group.add(block)).minimum.as_ptr()));
                for i in 0..TOKENS {
                    let at = (token + i) * blocks + block;
                    let halves = x.sums.as_ptr().add(at * (BLOCK / HALF));
                    let xsum = i32::from(*halves) + i32::from(*halves.add(1));
                    let xsum = vdupq_n_f32(*x.d.get_unchecked(at) * xsum as f32);
                    for (minima, m) in minima.iter_mut().zip(m) {
                        minima[i] = vfmaq_f32(minima[i], m, xsum);
                    }
                }
            }
        }
    }
    for i in 0..TOKENS {
        let out = &mut out.token(token + i)[first..];
        for group in 0..GROUPS {
            if group * LANES < out.len() {
                store(vaddq_f32(sums[group][i], minima[group][i]), &mut out[group * LANES..]);
            }
        }
    }
    TOKENS
}

/// The sums of 32 products of four rows with each token, the integer scales in them.
///
/// # Safety
/// As for [`multiply`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn integer_sums<D: Dot, F: Packed, const TOKENS: usize>(
    panel: &PanelBlock,
    x: &[[int8x16_t; 2]; TOKENS],
) -> [int32x4_t; TOKENS] {
    let weights = panel.weights.as_ptr();
    // SAFETY: a panel block holds 128 weights and two vectors of scales.
    unsafe {
        let scale = |half: usize| vld1q_s32(panel.scales[half].as_ptr());
        match F::SCALES {
            IntegerScales::None => D::whole_tile(weights, x, F::NARROW),
            IntegerScales::One => {
                let scale = scale(0);
                D::whole_tile(weights, x, F::NARROW).map(|sum| vmulq_s32(sum, scale))
            }
            IntegerScales::Two => {
                let (s0, s1) = (scale(0), scale(1));
                D::halves_tile(weights, x).map(|[first, last]| vmlaq_s32(vmulq_s32(first, s0), last, s1))
            }
        }
    }
}
