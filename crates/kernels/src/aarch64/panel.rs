//! A panel: sixteen rows unpacked to bytes, which then meet the activations of many tokens.

use super::blocks::{IntegerScales, Packed};
use super::dot::{Dot, Weights};
use super::fours::{Four, Fours};
use super::rows::{LANES, Place, QUADS};
use super::source::Source;
use crate::activations::{BLOCK, HALF, Quantized};
use crate::split::Tile;
use bytemuck::{Pod, Zeroable};
use core::arch::aarch64::*;

/// The tokens of a register tile: with sixteen rows, as many vectors of sums, half of all registers.
pub const TOKENS: usize = 4;

/// 32 weights of four rows with their scales. Assembly relies on the places of the fields: [`Dot::full_tile`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(16))]
struct QuadBlock {
    /// In the order of [`Dot::pack_rows`].
    weights: [i8; LANES * BLOCK],
    /// In the order of [`Dot::down`], where only [`Dot::PAIRS`] has a second.
    d: [[f32; LANES]; 2],
    scales: [[i32; LANES]; 2],
    minimum: [f32; LANES],
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(QuadBlock, d) == 128 && size_of::<QuadBlock>() == 208, "what `full_tile` steps over");
};

/// 32 weights of sixteen rows.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct PanelBlock([QuadBlock; QUADS]);

/// Unpacks sixteen rows.
///
/// # Safety
/// The rows must be of as many times 32 weights of format `F` as the panel has blocks.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn unpack<D: Dot, F: Packed, S: Source>(mut rows: [S; QUADS], panel: &mut [PanelBlock]) {
    for panel in panel.chunks_exact_mut(F::PARTS) {
        for (i, rows) in rows.iter_mut().enumerate() {
            // SAFETY: the rows have a block here; the parts are those of the format.
            unsafe {
                let shared = F::shared(*rows);
                unpack_part::<D, F, S, 0>(*rows, &shared, &mut panel[0].0[i]);
                if F::PARTS == 8 {
                    unpack_part::<D, F, S, 1>(*rows, &shared, &mut panel[1].0[i]);
                    unpack_part::<D, F, S, 2>(*rows, &shared, &mut panel[2].0[i]);
                    unpack_part::<D, F, S, 3>(*rows, &shared, &mut panel[3].0[i]);
                    unpack_part::<D, F, S, 4>(*rows, &shared, &mut panel[4].0[i]);
                    unpack_part::<D, F, S, 5>(*rows, &shared, &mut panel[5].0[i]);
                    unpack_part::<D, F, S, 6>(*rows, &shared, &mut panel[6].0[i]);
                    unpack_part::<D, F, S, 7>(*rows, &shared, &mut panel[7].0[i]);
                }
                *rows = rows.next(F::BYTES);
            }
        }
    }
}

/// Unpacks 32 weights of four rows.
///
/// # Safety
/// The rows must have a whole block.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn unpack_part<D: Dot, F: Packed, S: Source, const PART: usize>(
    rows: S,
    shared: &F::Shared,
    to: &mut QuadBlock,
) {
    // SAFETY: there is a whole block; the stores fill the arrays.
    unsafe {
        let [a, b, c, d, e, f, g, h] = rows.pack::<D, F, PART>();
        vst1q_s8_x4(to.weights.as_mut_ptr(), int8x16x4_t(a, b, c, d));
        vst1q_s8_x4(to.weights.as_mut_ptr().add(64), int8x16x4_t(e, f, g, h));
        let scales = F::scales::<PART>(shared);
        let d = D::down(scales.d);
        vst1q_f32(to.d[0].as_mut_ptr(), d[0]);
        if D::PAIRS {
            vst1q_f32(to.d[1].as_mut_ptr(), d[1]);
        }
        if F::SCALES != IntegerScales::None {
            for (to, scale) in to.scales.iter_mut().zip(scales.halves) {
                vst1q_s32(to.as_mut_ptr(), scale);
            }
        }
        if F::MINIMUM {
            vst1q_f32(to.minimum.as_mut_ptr(), scales.minimum);
        }
    }
}

