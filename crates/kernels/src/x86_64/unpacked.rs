//! Rows that are unpacked to scratch before they meet tokens: what every format has, for as many tokens as there are.
//!
//! Few tokens: some blocks at a time, in the first-level cache, while what comes next is fetched. Many: whole rows, where
//! tiles of tokens meet them, and memory is no matter. Once unpacked, formats are no longer told apart: what is left of
//! them is a [`Kind`] of parts. So each has code of its own for its bytes alone, and what multiplies is there once for
//! each kind.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::avx512::eights::LINES_OF_A_BLOCK;
use super::kinds::{Kind, Totals, kind_of};
use super::matmul::{Lanes, PartOf, PartOfLanes, Weights, check, group_of, hidden, store};
use super::source::{AHEAD, Blocks, Interleaved, Source, fetch, own, side_by_side};
use crate::layout::Layout;
use crate::scratch::{Line, lines_of_a_panel};
use crate::split::Tile;
use crate::{Format, Matrix, Quantized};
use core::ops::Range;

/// Unpacking and multiplication at a level, each function of which has the level's features: shared by all formats and
/// all callers.
///
/// # Safety
/// Of every function: as for [`Lanes`]. `parts` is valid for what is written.
pub trait Panels<const ROWS: usize> {
    /// The instruction set.
    type Lanes: Lanes<ROWS>;

    /// Unpacks `count` times 32 weights of each row, which are whole blocks, and moves on behind them.
    unsafe fn unpack(format: Format, blocks: &mut Blocks<ROWS>, count: usize, parts: *mut PartIn<Self, ROWS>);
    /// As `unpack`, of rows side by side.
    unsafe fn unpack_group(
        format: Format,
        blocks: &mut Interleaved,
        count: usize,
        parts: *mut PartIn<Self, ROWS>,
    );
    /// Adds the products of these parts, from block `first` of 32 on, with the tokens from `token` on.
    unsafe fn add<const T: usize>(
        kind: Kind,
        parts: &[PartIn<Self, ROWS>],
        x: &At<'_>,
        first: usize,
        totals: &mut TotalsIn<Self, T, ROWS>,
    );
}

/// 32 weights of each row, at a level.
pub type PartIn<P, const ROWS: usize> = PartOfLanes<<P as Panels<ROWS>>::Lanes, ROWS>;
/// Both accumulators of each row for each of `T` tokens, at a level.
pub type TotalsIn<P, const T: usize, const ROWS: usize> =
    Totals<<<P as Panels<ROWS>>::Lanes as Lanes<ROWS>>::F, T>;

/// Activations from some token on.
#[derive(Clone, Copy, Debug)]
pub struct At<'x> {
    /// Those of all tokens.
    pub x: &'x Quantized<'x>,
    /// The activations of a token.
    pub cols: usize,
    /// The first token.
    pub token: usize,
}

/// The lines that [`unpacked_rows`] takes for rows of so many columns: a panel, and what tiles of eight tokens make ready.
pub const fn lines(cols: usize) -> usize {
    let blocks = cols.div_ceil(32);
    lines_of_a_panel(blocks) + LINES_OF_A_BLOCK * blocks
}

/// Times 32 weights that are unpacked together for one token: a block of 256, or as many smaller ones.
const STRETCH: usize = 8;
/// From so many tokens on, all weights of a row are unpacked at once: time goes to products, and no longer to memory. There are
/// tiles of so many at some levels.
const FEW: usize = 8;

