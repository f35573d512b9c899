//! Sixteen rows of a quantized matrix times the activations of many tokens, 16 by 16 in the matrix engine.
//!
//! Rows are unpacked to a panel of int8, which then meets one tile of tokens after another. The engine gives the integer
//! sums of a block; vectors of 16 rows scale and add them, and that is what bounds the speed: three operations
//! for 512 products. Long rows are taken in spans, so that the panel stays in the first-level cache; between
//! spans the accumulators of a row lie in the output and in scratch.

use super::engine::{Engine, MatrixEngine};
use crate::Matrix;
use crate::layout::{GROUP, Layout};
use crate::scratch::{Line, carve};
use crate::split::Tile;
use crate::tiles::{TOKENS, Tiles};
use crate::x86_64::avx512::{Avx512, integers};
use crate::x86_64::kinds::{Kind, kind_of};
use crate::x86_64::matmul::{Lanes, PartOfLanes};
use crate::x86_64::source::{Interleaved, side_by_side};
use core::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_castps_si512, _mm512_cvtepi32_ps,
    _mm512_fmadd_ps, _mm512_load_ps, _mm512_load_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps, _mm512_store_ps, _mm512_sub_epi8,
};
use core::ops::Range;

/// The fewest tokens for which the engine pays.
pub const LEAST_TOKENS: usize = 5;
/// The blocks of 32 in a span: with what few formats have, a panel of 56 KiB, of which most use 36 to 44.
const SPAN: usize = 64;
/// Groups of rows that go through the spans together.
const GROUPS: usize = 16;
/// Sums that are on their way from the engine to the vectors.
const IN_FLIGHT: usize = 3;

/// The lines of scratch that a worker needs for so many tokens.
pub const fn lines(tokens: usize) -> usize {
    let panel = SPAN * (size_of::<Part>() / Line::BYTES);
    let sums = (IN_FLIGHT + 1) * 2 * TOKENS;
    panel + sums + GROUPS * tokens.next_multiple_of(TOKENS)
}

/// 32 weights of each of 16 rows. Once [settled](settle), weights are int8 as they are, and integer scales floats.
type Part = PartOfLanes<Avx512, 16>;

/// Where unpacked rows and sums lie.
struct Panel<'s> {
    /// The parts of a span.
    parts: &'s mut [Line],
    /// What the engine gave.
    sums: &'s mut [Line],
    /// The second accumulators of each token, group after group.
    accm: &'s mut [Line],
}

impl<'s> Panel<'s> {
    fn new(scratch: &'s mut [Line], tokens: usize) -> Self {
        let (parts, scratch) = carve(scratch, SPAN * (size_of::<Part>() / Line::BYTES));
        let (sums, scratch) = carve(scratch, (IN_FLIGHT + 1) * 2 * TOKENS);
        let (accm, _) = carve(scratch, GROUPS * tokens);
        Self { parts, sums, accm }
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
        match kind_of(matrix.format()) {
            Kind::Four { .. } | Kind::Five { .. } | Kind::Eight => {
                of::<E, Plain>(engine, matrix, rows, x, out, scratch);
            }
            Kind::FourMinimum | Kind::FiveMinimum => of::<E, Minimum>(engine, matrix, rows, x, out, scratch),
            Kind::ScaledFour | Kind::ScaledFive => of::<E, Scaled>(engine, matrix, rows, x, out, scratch),
            Kind::BiasedFive { .. } | Kind::BiasedSeven { .. } | Kind::ScaledSix | Kind::ScaledEight => {
                of::<E, TwoScales>(engine, matrix, rows, x, out, scratch);
            }
            Kind::ScaledMinima => of::<E, TwoMinima>(engine, matrix, rows, x, out, scratch),
            Kind::Halves { .. } => of::<E, Halves>(engine, matrix, rows, x, out, scratch),
        }
    }
}

/// What the sums of a kind of parts take.
trait Steps {
    /// The integer scales of 32 weights.
    const SCALES: usize;
    /// The minima.
    const MINIMA: usize;
    /// Whether each half has a scale of its own.
    const HALVES: bool = false;
}

