//! Rows of a quantized matrix times the activations of every token.
//!
//! One token: eight rows are read side by side, straight from their blocks. Several tokens: eight rows are unpacked
//! into a panel, which then meets all tokens, so that unpacking is shared. In both, four rows are the lanes of a
//! vector from the integer sum of a block on.

use super::blocks::{Blocks, IntegerScales, Packed, Q4_0, Q4_1, Q4_K, Q6_K, Q8_0, Scales};
use super::dot::{Dot, Rows, Weights};
use super::panel::{self, PanelBlock};
use crate::activations::{BLOCK, Quantized};
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::{Format, Layout, Matrix};
use core::arch::aarch64::*;
use core::ops::Range;

/// The rows that are lanes of one vector.
pub const LANES: usize = 4;
/// The vectors of rows that are worked on together: a load of activations serves them all.
pub const GROUPS: usize = 2;

/// Rows of a quantized matrix times int8 activations.
///
/// # Safety
/// `x` must hold `out.tokens()` rows of the matrix's columns, and `rows` lie in the matrix and be as many as the
/// columns of `out`; the CPU must have what `D` asks for.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn quantized_rows<D: Dot>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    if matrix.layout() == Layout::Rows16 {
        return crate::reference::quantized_rows(matrix, rows, x, out, scratch);
    }
    // SAFETY: the same promises.
    unsafe {
        match matrix.format() {
            Format::Q8_0 => rows_of::<D, Q8_0>(matrix, rows, x, out, scratch),
            Format::Q4_0 => rows_of::<D, Q4_0>(matrix, rows, x, out, scratch),
            Format::Q4_1 => rows_of::<D, Q4_1>(matrix, rows, x, out, scratch),
            Format::Q4_K => rows_of::<D, Q4_K>(matrix, rows, x, out, scratch),
            Format::Q6_K => rows_of::<D, Q6_K>(matrix, rows, x, out, scratch),
            Format::F32 | Format::F16 | Format::BF16 => unreachable!("floats never meet int8"),
        }
    }
}

/// As [`quantized_rows`], for one format.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn rows_of<D: Dot, F: Packed>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let blocks = matrix.cols() / BLOCK;
    let groups = Groups { matrix, rows };
    if out.tokens() == 1 {
        let token = Token::new::<F>(x, blocks, scratch);
        let out = out.token(0);
        let mut first = 0;
        while first + LANES < out.len() {
            // SAFETY: pointers at whole rows, and a token of as many blocks.
            let sums = unsafe { dots::<D, F, GROUPS>(groups.at(first), blocks, &token) };
            for (i, sums) in sums.into_iter().enumerate() {
                store(sums, &mut out[first + i * LANES..]);
            }
            first += GROUPS * LANES;
        }
        if first < out.len() {
            // SAFETY: as above.
            let [sums] = unsafe { dots::<D, F, 1>(groups.at(first), blocks, &token) };
            store(sums, &mut out[first..]);
        }
    } else {
        let (panel, _) = carve::<PanelBlock>(scratch, GROUPS * blocks);
        for first in (0..out.columns().len()).step_by(GROUPS * LANES) {
            // SAFETY: pointers at whole rows, and as many activations as the caller promises.
            unsafe {
                panel::unpack::<D, F>(groups.at(first), blocks, panel);
                panel::multiply::<D, F>(panel, x, &mut out, first);
            }
        }
    }
}

/// Pointers at rows of a matrix.
struct Groups<'a> {
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
}

impl Groups<'_> {
    /// The rows from `first` on; past the end, the last row again, whose results nobody stores.
    fn at<const N: usize>(&self, first: usize) -> [Blocks; N] {
        let last = self.rows.len() - 1;
        core::array::from_fn(|group| {
            core::array::from_fn(|lane| {
                self.matrix.row(self.rows.start + (first + group * LANES + lane).min(last)).as_ptr()
            })
        })
    }
}

/// Stores as many lanes as there is room for.
#[inline]
#[target_feature(enable = "neon")]
pub fn store(lanes: float32x4_t, out: &mut [f32]) {
    if let Some(out) = out.first_chunk_mut::<LANES>() {
        // SAFETY: four values.
        unsafe { vst1q_f32(out.as_mut_ptr(), lanes) };
    } else {
        let mut all = [0.0; LANES];
        // SAFETY: four values.
        unsafe { vst1q_f32(all.as_mut_ptr(), lanes) };
        let len = out.len();
        out.copy_from_slice(&all[..len]);
    }
}

/// One token's activations, and what each block's sum is multiplied by, computed once for all rows.
#[derive(Clone, Copy)]
struct Token<'a> {
    q: &'a [i8],
    d: &'a [f32],
    /// `-OFFSET * xsum` of each block, for formats with an offset.
    offsets: &'a [i32],
    /// `dx * xsum` of each block, for formats with a minimum.
    sums: &'a [f32],
}