/// The rows of a panel times every token.
///
/// # Safety
/// `x` must hold `out.tokens()` rows of as many activations as the panel's rows have weights, and its fours must be made
/// of them for `D`; the panel must have been unpacked for `D` and `F`.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn multiply<D: Dot, F: Packed>(
    panel: &[PanelBlock],
    x: (&Quantized<'_>, Option<&Fours<'_>>),
    out: &mut Tile<'_>,
    place: &Place,
) {
    let tokens = out.tokens();
    for first in (0..tokens).step_by(TOKENS) {
        let count = (tokens - first).min(TOKENS);
        // SAFETY: the same promises.
        unsafe {
            match count {
                1 if !D::PAIRS => tiles::<D, F, 1>(panel, x, out, first, count, place),
                1 | 2 => tiles::<D, F, 2>(panel, x, out, first, count, place),
                _ => tiles::<D, F, TOKENS>(panel, x, out, first, count, place),
            }
        }
    }
}

/// The rows of a panel times `count` tokens from `first` on.
///
/// # Safety
/// As for [`multiply`]; the tokens must be there, and `count` in `1..=T`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tiles<D: Dot, F: Packed, const T: usize>(
    panel: &[PanelBlock],
    (x, fours): (&Quantized<'_>, Option<&Fours<'_>>),
    out: &mut Tile<'_>,
    first: usize,
    count: usize,
    place: &Place,
) {
    // Past the last token it stands in again; its surplus results are dropped.
    let tokens = core::array::from_fn(|i| first + i.min(count - 1));
    let four = if count == TOKENS { fours.and_then(|fours| fours.from(first)) } else { None };
    for quad in (0..QUADS).step_by(D::TALL) {
        // SAFETY: as promised by the caller; `TALL` divides the quads.
        unsafe {
            if D::TALL == QUADS {
                tile_of::<D, F, T, QUADS>(panel, 0, (x, four), tokens, out, count, place);
            } else {
                tile_of::<D, F, T, 2>(panel, quad, (x, four), tokens, out, count, place);
            }
        }
    }
}

/// `Q` times four rows from four rows' number `quad` on, times `T` tokens, of which the results of `count` are stored.
///
/// # Safety
/// As for [`tiles`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_of<D: Dot, F: Packed, const T: usize, const Q: usize>(
    panel: &[PanelBlock],
    quad: usize,
    x: (&Quantized<'_>, Option<&[Four]>),
    tokens: [usize; T],
    out: &mut Tile<'_>,
    count: usize,
    place: &Place,
) {
    // SAFETY: the same promises.
    let sums = unsafe { tile::<D, F, T, Q>(panel, quad, x, tokens) };
    // Said once, so that it is not asked of each token.
    assert!(tokens[0] + count <= out.tokens(), "tokens of this tile");
    for i in 0..T {
        if i < count {
            place.store(quad * LANES, sums.map(|sums| sums[i]), out.token(tokens[0] + i));
        }
    }
}

/// `Q` times four rows times `T` tokens: for each four rows and token, the results.
///
/// # Safety
/// As for [`multiply`]; the tokens must be there, and the quads from `quad` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile<D: Dot, F: Packed, const T: usize, const Q: usize>(
    panel: &[PanelBlock],
    quad: usize,
    (x, four): (&Quantized<'_>, Option<&[Four]>),
    tokens: [usize; T],
) -> [[float32x4_t; T]; Q] {
    let blocks = panel.len();
    // SAFETY: the same promises.
    let mut sums = unsafe { products::<D, F, T, Q>(panel, quad, (x, four), tokens) };
    let mut minima = [[vdupq_n_f32(0.0); T]; Q];
    if F::MINIMUM {
        // A loop of its own: the sums of both would not fit the registers.
        for (block, panel) in panel.iter().enumerate() {
            // SAFETY: the tokens have this block.
            unsafe {
                let xsums = D::across(tokens.map(|token| {
                    let at = token * blocks + block;
                    let halves = x.sums.as_ptr().add(at * (BLOCK / HALF));
                    let xsum = i32::from(*halves) + i32::from(*halves.add(1));
                    *x.d.get_unchecked(at) * xsum as f32
                }));
                for (i, minima) in minima.iter_mut().enumerate() {
                    let m = D::down(vld1q_f32(panel.0.get_unchecked(quad + i).minimum.as_ptr()));
                    for i in 0..T {
                        minima[i] = vfmaq_f32(minima[i], m[i % 2], xsums[i]);
                    }
                }
            }
        }
    }
    for (sums, minima) in sums.iter_mut().zip(minima) {
        for (sum, minima) in sums.iter_mut().zip(minima) {
            *sum = vaddq_f32(*sum, minima);
        }
        // SAFETY: NEON is there.
        *sums = unsafe { D::by_token(*sums) };
    }
    sums
}

