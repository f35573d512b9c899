//! Rows of a quantized matrix times the activations of every token.
//!
//! One token: its activations meet the weights straight from their blocks, several rows side by side. Several tokens:
//! sixteen rows are unpacked into a panel, which then meets all tokens, so that unpacking is shared. In both, four
//! rows are the lanes of a vector, at the latest from the integer sum of a block on.

use super::blocks::{
    IQ4_NL, IQ4_XS, IntegerScales, MXFP4, NVFP4, Packed, Q1_0, Q2_0, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0,
    Q5_1, Q5_K, Q6_K, Q8_0, Scales, Split, TQ2_0, each_part,
};
use super::dot::Dot;
use super::fours::Fours;
use super::lookup;
use super::panel::{self, PanelBlock};
use super::source::{Blocks, Quad, Source, Walk};
use crate::activations::{BLOCK, Quantized};
use crate::layout::GROUP;
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::{Format, Layout, Matrix, reference};
use core::arch::aarch64::*;
use core::ops::Range;

/// The rows that are lanes of one vector.
pub const LANES: usize = 4;
/// The vectors of plain rows that meet one token together: a load of activations serves them all. More would be more
/// streams than a CPU follows, and more pointers than there are registers.
pub const PLAIN: usize = 2;
/// The vectors of sixteen rows.
pub const QUADS: usize = GROUP / LANES;

/// Rows of a quantized matrix times int8 activations.
///
/// # Safety
/// `x` must hold `out.tokens()` rows of the matrix's columns, and `rows` lie in the matrix and be as many as the
/// columns of `out`; `fours`, where given, must be made of `x` for `D`; the CPU must have what `D` asks for.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn quantized_rows<D: Dot>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    fours: Option<&Fours<'_>>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    let x = (x, fours);
    // SAFETY: the same promises.
    unsafe {
        match matrix.format() {
            Format::Q8_0 => rows_of::<D, Q8_0>(matrix, rows, x, out, scratch),
            Format::Q4_0 => rows_of::<D, Q4_0>(matrix, rows, x, out, scratch),
            Format::Q4_1 => rows_of::<D, Q4_1>(matrix, rows, x, out, scratch),
            Format::Q5_0 => rows_of::<D, Q5_0>(matrix, rows, x, out, scratch),
            Format::Q5_1 => rows_of::<D, Q5_1>(matrix, rows, x, out, scratch),
            Format::IQ4_NL => rows_of::<D, IQ4_NL>(matrix, rows, x, out, scratch),
            Format::MXFP4 => rows_of::<D, MXFP4>(matrix, rows, x, out, scratch),
            Format::NVFP4 => rows_of::<D, NVFP4>(matrix, rows, x, out, scratch),
            Format::Q1_0 => rows_of::<D, Q1_0>(matrix, rows, x, out, scratch),
            Format::Q2_0 => rows_of::<D, Q2_0>(matrix, rows, x, out, scratch),
            Format::Q2_K => rows_of::<D, Q2_K>(matrix, rows, x, out, scratch),
            Format::Q3_K => rows_of::<D, Q3_K>(matrix, rows, x, out, scratch),
            Format::Q4_K => rows_of::<D, Q4_K>(matrix, rows, x, out, scratch),
            Format::Q5_K => rows_of::<D, Q5_K>(matrix, rows, x, out, scratch),
            Format::Q6_K => rows_of::<D, Q6_K>(matrix, rows, x, out, scratch),
            Format::IQ4_XS => rows_of::<D, IQ4_XS>(matrix, rows, x, out, scratch),
            Format::TQ2_0 => rows_of::<D, TQ2_0>(matrix, rows, x, out, scratch),
            format => match lookup::decoder(format) {
                Some(decode) => lookup::quantized_rows::<D>(matrix, decode, &rows, x, out, scratch),
                // Formats without a kernel of this level.
                None => reference::quantized_rows(matrix, rows, x.0, out, scratch),
            },
        }
    }
}

/// Whether products of unpacked rows are the same for two formats.
const fn is_alike<F: Packed, G: Packed>() -> bool {
    F::BITS == G::BITS
        && F::MINIMUM == G::MINIMUM
        && F::SCALES as usize == G::SCALES as usize
        && F::SPLIT as usize == G::SPLIT as usize
}