macro_rules! steps {
    ($($name:ident: $scales:literal scales, $minima:literal minima $(, $halves:ident)?;)+) => {$(
        struct $name;

        impl Steps for $name {
            const SCALES: usize = $scales;
            const MINIMA: usize = $minima;
            $(const HALVES: bool = $halves;)?
        }
    )+};
}
steps! {
    Plain: 0 scales, 0 minima;
    Minimum: 0 scales, 1 minima;
    Scaled: 1 scales, 1 minima;
    TwoScales: 2 scales, 0 minima;
    TwoMinima: 2 scales, 2 minima;
    Halves: 0 scales, 0 minima, true;
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
    /// The bytes that a row has for so many blocks of 32, which are whole blocks of its format.
    const fn bytes(&self, blocks: usize) -> usize {
        let format = self.matrix.format();
        blocks * 32 / format.block_len() * format.block_bytes()
    }

    /// Where the weights of a span lie, if there are rows.
    fn ahead(&self, span: Range<usize>) -> Option<Ahead> {
        if self.rows.is_empty() {
            return None;
        }
        let (skip, len) = (self.bytes(span.start), self.bytes(span.len()));
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

/// As [`tiled_rows`], for formats whose parts take these steps.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn of<E: MatrixEngine, S: Steps>(
    engine: &E,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Tiles<'_>,
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let tiles = x.tokens.div_ceil(TOKENS);
    let values = tiles * x.blocks * TOKENS;
    assert!(x.q.len() == 32 * values && x.d.len() == values, "whole tiles");
    assert!(x.sums.len() == values && x.halves.len() == values, "sums of whole tiles");
    assert!(matrix.cols() == 32 * x.blocks && out.tokens() == x.tokens, "as many columns and tokens");
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
                    unpack(&group, span.clone(), &mut product.panel);
                    let columns = start - rows.start..start - rows.start + lanes.len();
                    let mut part = out.columns_mut(columns);
                    start += lanes.len();
                    let next = Group { matrix, rows: start..rows.end }.ahead(span.clone());
                    product.multiply::<S>(g, span.clone(), &mut part, lanes.start, next);
                }
            }
        }
    }
}

/// Unpacks a span of the rows.
///
/// # Safety
/// The CPU has the features; the rows have the span.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn unpack(group: &Group<'_, '_>, span: Range<usize>, panel: &mut Panel<'_>) {
    let (matrix, format) = (group.matrix, group.matrix.format());
    let (skip, count) = (group.bytes(span.start), span.len());
    assert!(count <= SPAN && (32 * count).is_multiple_of(format.block_len()), "a span of whole blocks");
    let parts = panel.parts.as_mut_ptr().cast::<Part>();
    match matrix.layout() {
        Layout::Rows => {
            let (mut blocks, _) = side_by_side::<16>(matrix, group.rows.clone());
            blocks.base = blocks.base.wrapping_add(skip);
            // SAFETY: the caller's promise; the panel has room for a span.
            unsafe { integers::unpack(format, &mut blocks, count, parts) };
        }
        Layout::Rows16 => {
            let bytes = matrix.group(group.rows.start / GROUP);
            let mut blocks = Interleaved::new(&bytes[GROUP * skip..], 0);
            // SAFETY: as above.
            unsafe { integers::unpack_group(format, &mut blocks, count, parts) };
        }
    }
    let kind = kind_of(format);
    // SAFETY: the parts were written, in lines, which are aligned.
    unsafe { settle(core::slice::from_raw_parts_mut(parts, count), kind) };
}