/// Rows of a quantized matrix of any format times int8 activations: for each token and row `acc + accm`.
///
/// # Safety
/// The CPU has the features of `P::Lanes`; `N` times `ROWS` is [`GROUP`].
#[inline(always)]
pub unsafe fn unpacked_rows<P: Panels<ROWS>, const ROWS: usize, const N: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    check(matrix, &out, x);
    let (format, cols) = (matrix.format(), matrix.cols());
    let kind = kind_of(format);
    let blocks = cols / 32;
    let (panel, ready) = scratch.split_at_mut(lines_of_a_panel(blocks));
    assert!(
        size_of_val(panel) >= blocks.max(STRETCH) * size_of::<PartIn<P, ROWS>>()
            && align_of::<PartIn<P, ROWS>>() <= 64,
        "scratch for unpacked rows"
    );
    let parts = panel.as_mut_ptr().cast::<PartIn<P, ROWS>>();
    let end = matrix.bytes().as_ptr().wrapping_add(rows.end * matrix.row_bytes());
    let mut start = rows.start;
    while start < rows.end {
        let at = start - rows.start;
        let (mut plain, mut group) = (None, None);
        // What the rows after these begin with, as in `stream`.
        let mut ahead: *const u8;
        let lanes = match matrix.layout() {
            Layout::Rows => {
                let (blocks, lanes) = side_by_side::<ROWS>(matrix, start..rows.end);
                ahead = blocks.base.wrapping_add(ROWS * matrix.row_bytes() + AHEAD);
                plain = Some(blocks);
                lanes
            }
            Layout::Rows16 => {
                let (bytes, lanes) = group_of(matrix, start..rows.end);
                ahead = bytes.as_ptr().wrapping_add(AHEAD);
                group = Some(core::array::from_fn::<_, N, _>(|n| Interleaved::new(bytes, n * ROWS)));
                lanes
            }
        };
        start += lanes.len();
        // Unpacks the next of the rows of a vector.
        let mut unpack = |n: usize, count: usize| {
            // SAFETY: the sources stand at whole blocks of whole rows; there is room for as many parts.
            unsafe {
                match (&mut plain, &mut group) {
                    (Some(blocks), _) => P::unpack(format, blocks, count, parts),
                    (_, Some(groups)) => P::unpack_group(format, &mut groups[n], count, parts),
                    _ => {}
                }
                // SAFETY: all of them were written, inside `scratch`, which stays borrowed.
                core::slice::from_raw_parts(parts, count)
            }
        };
        let vectors = if matrix.layout() == Layout::Rows { 1 } else { N };
        if out.tokens() < FEW {
            let mut few = [const { None }; N];
            for first in (0..blocks).step_by(STRETCH) {
                for (n, few) in few.iter_mut().enumerate().take(vectors) {
                    let count = STRETCH.min(blocks - first);
                    let bytes = ROWS * count * matrix.row_bytes() / blocks;
                    fetch(ahead.min(end), bytes);
                    ahead = ahead.wrapping_add(bytes);
                    let parts = unpack(n, count);
                    let x = &At { x, cols, token: 0 };
                    // SAFETY: the activations were checked above; there are so many tokens.
                    unsafe {
                        let few = few.get_or_insert_with(|| Few::<P, ROWS>::new());
                        few.add(kind, parts, x, first, out.tokens());
                    }
                }
            }
            for (n, few) in few.iter().enumerate().take(vectors) {
                let (at, lanes) = of_vector::<ROWS>(n, at, &lanes);
                if let (Some(few), false) = (few, lanes.is_empty()) {
                    // SAFETY: the caller's promise.
                    unsafe { few.store(&mut out, at, &lanes) };
                }
            }
            continue;
        }
        for n in 0..vectors {
            let (at, lanes) = of_vector::<ROWS>(n, at, &lanes);
            if lanes.is_empty() {
                continue;
            }
            let parts = unpack(n, blocks);
            let tokens = out.tokens();
            let mut token = 0;
            while token < tokens {
                let left = tokens - token;
                claim(&mut out, token..token + left.min(FEW), at);
                // Where fewer than eight are left, some of the last eight get their outputs twice.
                let eight = At { x, cols, token: token.min(tokens - FEW) };
                let x = At { x, cols, token };
                // SAFETY: the activations were checked above; no tile reaches past the last token.
                unsafe {
                    if let Some(sums) = P::Lanes::eight(kind, parts, &eight, ready) {
                        token = eight.token + put(&sums, &eight, &mut out, at, &lanes);
                    } else if left >= 4 {
                        token += tile::<P, 4, ROWS>(kind, parts, &x, &mut out, at, &lanes);
                    } else if left >= 2 {
                        token += tile::<P, 2, ROWS>(kind, parts, &x, &mut out, at, &lanes);
                    } else {
                        token += tile::<P, 1, ROWS>(kind, parts, &x, &mut out, at, &lanes);
                    }
                }
            }
        }
    }
}

/// The rows of a vector times a few tokens, as far as they were unpacked: fours, twos and ones of tokens, as
/// [`unpacked_rows`] has tiles of them.
struct Few<P: Panels<ROWS>, const ROWS: usize> {
    four: TotalsIn<P, 4, ROWS>,
    two: TotalsIn<P, 2, ROWS>,
    one: TotalsIn<P, 1, ROWS>,
}

