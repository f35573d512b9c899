//! Sixteen rows of a quantized matrix times the activations of many tokens, 16 by 16 in the matrix engine.
//!
//! Rows are unpacked to a panel of int8, which then meets one tile of tokens after another. The engine gives the integer
//! sums of a block; vectors of 16 rows scale and add them, and that is what bounds the speed: three operations
//! for 512 products. Long rows are taken in spans, so that the panel stays in the first-level cache; between
//! spans the accumulators of a row lie in the output and in scratch.

use super::engine::{Engine, MatrixEngine};
use crate::layout::{GROUP, Layout};
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::tiles::{TOKENS, Tiles};
use crate::x86_64::avx512::Avx512;
use crate::x86_64::formats::{Q4_0, Q4_1, Q4K, Q6K, Q8_0};
use crate::x86_64::matmul::{Interleaved, PartOf, Source, Weights, side_by_side};
use crate::{Format, Matrix};
use core::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_fmadd_ps,
    _mm512_load_ps, _mm512_load_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps,
    _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps, _mm512_store_ps, _mm512_store_si512,
    _mm512_sub_epi8,
};
use core::ops::Range;

/// The fewest tokens for which the engine pays.
pub const LEAST_TOKENS: usize = 5;
/// The blocks of 32 in a span: with scales, a panel of 40 KiB.
const SPAN: usize = 64;
/// Groups of rows that go through the spans together.
const GROUPS: usize = 16;
/// Sums that are on their way from the engine to the vectors.
const IN_FLIGHT: usize = 3;

/// The lines of scratch that a worker needs for so many tokens.
pub const fn lines(tokens: usize) -> usize {
    let panel = SPAN * (8 + 4);
    let sums = (IN_FLIGHT + 1) * 2 * TOKENS;
    panel + sums + GROUPS * tokens.next_multiple_of(TOKENS)
}

/// Whether there is a kernel for the format.
pub const fn takes(format: Format) -> bool {
    matches!(format, Format::Q8_0 | Format::Q4_0 | Format::Q4_1 | Format::Q4_K | Format::Q6_K)
}

/// Where unpacked rows and sums lie.
struct Panel<'s> {
    /// For each block, 8 lines of 4 weights of each row.
    weights: &'s mut [Line],
    /// For each block: the scales.
    d: &'s mut [Line],
    /// The minima.
    minima: &'s mut [Line],
    /// The integer scales of both halves, as floats.
    scales: &'s mut [Line],
    /// What the engine gave.
    sums: &'s mut [Line],
    /// The second accumulators of each token, group after group.
    accm: &'s mut [Line],
}

impl<'s> Panel<'s> {
    fn new(scratch: &'s mut [Line], tokens: usize) -> Self {
        let (weights, scratch) = carve(scratch, SPAN * 8);
        let (d, scratch) = carve(scratch, SPAN);
        let (minima, scratch) = carve(scratch, SPAN);
        let (scales, scratch) = carve(scratch, SPAN * 2);
        let (sums, scratch) = carve(scratch, (IN_FLIGHT + 1) * 2 * TOKENS);
        let (accm, _) = carve(scratch, GROUPS * tokens);
        Self { weights, d, minima, scales, sums, accm }
    }
}

/// Rows of a quantized matrix times tiles of activations.
///
/// # Safety
/// The CPU has the features and the engine, and the process the permission to use it.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn tiled_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Tiles<'_>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    // SAFETY: the caller's promise.
    unsafe { with_engine(&Engine::configure(), matrix, rows, x, out, scratch) }
}

/// As [`tiled_rows`], with this engine.
///
/// # Safety
/// The CPU has the features.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn with_engine<E: MatrixEngine>(
    engine: &E,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Tiles<'_>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match matrix.format() {
            Format::Q8_0 => of::<E, Q8_0<Avx512>>(engine, matrix, rows, x, out, scratch),
            Format::Q4_0 => of::<E, Q4_0<Avx512>>(engine, matrix, rows, x, out, scratch),
            Format::Q4_1 => of::<E, Q4_1<Avx512>>(engine, matrix, rows, x, out, scratch),
            Format::Q4_K => of::<E, Q4K<Avx512>>(engine, matrix, rows, x, out, scratch),
            Format::Q6_K => of::<E, Q6K<Avx512>>(engine, matrix, rows, x, out, scratch),
            _ => unreachable!("no kernel of the engine takes it"),
        }
    }
}