impl<'a> Token<'a> {
    fn new<F: Packed>(x: &Quantized<'a>, blocks: usize, scratch: &'a mut [Line]) -> Self {
        let (offsets, scratch) = carve::<i32>(scratch, if F::OFFSET == 0 { 0 } else { blocks });
        let (sums, _) = carve::<f32>(scratch, if F::MINIMUM { blocks } else { 0 });
        let xsums = || x.sums.chunks_exact(2).map(|halves| i32::from(halves[0]) + i32::from(halves[1]));
        for (offset, xsum) in offsets.iter_mut().zip(xsums()) {
            *offset = -i32::from(F::OFFSET) * xsum;
        }
        for (sum, (xsum, d)) in sums.iter_mut().zip(xsums().zip(x.d)) {
            *sum = d * xsum as f32;
        }
        Self { q: x.q, d: x.d, offsets, sums }
    }
}

/// The accumulators of `GROUPS` times four rows.
struct Sums<const GROUPS: usize> {
    products: [float32x4_t; GROUPS],
    minima: [float32x4_t; GROUPS],
}

/// Rows times one token.
///
/// # Safety
/// The pointers must point at rows of `blocks` times 32 weights of format `F`, and the token have as many.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn dots<D: Dot, F: Packed, const GROUPS: usize>(
    mut rows: [Blocks; GROUPS],
    blocks: usize,
    token: &Token<'_>,
) -> [float32x4_t; GROUPS] {
    let zero = vdupq_n_f32(0.0);
    let mut sums = Sums { products: [zero; GROUPS], minima: [zero; GROUPS] };
    let mut block = 0;
    while block < blocks {
        // SAFETY: the rows have a block here; the parts are those of the format.
        unsafe {
            let shared = rows.map(|group| F::shared(group));
            part::<D, F, 0, GROUPS>(&rows, &shared, token, block, &mut sums);
            if F::PARTS == 8 {
                part::<D, F, 1, GROUPS>(&rows, &shared, token, block, &mut sums);
                part::<D, F, 2, GROUPS>(&rows, &shared, token, block, &mut sums);
                part::<D, F, 3, GROUPS>(&rows, &shared, token, block, &mut sums);
                part::<D, F, 4, GROUPS>(&rows, &shared, token, block, &mut sums);
                part::<D, F, 5, GROUPS>(&rows, &shared, token, block, &mut sums);
                part::<D, F, 6, GROUPS>(&rows, &shared, token, block, &mut sums);
                part::<D, F, 7, GROUPS>(&rows, &shared, token, block, &mut sums);
            }
            for row in rows.as_flattened_mut() {
                *row = row.add(F::BYTES);
            }
        }
        block += F::PARTS;
    }
    let mut result = sums.products;
    for (result, minima) in result.iter_mut().zip(sums.minima) {
        *result = vaddq_f32(*result, minima);
    }
    result
}

/// 32 weights of each row times one token.
///
/// # Safety
/// As for [`dots`], with a whole block at the pointers and `block + PART` within the token.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn part<D: Dot, F: Packed, const PART: usize, const GROUPS: usize>(
    rows: &[Blocks; GROUPS],
    shared: &[F::Shared; GROUPS],
    token: &Token<'_>,
    block: usize,
    sums: &mut Sums<GROUPS>,
) {
    let at = block + PART;
    // SAFETY: the token has this block.
    let (x, dx) = unsafe { (load_x(token.q.as_ptr().add(at * BLOCK)), *token.d.get_unchecked(at)) };
    for group in 0..GROUPS {
        // SAFETY: there is a whole block at each pointer; the token has this block.
        unsafe {
            let scales = F::scales::<PART>(&shared[group]);
            let weights = unpack_rows::<F, PART>(&rows[group]);
            let mut isum =
                integer_sum::<F>(&scales, || D::whole(&weights, x, F::NARROW), || D::halves(&weights, x));
            if F::OFFSET != 0 {
                isum = vaddq_s32(isum, vdupq_n_s32(*token.offsets.get_unchecked(at)));
            }
            let scale = vmulq_n_f32(scales.d, dx);
            sums.products[group] = vfmaq_f32(sums.products[group], scale, vcvtq_f32_s32(isum));
            if F::MINIMUM {
                let xsum = vdupq_n_f32(*token.sums.get_unchecked(at));
                sums.minima[group] = vfmaq_f32(sums.minima[group], scales.minimum, xsum);
            }
        }
    }
}

/// 32 activations.
///
/// # Safety
/// `x` must point at them.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn load_x(x: *const i8) -> Weights {
    // SAFETY: as promised by the caller.
    unsafe { [vld1q_s8(x), vld1q_s8(x.add(16))] }
}

/// 32 weights of each of four rows, before the subtraction of the format's offset.
///
/// # Safety
/// The pointers must point at whole blocks.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn unpack_rows<F: Packed, const PART: usize>(rows: &Blocks) -> Rows {
    // SAFETY: as promised by the caller.
    unsafe { rows.map(|row| F::weights::<PART>(row)) }
}

/// The sum of 32 products of each row with the integer scales in it.
#[inline]
#[target_feature(enable = "neon")]
pub fn integer_sum<F: Packed>(
    scales: &Scales,
    whole: impl FnOnce() -> int32x4_t,
    halves: impl FnOnce() -> [int32x4_t; 2],
) -> int32x4_t {
    match F::SCALES {
        IntegerScales::None => whole(),
        IntegerScales::One => vmulq_s32(whole(), scales.halves[0]),
        IntegerScales::Two => {
            let [first, last] = halves();
            vmlaq_s32(vmulq_s32(first, scales.halves[0]), last, scales.halves[1])
        }
    }
}