impl<P: Panels<ROWS>, const ROWS: usize> Few<P, ROWS> {
    /// From nothing.
    ///
    /// # Safety
    /// Of every function: the CPU has the features of `P::Lanes`.
    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the caller's promise.
        let zero = unsafe { P::Lanes::zero() };
        Self { four: Totals::new(zero), two: Totals::new(zero), one: Totals::new(zero) }
    }

    /// Adds the products of these parts, from block `first` of 32 on, with all tokens of `x`, which are `tokens`.
    ///
    /// # Safety
    /// As for `new`; the activations are so many, of as many weights as there are.
    #[inline(always)]
    unsafe fn add(&mut self, kind: Kind, parts: &[PartIn<P, ROWS>], x: &At<'_>, first: usize, tokens: usize) {
        let from = |token| At { token, ..*x };
        // SAFETY: the caller's promise.
        unsafe {
            if tokens & 4 != 0 {
                P::add(kind, parts, x, first, &mut self.four);
            }
            if tokens & 2 != 0 {
                P::add(kind, parts, &from(tokens & 4), first, &mut self.two);
            }
            if tokens & 1 != 0 {
                P::add(kind, parts, &from(tokens & 6), first, &mut self.one);
            }
        }
    }

    /// Gives the tokens their outputs, as [`store`] does.
    ///
    /// # Safety
    /// As for `new`.
    #[inline(always)]
    unsafe fn store(&self, out: &mut Tile<'_>, at: usize, lanes: &Range<usize>) {
        let tokens = out.tokens();
        let mut put = |first: usize, sums: &[[f32; ROWS]]| {
            for (t, sums) in sums.iter().enumerate() {
                store(out, first + t, at, sums, lanes);
            }
        };
        // SAFETY: the caller's promise.
        unsafe {
            if tokens & 4 != 0 {
                put(0, &self.four.sums::<P::Lanes, ROWS>());
            }
            if tokens & 2 != 0 {
                put(tokens & 4, &self.two.sums::<P::Lanes, ROWS>());
            }
            if tokens & 1 != 0 {
                put(tokens & 6, &self.one.sums::<P::Lanes, ROWS>());
            }
        }
    }
}

/// Of lanes of several vectors, those of vector `n`, and where their results go.
#[inline]
fn of_vector<const ROWS: usize>(n: usize, at: usize, lanes: &Range<usize>) -> (usize, Range<usize>) {
    let (from, to) = (lanes.start.max(n * ROWS), lanes.end.min((n + 1) * ROWS));
    if from >= to { (at, 0..0) } else { (at + from - lanes.start, from - n * ROWS..to - n * ROWS) }
}

/// Asks for the lines that the outputs of these tokens will be written to: with many rows they are in no cache, and the
/// store that waits for one holds up all after it.
#[inline(always)]
fn claim(out: &mut Tile<'_>, tokens: Range<usize>, at: usize) {
    for token in tokens {
        own(out.token(token)[at..].as_ptr());
    }
}

/// Unpacked rows times `T` tokens.
///
/// # Safety
/// The CPU has the features of `P::Lanes`; there are these tokens, of as many activations as there are weights.
#[inline(always)]
unsafe fn tile<P: Panels<ROWS>, const T: usize, const ROWS: usize>(
    kind: Kind,
    parts: &[PartIn<P, ROWS>],
    x: &At<'_>,
    out: &mut Tile<'_>,
    at: usize,
    lanes: &Range<usize>,
) -> usize {
    // SAFETY: the caller's promise.
    let sums = unsafe {
        let mut totals = TotalsIn::<P, T, ROWS>::new(P::Lanes::zero());
        P::add(kind, parts, x, 0, &mut totals);
        totals.sums::<P::Lanes, ROWS>()
    };
    put(&sums, x, out, at, lanes)
}

/// Gives the tokens from `x.token` on their outputs, as [`store`] does. How many they are.
#[inline(always)]
fn put<const ROWS: usize>(
    sums: &[[f32; ROWS]],
    x: &At<'_>,
    out: &mut Tile<'_>,
    at: usize,
    lanes: &Range<usize>,
) -> usize {
    for (t, sums) in sums.iter().enumerate() {
        // All rows but the last: a copy of known length is no call.
        if lanes.len() == ROWS
            && let Some(to) = out.token(x.token + t)[at..].first_chunk_mut()
        {
            *to = *sums;
        } else {
            store(out, x.token + t, at, sums, lanes);
        }
    }
    sums.len()
}

/// Unpacks `count` times 32 weights of each row.
///
/// # Safety
/// The CPU has the features of `W::Lanes`; `blocks` stand at as many weights, in whole blocks, and there is room for as
/// many parts.
#[inline(always)]
pub unsafe fn unpack<W: Weights<ROWS>, S: Source<W::Lanes, ROWS>, const ROWS: usize>(
    blocks: &mut S,
    count: usize,
    parts: *mut PartOf<W, ROWS>,
) {
    let kind = kind_of(W::FORMAT);
    for first in (0..count).step_by(W::PARTS) {
        // SAFETY: the caller's promise: `blocks` stand at the 32 weights number `first`.
        unsafe {
            let mut head = W::head(blocks);
            for part in 0..W::PARTS {
                // What the kind does not look at is not written.
                let from = W::part(blocks, &mut head, hidden(part));
                let to = parts.add(first + part);
                (&raw mut (*to).w).write(from.w);
                (&raw mut (*to).d[0]).write(from.d[0]);
                if kind.has_half_scales() {
                    (&raw mut (*to).d[1]).write(from.d[1]);
                }
                for half in 0..kind.scales() {
                    (&raw mut (*to).scales[half]).write(from.scales[half]);
                }
                for half in 0..kind.minima() {
                    (&raw mut (*to).minima[half]).write(from.minima[half]);
                }
            }
        }
        blocks.advance(W::BYTES);
    }
}