/// As [`quantized_rows`], for one format.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn rows_of<D: Dot, F: Packed>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: (&Quantized<'_>, Option<&Fours<'_>>),
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    const { assert!(is_alike::<F, F::Alike>(), "another format's products of unpacked rows") };
    let blocks = matrix.cols() / BLOCK;
    let apart = |_: usize, rows: [usize; LANES]| rows.map(|row| matrix.row(row).as_ptr());
    if out.tokens() == 1 {
        let x = x.0;
        // SAFETY: the same promises, and pointers at whole rows.
        unsafe {
            match matrix.layout() {
                Layout::Rows => one_token::<D::Single, F, Blocks>(&rows, blocks, x, out, scratch, apart),
                Layout::Rows16 => one_token_of_groups::<D::Single, F>(matrix, rows, x, out, scratch),
            }
        }
        return;
    }
    match matrix.layout() {
        // SAFETY: the same promises, and pointers at whole rows.
        Layout::Rows => unsafe { tokens::<D, F, Blocks>(&rows, blocks, x, out, scratch, apart) },
        Layout::Rows16 => {
            let (panel, _) = carve::<PanelBlock>(scratch, blocks);
            for (group, place) in Place::groups(&rows) {
                // SAFETY: a pointer at a whole group, and as many activations as the caller promises.
                unsafe {
                    panel::unpack::<D, F, Quad>(Quad::all(matrix.group(group).as_ptr()), panel);
                    panel::multiply::<D, F::Alike>(panel, x, &mut out, &place);
                }
            }
        }
    }
}

/// Rows that lie apart times one token: `walk` leads through four of them, the `i`-th four of those that are computed
/// together.
///
/// # Safety
/// `walk` must lead through `blocks` times 32 weights of format `F`, and the token have as many.
#[inline(never)]
#[target_feature(enable = "neon")]
pub unsafe fn one_token<D: Dot, F: Packed, W: Walk>(
    rows: &Range<usize>,
    blocks: usize,
    x: &Quantized<'_>,
    mut out: Tile<'_>,
    scratch: &mut [Line],
    walk: impl Fn(usize, [usize; LANES]) -> W,
) {
    let token = Token::new::<F>(x, blocks, scratch);
    let out = out.token(0);
    for place in Place::apart(rows, PLAIN * LANES) {
        let walks = walks::<W, PLAIN>(rows, place.column, &walk);
        // SAFETY: as promised by the caller.
        let sums = unsafe { dots::<D, F, W, PLAIN>(walks, blocks, &token) };
        place.store(0, sums, out);
    }
}

/// Rows that lie in groups times one token.
///
/// # Safety
/// As for [`quantized_rows`].
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn one_token_of_groups<D: Dot, F: Packed>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let blocks = matrix.cols() / BLOCK;
    let token = Token::new::<F>(x, blocks, scratch);
    let out = out.token(0);
    for (group, place) in Place::groups(&rows) {
        let quads = Quad::all(matrix.group(group).as_ptr());
        // SAFETY: a pointer at a whole group, and a token of as many blocks.
        let sums = unsafe { dots::<D, F, Quad, QUADS>(quads, blocks, &token) };
        place.store(0, sums, out);
    }
}

/// Rows that lie apart times several tokens. `walk` is as in [`one_token`].
///
/// # Safety
/// `walk` must lead through `blocks` times 32 weights of format `F`, and the tokens have as many; the fours of `x` must
/// be made of it for `D`.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn tokens<D: Dot, F: Packed, W: Walk>(
    rows: &Range<usize>,
    blocks: usize,
    x: (&Quantized<'_>, Option<&Fours<'_>>),
    mut out: Tile<'_>,
    scratch: &mut [Line],
    walk: impl Fn(usize, [usize; LANES]) -> W,
) {
    let (panel, _) = carve::<PanelBlock>(scratch, blocks);
    for place in Place::apart(rows, GROUP) {
        // SAFETY: as promised by the caller.
        unsafe {
            panel::unpack::<D, F, W>(walks(rows, place.column, &walk), panel);
            panel::multiply::<D, F::Alike>(panel, x, &mut out, &place);
        }
    }
}

/// What leads through plain rows from the one numbered `first` of `rows` on; past the end, the last again, whose
/// results nobody stores.
fn walks<W, const N: usize>(
    rows: &Range<usize>,
    first: usize,
    walk: impl Fn(usize, [usize; LANES]) -> W,
) -> [W; N] {
    core::array::from_fn(|i| {
        walk(i, core::array::from_fn(|lane| (rows.start + first + i * LANES + lane).min(rows.end - 1)))
    })
}

/// Which of the rows that are computed together are asked for, and where their results go.
#[derive(Clone, Debug)]
pub struct Place {
    /// The column of the first.
    column: usize,
    /// The rows, counted from the first that is computed.
    rows: Range<usize>,
    /// Whether that is all of them.
    all: bool,
}

