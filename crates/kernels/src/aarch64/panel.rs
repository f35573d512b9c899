//! A panel: sixteen rows unpacked to bytes, which then meet the activations of many tokens.

use super::blocks::{IntegerScales, Packed, Split, each_part};
use super::dot::{Dot, Weights};
use super::fours::{Four, Fours};
use super::rows::{LANES, Place, QUADS};
use super::source::{Source, Walk};
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
    /// In the order of [`Dot::down`], where only [`Dot::PAIRS`] has a second. Where a format splits a number, what the
    /// first half has and what the second has, row by row.
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
pub unsafe fn unpack<D: Dot, F: Packed, W: Walk>(mut rows: [W; QUADS], panel: &mut [PanelBlock]) {
    for panel in panel.chunks_exact_mut(F::PARTS) {
        for (i, rows) in rows.iter_mut().enumerate() {
            // SAFETY: the rows have a block here; the parts are those of the format.
            unsafe {
                let block = rows.block();
                let shared = F::shared(block);
                each_part!(F, PART => {
                    unpack_part::<D, F, W::Block, PART>(block, &shared, &mut panel[PART].0[i]);
                });
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
        let d = if F::SPLIT == Split::None { D::down(scales.d) } else { [scales.d, scales.second] };
        vst1q_f32(to.d[0].as_mut_ptr(), d[0]);
        if D::PAIRS || F::SPLIT != Split::None {
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
                let halves = || {
                    tokens.map(|token| {
                        let at = token * blocks + block;
                        let halves = x.sums.as_ptr().add(at * (BLOCK / HALF));
                        (*x.d.get_unchecked(at), [i32::from(*halves), i32::from(*halves.add(1))])
                    })
                };
                if F::SPLIT == Split::Minimum {
                    let halves = halves();
                    let xsums = [0, 1].map(|half| D::across(halves.map(|(d, sums)| d * sums[half] as f32)));
                    for (i, minima) in minima.iter_mut().enumerate() {
                        let rows = panel.0.get_unchecked(quad + i);
                        for (m, xsums) in [&rows.minimum, &rows.d[1]].into_iter().zip(&xsums) {
                            add_minima::<D, T>(minima, m, xsums);
                        }
                    }
                } else {
                    let xsums = match four {
                        Some(four) => in_tile(D::across_four(&four.get_unchecked(block).sums)),
                        None => D::across(halves().map(|(d, sums)| d * (sums[0] + sums[1]) as f32)),
                    };
                    for (i, minima) in minima.iter_mut().enumerate() {
                        add_minima::<D, T>(minima, &panel.0.get_unchecked(quad + i).minimum, &xsums);
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

/// Adds minima times the sums of activations.
#[inline]
#[target_feature(enable = "neon")]
fn add_minima<D: Dot, const T: usize>(
    to: &mut [float32x4_t; T],
    minimum: &[f32; LANES],
    xsums: &[float32x4_t; T],
) {
    // SAFETY: four values.
    let m = unsafe { D::down(vld1q_f32(minimum.as_ptr())) };
    for i in 0..T {
        to[i] = vfmaq_f32(to[i], m[i % 2], xsums[i]);
    }
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
        && F::SPLIT == Split::None
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
            let dx = match four {
                Some(four) => in_tile(D::across_four(&four.get_unchecked(block).d)),
                None => D::across(at.map(|at| *x.d.get_unchecked(at))),
            };
            for (i, sums) in sums.iter_mut().enumerate() {
                let rows = panel.0.get_unchecked(quad + i);
                if F::SPLIT == Split::Scale {
                    let isums = halves_of::<D, F, T>(rows, &values);
                    for (isums, d) in isums.iter().zip(&rows.d) {
                        add_products(sums, isums, D::down(vld1q_f32(d.as_ptr())), &dx);
                    }
                } else {
                    let isums = integer_sums::<D, F, T>(rows, &values);
                    add_products(sums, &isums, vectors_of_rows::<D, F>(&rows.d), &dx);
                }
            }
        }
    }
    sums
}

/// Vectors of four tokens as those of a tile, which then has as many.
fn in_tile<const T: usize>(vectors: [float32x4_t; TOKENS]) -> [float32x4_t; T] {
    core::array::from_fn(|i| vectors[i])
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

/// Adds the integer sums of 32 products, or of 16, times the scales of rows and tokens.
#[inline]
#[target_feature(enable = "neon")]
fn add_products<const T: usize>(
    to: &mut [float32x4_t; T],
    isums: &[int32x4_t; T],
    d: [float32x4_t; 2],
    dx: &[float32x4_t; T],
) {
    for i in 0..T {
        let scale = vmulq_f32(d[i % 2], dx[i]);
        to[i] = vfmaq_f32(to[i], scale, vcvtq_f32_s32(isums[i]));
    }
}

/// The scales of rows that lie in a panel as vectors of a tile meet them.
#[inline]
#[target_feature(enable = "neon")]
fn vectors_of_rows<D: Dot, F: Packed>(from: &[[f32; LANES]; 2]) -> [float32x4_t; 2] {
    // SAFETY: four values each.
    unsafe {
        let first = vld1q_f32(from[0].as_ptr());
        if F::SPLIT != Split::None {
            return D::down(first);
        }
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
        let whole = || {
            if !(D::SHORT && F::BITS == 6) {
                return D::tile(weights, x, F::NARROW);
            }
            let [mut sums, last] = halves_of::<D, F, T>(rows, x);
            for (sum, last) in sums.iter_mut().zip(last) {
                *sum = vaddq_s32(*sum, last);
            }
            sums
        };
        match F::SCALES {
            IntegerScales::None => whole(),
            IntegerScales::One => {
                let (mut sums, scale) = (whole(), scale(0));
                for i in 0..T {
                    sums[i] = vmulq_s32(sums[i], scale[i % 2]);
                }
                sums
            }
            IntegerScales::Two => {
                let [mut sums, last] = halves_of::<D, F, T>(rows, x);
                let scales = [scale(0), scale(1)];
                for i in 0..T {
                    sums[i] = vmlaq_s32(vmulq_s32(sums[i], scales[0][i % 2]), last[i], scales[1][i % 2]);
                }
                sums
            }
        }
    }
}

/// The sums of the first and of the last 16 products of four rows with each token.
///
/// # Safety
/// As for [`multiply`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn halves_of<D: Dot, F: Packed, const T: usize>(
    rows: &QuadBlock,
    x: &[Weights; T],
) -> [[int32x4_t; T]; 2] {
    let weights = rows.weights.as_ptr();
    // SAFETY: there are 128 weights.
    unsafe { if F::BITS == 8 { D::wide_tile_halves(weights, x) } else { D::tile_halves(weights, x) } }
}