/// The sums of products of a tile.
///
/// # Safety
/// As for [`tile`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn products<D: Dot, F: Packed, const T: usize, const Q: usize>(
    panel: &[PanelBlock],
    quad: usize,
    (x, four): (&Quantized<'_>, Option<&[Four]>),
    tokens: [usize; T],
) -> [[float32x4_t; T]; Q] {
    let blocks = panel.len();
    if let Some(four) = four
        && F::SCALES == IntegerScales::None
        && T == TOKENS
        && Q == QUADS
    {
        // SAFETY: the promises of this function.
        if let Some(sums) = unsafe { D::full_tile(panel, four) } {
            return core::array::from_fn(|i| core::array::from_fn(|t| sums[i][t]));
        }
    }
    let mut sums = [[vdupq_n_f32(0.0); T]; Q];
    for (block, panel) in panel.iter().enumerate() {
        // SAFETY: the tokens have this block.
        unsafe {
            let at = tokens.map(|token| token * blocks + block);
            let values = match four {
                Some(four) => {
                    let q = four.get_unchecked(block).q.as_ptr();
                    core::array::from_fn(|i| load_x(q.add(i * BLOCK)))
                }
                None => D::pack_x(at.map(|at| load_x(x.q.as_ptr().add(at * BLOCK)))),
            };
            let dx = D::across(at.map(|at| *x.d.get_unchecked(at)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let rows = panel.0.get_unchecked(quad + i);
                let isums = integer_sums::<D, F, T>(rows, &values);
                let d = vectors_of_rows::<D>(&rows.d);
                for i in 0..T {
                    let scale = vmulq_f32(d[i % 2], dx[i]);
                    sums[i] = vfmaq_f32(sums[i], scale, vcvtq_f32_s32(isums[i]));
                }
            }
        }
    }
    sums
}

/// 32 activations.
///
/// # Safety
/// `x` must point at them.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_x(x: *const i8) -> Weights {
    // SAFETY: as promised by the caller.
    unsafe { [vld1q_s8(x), vld1q_s8(x.add(16))] }
}

/// Values of rows that lie in a panel as vectors of a tile meet them.
#[inline]
#[target_feature(enable = "neon")]
fn vectors_of_rows<D: Dot>(from: &[[f32; LANES]; 2]) -> [float32x4_t; 2] {
    // SAFETY: four values each.
    unsafe {
        let first = vld1q_f32(from[0].as_ptr());
        [first, if D::PAIRS { vld1q_f32(from[1].as_ptr()) } else { first }]
    }
}

/// The sums of 32 products of four rows with each token, the integer scales in them.
///
/// # Safety
/// As for [`multiply`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn integer_sums<D: Dot, F: Packed, const T: usize>(
    rows: &QuadBlock,
    x: &[Weights; T],
) -> [int32x4_t; T] {
    let weights = rows.weights.as_ptr();
    // SAFETY: there are 128 weights and two vectors of scales.
    unsafe {
        let scale = |half: usize| {
            let scale = vreinterpretq_f32_s32(vld1q_s32(rows.scales[half].as_ptr()));
            D::down(scale).map(|scale| vreinterpretq_s32_f32(scale))
        };
        match F::SCALES {
            IntegerScales::None => D::tile(weights, x, F::NARROW),
            IntegerScales::One => {
                let (mut sums, scale) = (D::tile(weights, x, F::NARROW), scale(0));
                for i in 0..T {
                    sums[i] = vmulq_s32(sums[i], scale[i % 2]);
                }
                sums
            }
            IntegerScales::Two => {
                let [mut sums, last] = D::tile_halves(weights, x);
                let scales = [scale(0), scale(1)];
                for i in 0..T {
                    sums[i] = vmlaq_s32(vmulq_s32(sums[i], scales[0][i % 2]), last[i], scales[1][i % 2]);
                }
                sums
            }
        }
    }
}