/// Some rows of a matrix that are computed together.
struct Group<'m, 'a> {
    matrix: &'m Matrix<'a>,
    rows: Range<usize>,
}

impl Group<'_, '_> {
    /// The lanes of the rows that were asked for.
    fn lanes(&self) -> Range<usize> {
        match self.matrix.layout() {
            Layout::Rows => side_by_side::<16>(self.matrix, self.rows.clone()).1,
            Layout::Rows16 => {
                let first = self.rows.start % GROUP;
                first..GROUP.min(first + self.rows.len())
            }
        }
    }
}

impl Group<'_, '_> {
    /// Where the weights of a span lie, if there are rows.
    fn ahead<W: Weights<16>>(&self, span: Range<usize>) -> Option<Ahead> {
        if self.rows.is_empty() {
            return None;
        }
        let (skip, len) = (span.start / W::PARTS * W::BYTES, span.len() / W::PARTS * W::BYTES);
        Some(match self.matrix.layout() {
            Layout::Rows => {
                let (blocks, _) = side_by_side::<16>(self.matrix, self.rows.clone());
                Ahead { base: blocks.base.wrapping_add(skip), stride: blocks.stride, pieces: GROUP, len }
            }
            Layout::Rows16 => {
                let base = self.matrix.group(self.rows.start / GROUP).as_ptr();
                Ahead { base: base.wrapping_add(GROUP * skip), stride: 0, pieces: 1, len: GROUP * len }
            }
        })
    }
}

/// Pieces of memory that will be read soon.
#[derive(Clone, Copy)]
struct Ahead {
    base: *const u8,
    /// From one piece to the next.
    stride: usize,
    pieces: usize,
    /// The bytes of a piece.
    len: usize,
}

impl Ahead {
    /// Fetches the `part`-th of `parts` equal parts to the second-level cache.
    #[inline]
    fn fetch(&self, part: usize, parts: usize) {
        let lines = self.len.div_ceil(Line::BYTES);
        let all = lines * self.pieces;
        for line in part * all / parts..(part + 1) * all / parts {
            let at = line / lines * self.stride + line % lines * Line::BYTES;
            // SAFETY: a hint: an address that is not there is ignored.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.base.wrapping_add(at).cast()) };
        }
    }
}

/// As [`tiled_rows`], for one format.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn of<E: MatrixEngine, W: Weights<16, Lanes = Avx512>>(
    engine: &E,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Tiles<'_>,
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let tiles = x.tokens.div_ceil(TOKENS);
    let values = tiles * x.blocks * TOKENS;
    assert!(x.q.len() == 32 * values && x.d.len() == values && x.sums.len() == values, "whole tiles");
    assert!(matrix.cols() == 32 * x.blocks && out.tokens() == x.tokens, "as many columns and tokens");
    assert!(matrix.row_bytes() == x.blocks / W::PARTS * W::BYTES, "rows of this format");
    let panel = Panel::new(scratch, tiles * TOKENS);
    let mut product = Product { engine, panel, x };
    let mut start = rows.start;
    while start < rows.end {
        let first = start;
        for span in (0..x.blocks).step_by(SPAN) {
            let span = span..x.blocks.min(span + SPAN);
            start = first;
            for g in 0..GROUPS {
                if start == rows.end {
                    break;
                }
                let group = Group { matrix, rows: start..rows.end };
                let lanes = group.lanes();
                // SAFETY: the caller's promise; the sizes were checked above.
                unsafe {
                    unpack::<W>(&group, span.clone(), &mut product.panel);
                    let columns = start - rows.start..start - rows.start + lanes.len();
                    let mut part = out.columns_mut(columns);
                    start += lanes.len();
                    let next = Group { matrix, rows: start..rows.end }.ahead::<W>(span.clone());
                    product.multiply::<W>(g, span.clone(), &mut part, lanes.start, next);
                }
            }
        }
    }
}