impl Place {
    /// Rows that lie apart, `height` at a time.
    fn apart(rows: &Range<usize>, height: usize) -> impl Iterator<Item = Self> {
        let len = rows.len();
        (0..len).step_by(height).map(move |column| {
            let count = (len - column).min(height);
            Self { column, rows: 0..count, all: count == height }
        })
    }

    /// The groups that hold the rows.
    fn groups(rows: &Range<usize>) -> impl Iterator<Item = (usize, Self)> {
        let rows = rows.clone();
        (rows.start / GROUP..rows.end.div_ceil(GROUP)).map(move |group| {
            let first = group * GROUP;
            let from = rows.start.max(first);
            let inside = from - first..rows.end.min(first + GROUP) - first;
            (group, Self { column: from - rows.start, all: inside.len() == GROUP, rows: inside })
        })
    }

    /// Stores the results of a token, of the rows from `first` on of those that are computed together.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn store<const N: usize>(&self, first: usize, sums: [float32x4_t; N], out: &mut [f32]) {
        if self.all {
            let out = &mut out[self.column + first..][..LANES * N];
            for (i, sums) in sums.into_iter().enumerate() {
                // SAFETY: four values.
                unsafe { vst1q_f32(out[i * LANES..][..LANES].as_mut_ptr(), sums) };
            }
        } else {
            self.store_some(first, &sums, out);
        }
    }

    #[cold]
    #[target_feature(enable = "neon")]
    fn store_some(&self, first: usize, sums: &[float32x4_t], out: &mut [f32]) {
        for (i, sums) in sums.iter().enumerate() {
            let mut lanes = [0.0; LANES];
            // SAFETY: four values.
            unsafe { vst1q_f32(lanes.as_mut_ptr(), *sums) };
            for (lane, value) in lanes.into_iter().enumerate() {
                let row = first + i * LANES + lane;
                if self.rows.contains(&row) {
                    out[self.column + row - self.rows.start] = value;
                }
            }
        }
    }
}

/// One token's activations, and what each block's sum is multiplied by, computed once for all rows.
#[derive(Clone, Copy)]
struct Token<'a> {
    q: &'a [i8],
    d: &'a [f32],
    /// `-OFFSET * xsum` of each block in every lane, for formats with an offset.
    offsets: &'a [[i32; LANES]],
    /// `dx * xsum` of each block, or of each half of one, for formats with a minimum.
    sums: &'a [f32],
}

impl<'a> Token<'a> {
    fn new<F: Packed>(x: &Quantized<'a>, blocks: usize, scratch: &'a mut [Line]) -> Self {
        let (offsets, scratch) = carve::<[i32; LANES]>(scratch, if F::OFFSET == 0 { 0 } else { blocks });
        let steps = match F::SPLIT {
            _ if !F::MINIMUM => 0,
            Split::Minimum => 2,
            Split::None | Split::Scale => 1,
        };
        let (sums, _) = carve::<f32>(scratch, steps * blocks);
        let xsums = || x.sums.chunks_exact(2).map(|halves| i32::from(halves[0]) + i32::from(halves[1]));
        for (offset, xsum) in offsets.iter_mut().zip(xsums()) {
            *offset = [-i32::from(F::OFFSET) * xsum; LANES];
        }
        if F::SPLIT == Split::Minimum {
            for (sums, (xsums, d)) in sums.chunks_exact_mut(2).zip(x.sums.chunks_exact(2).zip(x.d)) {
                for (sum, xsum) in sums.iter_mut().zip(xsums) {
                    *sum = d * f32::from(*xsum);
                }
            }
        } else {
            for (sum, (xsum, d)) in sums.iter_mut().zip(xsums().zip(x.d)) {
                *sum = d * xsum as f32;
            }
        }
        Self { q: x.q, d: x.d, offsets, sums }
    }
}

/// The accumulators of `N` times four rows.
struct Sums<const N: usize> {
    products: [float32x4_t; N],
    minima: [float32x4_t; N],
}