/// Makes parts what the engine and its sums want.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn settle(parts: &mut [Part], kind: Kind) {
    let surplus = kind.surplus(<Avx512 as Lanes<16>>::SURPLUS8);
    for part in parts {
        if surplus != 0 {
            for w in &mut part.w {
                *w = _mm512_sub_epi8(*w, _mm512_set1_epi8(surplus as i8));
            }
        }
        for scale in part.scales.iter_mut().take(kind.scales()) {
            *scale = _mm512_castps_si512(_mm512_cvtepi32_ps(*scale));
        }
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
    unsafe fn multiply<S: Steps>(
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
            unsafe { add_products::<E, S>(*engine, panel, span.len(), q, d, &mut acc) };
            if S::MINIMA > 0 {
                let accm = &mut panel.accm[group * stored + tile * TOKENS..][..TOKENS];
                // SAFETY: lines are aligned; the tile has the span, and so has the panel.
                unsafe {
                    let mut sums = [_mm512_setzero_ps(); TOKENS];
                    if !is_first {
                        for (sum, line) in sums.iter_mut().zip(&*accm) {
                            *sum = _mm512_load_ps((&raw const *line).cast());
                        }
                    }
                    add_minima::<S>(panel.parts, span.len(), x, at, &mut sums);
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
unsafe fn add_products<E: MatrixEngine, S: Steps>(
    engine: &E,
    panel: &mut Panel<'_>,
    count: usize,
    q: *const i8,
    d: *const f32,
    acc: &mut [__m512; TOKENS],
) {
    let parts = panel.parts.as_ptr().cast::<Part>();
    let buffers = panel.sums.as_mut_ptr().cast::<i32>();
    // Each buffer has room for two products.
    let buffer = |block: usize| buffers.wrapping_add(block % (IN_FLIGHT + 1) * 2 * TOKENS * 16);
    // SAFETY: the caller's promise.
    let multiply = |block: usize| unsafe {
        let (x, w) = (q.add(block * TOKENS * 32), (&raw const (*parts.add(block)).w).cast());
        if S::SCALES == 2 || S::HALVES {
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
            let part = parts.add(block);
            let scale = |half: usize| _mm512_load_ps((&raw const (*part).d[half]).cast());
            let integer = |half: usize| _mm512_load_ps((&raw const (*part).scales[half]).cast());
            let sum = |half: usize, t: usize| -> __m512 {
                _mm512_cvtepi32_ps(_mm512_load_si512(sums.add((half * TOKENS + t) * 16).cast::<__m512i>()))
            };
            for (t, acc) in acc.iter_mut().enumerate() {
                let dx = _mm512_set1_ps(*d.add(block * TOKENS + t));
                if S::HALVES {
                    for half in 0..2 {
                        *acc = _mm512_fmadd_ps(_mm512_mul_ps(scale(half), dx), sum(half, t), *acc);
                    }
                    continue;
                }
                // Integers below 2^24, so that the products of floats are exact.
                let isum = match S::SCALES {
                    0 => sum(0, t),
                    1 => _mm512_mul_ps(sum(0, t), integer(0)),
                    _ => _mm512_fmadd_ps(sum(1, t), integer(1), _mm512_mul_ps(sum(0, t), integer(0))),
                };
                *acc = _mm512_fmadd_ps(_mm512_mul_ps(scale(0), dx), isum, *acc);
            }
        }
    }
}

/// `accm[t] = fma(m, dx[t] xsum[t], accm[t])` over `count` blocks, for all minima of each.
///
/// # Safety
/// The CPU has the features; there are as many parts, and the tiles have as many blocks from number `at` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add_minima<S: Steps>(
    parts: &[Line],
    count: usize,
    x: &Tiles<'_>,
    at: usize,
    accm: &mut [__m512; TOKENS],
) {
    let parts = parts.as_ptr().cast::<Part>();
    for block in 0..count {
        let at = at + block * TOKENS;
        // SAFETY: lines are aligned; the caller's promise.
        unsafe {
            for half in 0..S::MINIMA {
                let minimum = _mm512_load_ps((&raw const (*parts.add(block)).minima[half]).cast());
                for (t, accm) in accm.iter_mut().enumerate() {
                    let sum = if S::MINIMA == 1 {
                        *x.sums.get_unchecked(at + t)
                    } else {
                        *x.d.get_unchecked(at + t) * f32::from(x.halves.get_unchecked(at + t)[half])
                    };
                    *accm = _mm512_fmadd_ps(minimum, _mm512_set1_ps(sum), *accm);
                }
            }
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests;