/// Unpacks a span of the rows.
///
/// # Safety
/// The CPU has the features; the rows are of format `W`, and have the span.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn unpack<W: Weights<16, Lanes = Avx512>>(
    group: &Group<'_, '_>,
    span: Range<usize>,
    panel: &mut Panel<'_>,
) {
    let matrix = group.matrix;
    let skip = span.start / W::PARTS * W::BYTES;
    match matrix.layout() {
        Layout::Rows => {
            let (mut blocks, _) = side_by_side::<16>(matrix, group.rows.clone());
            blocks.base = blocks.base.wrapping_add(skip);
            // SAFETY: the caller's promise.
            unsafe { unpack_blocks::<W, _>(blocks, span.len(), panel) };
        }
        Layout::Rows16 => {
            let bytes = matrix.group(group.rows.start / GROUP);
            let blocks = Interleaved::new(&bytes[GROUP * skip..], 0);
            // SAFETY: as above.
            unsafe { unpack_blocks::<W, _>(blocks, span.len(), panel) };
        }
    }
}

/// Unpacks `count` blocks of 32 of each row.
///
/// # Safety
/// As for [`unpack`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn unpack_blocks<W: Weights<16, Lanes = Avx512>, S: Source<Avx512, 16>>(
    mut blocks: S,
    count: usize,
    panel: &mut Panel<'_>,
) {
    assert!(count <= SPAN && count.is_multiple_of(W::PARTS), "a span of whole blocks");
    let surplus = _mm512_set1_epi8(W::SURPLUS as i8);
    let to = |lines: &mut [Line], at: usize| -> *mut f32 { (&raw mut lines[at]).cast() };
    for first in (0..count).step_by(W::PARTS) {
        // SAFETY: `blocks` stand at the 32 weights number `first`; lines are aligned, and indexed in bounds.
        unsafe {
            let head = W::head(&blocks);
            for b in 0..W::PARTS {
                let part: PartOf<W, 16> = W::part(&blocks, &head, b);
                let at = first + b;
                for (j, w) in part.w.into_iter().enumerate() {
                    _mm512_store_si512(to(panel.weights, 8 * at + j).cast(), _mm512_sub_epi8(w, surplus));
                }
                _mm512_store_ps(to(panel.d, at), part.d);
                if W::MINIMUM {
                    _mm512_store_ps(to(panel.minima, at), part.minimum);
                }
                for (half, scale) in part.scales.into_iter().enumerate().take(W::SCALES) {
                    _mm512_store_ps(to(panel.scales, 2 * at + half), _mm512_cvtepi32_ps(scale));
                }
            }
        }
        blocks.advance(W::BYTES);
    }
}

/// What all rows of a product share.
struct Product<'p, E> {
    engine: &'p E,
    panel: Panel<'p>,
    x: &'p Tiles<'p>,
}

impl<E: MatrixEngine> Product<'_, E> {
    /// A span of unpacked rows times every tile of tokens; its outputs, from lane `lane` on, go to `out`.
    ///
    /// # Safety
    /// The CPU has the features; the panel holds the span.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn multiply<W: Weights<16, Lanes = Avx512>>(
        &mut self,
        group: usize,
        span: Range<usize>,
        out: &mut Tile<'_>,
        lane: usize,
        next: Option<Ahead>,
    ) {
        let Self { engine, panel, x } = self;
        let (is_first, is_last) = (span.start == 0, span.end == x.blocks);
        let mask = (((1_u32 << out.columns().len()) - 1) << lane) as u16;
        let stored = x.tokens.next_multiple_of(TOKENS);
        let tiles = x.tokens.div_ceil(TOKENS);
        for tile in 0..tiles {
            if let Some(next) = next {
                next.fetch(tile, tiles);
            }
            let tokens = TOKENS.min(x.tokens - tile * TOKENS);
            // Where lane 0 of a token's outputs would be: the mask leaves out what is not there.
            let mut place = |t: usize| out.token(tile * TOKENS + t).as_mut_ptr().wrapping_sub(lane);
            let mut acc = [_mm512_setzero_ps(); TOKENS];
            if !is_first {
                for (t, acc) in acc.iter_mut().enumerate().take(tokens) {
                    // SAFETY: the mask is that of the outputs.
                    *acc = unsafe { _mm512_maskz_loadu_ps(mask, place(t)) };
                }
            }
            let at = (tile * x.blocks + span.start) * TOKENS;
            let (q, d) = (x.q[at * 32..].as_ptr(), x.d[at..].as_ptr());
            // SAFETY: the tile has the span; so has the panel.
            unsafe { add_products::<E, W>(*engine, panel, span.len(), q, d, &mut acc) };
            if W::MINIMUM {
                let accm = &mut panel.accm[group * stored + tile * TOKENS..][..TOKENS];
                // SAFETY: lines are aligned; the tile has the span, and so has the panel.
                unsafe {
                    let mut sums = [_mm512_setzero_ps(); TOKENS];
                    if !is_first {
                        for (sum, line) in sums.iter_mut().zip(&*accm) {
                            *sum = _mm512_load_ps((&raw const *line).cast());
                        }
                    }
                    add_minima(panel.minima, span.len(), x.sums[at..].as_ptr(), &mut sums);
                    if is_last {
                        for (acc, sum) in acc.iter_mut().zip(sums) {
                            *acc = _mm512_add_ps(*acc, sum);
                        }
                    } else {
                        for (sum, line) in sums.into_iter().zip(accm) {
                            _mm512_store_ps((&raw mut *line).cast(), sum);
                        }
                    }
                }
            } else if is_last {
                // The second accumulator stayed 0.
                acc = acc.map(|acc| _mm512_add_ps(acc, _mm512_setzero_ps()));
            }
            for (t, acc) in acc.into_iter().enumerate().take(tokens) {
                // SAFETY: the mask is that of the outputs.
                unsafe { _mm512_mask_storeu_ps(place(t), mask, acc) };
            }
        }
    }
}