/// Rows times one token.
///
/// # Safety
/// The rows must be of `blocks` times 32 weights of format `F`, and the token have as many.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn dots<D: Dot, F: Packed, W: Walk, const N: usize>(
    mut rows: [W; N],
    blocks: usize,
    token: &Token<'_>,
) -> [float32x4_t; N] {
    let zero = vdupq_n_f32(0.0);
    let mut sums = Sums { products: [zero; N], minima: [zero; N] };
    let mut block = 0;
    while block < blocks {
        // SAFETY: the rows have a block here; the parts are those of the format.
        unsafe {
            let here = rows.map(|rows| rows.block());
            let shared = here.map(|rows| F::shared(rows));
            each_part!(F, PART => {
                part::<D, F, W::Block, PART, N>(&here, &shared, token, block, &mut sums);
            });
            rows = rows.map(|rows| rows.next(F::BYTES));
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
/// As for [`dots`], with a whole block of each row and `block + PART` within the token.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn part<D: Dot, F: Packed, S: Source, const PART: usize, const N: usize>(
    rows: &[S; N],
    shared: &[F::Shared; N],
    token: &Token<'_>,
    block: usize,
    sums: &mut Sums<N>,
) {
    let at = block + PART;
    if D::PREFETCH {
        rows[0].prefetch::<F, PART>();
    }
    // SAFETY: the token has this block; rows below `N` are there.
    unsafe {
        let x = S::load_x::<D>(token.q.as_ptr().add(at * BLOCK));
        let dx = *token.d.get_unchecked(at);
        four::<D, F, S, PART, N, 0>(rows, shared, token, (at, dx), &x, sums);
        four::<D, F, S, PART, N, 1>(rows, shared, token, (at, dx), &x, sums);
        if N > 2 {
            four::<D, F, S, PART, N, 2>(rows, shared, token, (at, dx), &x, sums);
            four::<D, F, S, PART, N, 3>(rows, shared, token, (at, dx), &x, sums);
        }
    }
}

/// 32 weights of the four rows numbered `I` times one token, whose block `at` has the scale `dx`.
///
/// # Safety
/// As for [`dots`], with a whole block of each row, `at` within the token and `I` below `N`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four<D: Dot, F: Packed, S: Source, const PART: usize, const N: usize, const I: usize>(
    rows: &[S; N],
    shared: &[F::Shared; N],
    token: &Token<'_>,
    (at, dx): (usize, f32),
    x: &S::X<D>,
    sums: &mut Sums<N>,
) {
    // SAFETY: there is a whole block of each row; the token has this block.
    unsafe {
        let scales = if F::PARTS == 1 && F::MINIMUM {
            // What nobody else needs is loaded late: with minima, there are no registers to keep it.
            F::scales::<PART>(&F::shared(rows[I]))
        } else {
            F::scales::<PART>(&shared[I])
        };
        let start =
            if F::OFFSET == 0 { vdupq_n_s32(0) } else { vld1q_s32(token.offsets.get_unchecked(at).as_ptr()) };
        if F::SPLIT == Split::Scale {
            let isums = rows[I].half_products::<D, F, PART>(x);
            for (isum, d) in isums.into_iter().zip([scales.d, scales.second]) {
                let scale = vmulq_n_f32(d, dx);
                sums.products[I] = vfmaq_f32(sums.products[I], scale, vcvtq_f32_s32(in_order(isum)));
            }
            return;
        }
        let isum = integer_sum::<F>(
            &scales,
            || rows[I].product::<D, F, PART>(start, x),
            || rows[I].half_products::<D, F, PART>(x),
        );
        // Two quads at a time lie side by side, so that one instruction loads a word of both; where they do not fit
        // the registers, one.
        let crowded = F::TABLES || F::PARTS == 1 && F::NARROW && (F::MINIMUM || D::WIDE);
        let isum = if crowded || I == 1 { in_order(isum) } else { isum };
        // Where registers are short, it is loaded when it is asked for.
        let short = F::TABLES || F::PARTS == 1 && F::NARROW;
        let scale = vmulq_n_f32(scales.d, if short { *token.d.get_unchecked(at) } else { dx });
        sums.products[I] = vfmaq_f32(sums.products[I], scale, vcvtq_f32_s32(isum));
        let minimum = |sum: float32x4_t, minimum: float32x4_t, at: usize| {
            vfmaq_f32(sum, minimum, vdupq_n_f32(*token.sums.get_unchecked(at)))
        };
        if F::SPLIT == Split::Minimum {
            sums.minima[I] = minimum(sums.minima[I], scales.minimum, 2 * at);
            sums.minima[I] = minimum(sums.minima[I], scales.second, 2 * at + 1);
        } else if F::MINIMUM {
            sums.minima[I] = minimum(sums.minima[I], scales.minimum, at);
        }
    }
}

/// Keeps the compiler from loading what comes after before `sum` is known: where it unpacks several rows at once, they
/// do not fit the registers. (A CPU that reorders instructions does so all the same.)
#[inline]
#[target_feature(enable = "neon")]
fn in_order(mut sum: int32x4_t) -> int32x4_t {
    // SAFETY: nothing is executed.
    unsafe { core::arch::asm!("/* {0:v} */", inout(vreg) sum, options(nostack, preserves_flags)) };
    sum
}

/// The sum of 32 products of each row with the integer scales in it.
#[inline]
#[target_feature(enable = "neon")]
fn integer_sum<F: Packed>(
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