/// `acc[t] = fma(d dx[t], isum[t], acc[t])` over `count` blocks.
///
/// # Safety
/// The CPU has the features; the panel holds as many blocks, `q` and `d` a tile's.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add_products<E: MatrixEngine, W: Weights<16, Lanes = Avx512>>(
    engine: &E,
    panel: &mut Panel<'_>,
    count: usize,
    q: *const i8,
    d: *const f32,
    acc: &mut [__m512; TOKENS],
) {
    let weights = panel.weights.as_ptr().cast::<u8>();
    let scales = panel.d.as_ptr().cast::<f32>();
    let integers = panel.scales.as_ptr().cast::<f32>();
    let buffers = panel.sums.as_mut_ptr().cast::<i32>();
    // Each buffer has room for two products.
    let buffer = |block: usize| buffers.wrapping_add(block % (IN_FLIGHT + 1) * 2 * TOKENS * 16);
    // SAFETY: the caller's promise.
    let multiply = |block: usize| unsafe {
        let (x, w) = (q.add(block * TOKENS * 32), weights.add(block * 512));
        if W::SCALES == 2 {
            engine.half_products(x, w, buffer(block));
        } else {
            engine.product(x, w, buffer(block));
        }
    };
    for block in 0..count.min(IN_FLIGHT) {
        multiply(block);
    }
    for block in 0..count {
        if block + IN_FLIGHT < count {
            multiply(block + IN_FLIGHT);
        }
        let sums = buffer(block);
        // SAFETY: the panel and the tile have the block; lines are aligned; the engine wrote the sums.
        unsafe {
            let scale = _mm512_load_ps(scales.add(block * 16));
            let integer = |half: usize| _mm512_load_ps(integers.add((2 * block + half) * 16));
            let sum = |half: usize, t: usize| -> __m512 {
                _mm512_cvtepi32_ps(_mm512_load_si512(sums.add((half * TOKENS + t) * 16).cast::<__m512i>()))
            };
            for (t, acc) in acc.iter_mut().enumerate() {
                let dx = _mm512_set1_ps(*d.add(block * TOKENS + t));
                // Integers below 2^24, so that the products of floats are exact.
                let isum = match W::SCALES {
                    0 => sum(0, t),
                    1 => _mm512_mul_ps(sum(0, t), integer(0)),
                    _ => _mm512_fmadd_ps(sum(1, t), integer(1), _mm512_mul_ps(sum(0, t), integer(0))),
                };
                *acc = _mm512_fmadd_ps(_mm512_mul_ps(scale, dx), isum, *acc);
            }
        }
    }
}

/// `accm[t] = fma(m, dx[t] xsum[t], accm[t])` over `count` blocks.
///
/// # Safety
/// The CPU has the features; there are as many minima, and `sums` is a tile's.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add_minima(minima: &[Line], count: usize, sums: *const f32, accm: &mut [__m512; TOKENS]) {
    for (block, minimum) in minima.iter().enumerate().take(count) {
        // SAFETY: lines are aligned; the caller's promise.
        unsafe {
            let minimum = _mm512_load_ps((&raw const *minimum).cast());
            for (t, accm) in accm.iter_mut().enumerate() {
                *accm = _mm512_fmadd_ps(minimum, _mm512_set1_ps(*sums.add(block * TOKENS + t)), *accm);
            }
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests;
