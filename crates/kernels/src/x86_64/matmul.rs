//! Rows of a quantized matrix times int8 activations: the walk over rows, tokens and blocks that all levels share.
//!
//! Rows sit in lanes: a vector holds the same thing of 8 or 16 rows. One token: each 32 weights are unpacked in
//! registers and used at once, so that memory bounds the speed. Several: rows are unpacked to scratch, where
//! tiles of tokens meet them. What an instruction set adds is [`Lanes`]; what a format adds is [`Weights`].
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::formats::{eight, four};
use crate::activations::Quantized;
use crate::layout::{self, GROUP, Layout};
use crate::scratch::Line;
use crate::split::Tile;
use crate::{Format, Matrix};
use core::arch::asm;
use core::marker::PhantomData;
use core::ops::Range;

/// How far past the rows in use memory is fetched. It is fetched into the second cache: more such requests can wait
/// for memory than the first cache has places for, so that they alone keep memory busy.
const AHEAD: usize = 8192;

/// Where kernels read the blocks of the same number in `ROWS` rows.
///
/// # Safety
/// Of every function: as for [`Lanes`], and the blocks have what is read.
pub trait Source<L: Lanes<ROWS>, const ROWS: usize>: Copy {
    /// Whether a dword costs no more than a load, so that nothing is gained by keeping it.
    const IN_PLACE: bool;

    /// Where here the field stands that begins at byte `at` of a block as ggml lays it.
    fn place(format: Format, at: usize) -> usize;
    /// The 16 bytes at `at` of each row: lane r of vector j is dword j of row r.
    unsafe fn dwords(&self, at: usize) -> [L::I; 4];
    /// The dword at `at` of each row.
    unsafe fn dword(&self, at: usize) -> L::I;
    /// The half-precision number at `at` of each row.
    unsafe fn half(&self, at: usize) -> L::F;
    /// The next blocks, which are `bytes` long; past the last ones it may only be moved.
    fn advance(&mut self, bytes: usize);
}

/// Rows that lie one after another.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<const ROWS: usize> {
    /// The block of the first row.
    pub base: *const u8,
    /// The distance to the next row's.
    pub stride: usize,
}

impl<const ROWS: usize> Blocks<ROWS> {
    /// Byte `at` of row `r`.
    ///
    /// # Safety
    /// `r < ROWS`, and blocks have such a byte.
    #[inline(always)]
    pub unsafe fn row(&self, r: usize, at: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe { self.base.add(r * self.stride).add(at) }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Source<L, ROWS> for Blocks<ROWS> {
    const IN_PLACE: bool = false;

    #[inline(always)]
    fn place(_: Format, at: usize) -> usize {
        at
    }

    #[inline(always)]
    unsafe fn dwords(&self, at: usize) -> [L::I; 4] {
        // SAFETY: the caller's promise.
        unsafe { L::dwords(self, at) }
    }

    #[inline(always)]
    unsafe fn dword(&self, at: usize) -> L::I {
        // SAFETY: the caller's promise.
        unsafe { L::dword(self, at) }
    }

    #[inline(always)]
    unsafe fn half(&self, at: usize) -> L::F {
        // SAFETY: the caller's promise.
        unsafe { L::half(self, at) }
    }

    #[inline(always)]
    #[expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "the empty block reads nothing through the pointer"
    )]
    fn advance(&mut self, bytes: usize) {
        self.base = self.base.wrapping_add(bytes);
        // Hides from the compiler that the pointer runs in even steps. Otherwise it keeps a running pointer for each
        // row, more than there are registers, instead of a few strides.
        // SAFETY: no instruction.
        unsafe {
            asm!("/* {0} */", inout(reg) self.base, options(pure, nomem, nostack, preserves_flags));
        }
    }
}

/// Some rows of a group of [`Layout::Rows16`].
#[derive(Clone, Copy, Debug)]
pub struct Interleaved {
    /// The block of the group.
    base: *const u8,
    /// The first of the rows.
    first: usize,
}

impl Interleaved {
    /// The rows from `first` of a group on, at the blocks that begin with `bytes`.
    pub const fn new(bytes: &[u8], first: usize) -> Self {
        Self { base: bytes.as_ptr(), first }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Source<L, ROWS> for Interleaved {
    const IN_PLACE: bool = true;

    #[inline(always)]
    fn place(format: Format, at: usize) -> usize {
        layout::place(format, at)
    }

    #[inline(always)]
    unsafe fn dwords(&self, at: usize) -> [L::I; 4] {
        // SAFETY: the caller's promise.
        unsafe { four!(J => Source::<L, ROWS>::dword(self, at + 4 * J)) }
    }

    #[inline(always)]
    unsafe fn dword(&self, at: usize) -> L::I {
        // SAFETY: the caller's promise.
        unsafe { L::load_dwords(self.base.add(GROUP * at + 4 * self.first)) }
    }

    #[inline(always)]
    unsafe fn half(&self, at: usize) -> L::F {
        // SAFETY: the caller's promise.
        unsafe { L::load_halves(self.base.add(GROUP * at + 2 * self.first)) }
    }

    #[inline(always)]
    fn advance(&mut self, bytes: usize) {
        self.base = self.base.wrapping_add(GROUP * bytes);
    }
}

/// Where 32 activations of a token are.
#[derive(Clone, Copy, Debug)]
pub struct X {
    /// The integers.
    pub q: *const i8,
    /// The sums of both halves.
    pub sums: [i32; 2],
}

/// 32 weights of each row.
#[derive(Clone, Copy, Debug)]
pub struct Part<I, F> {
    /// Lane r of vector j: the weights 4j..4j+4 of row r.
    pub w: [I; 8],
    /// The integer scale of each half, as [`Lanes::scale`] makes it; unused where the format has none.
    pub scales: [I; 2],
    /// The scales.
    pub d: F,
    /// The minima; unused where the format has none.
    pub minimum: F,
}

/// What the walk asks of an instruction set with `ROWS` lanes of 32 bits.
///
/// # Safety
/// Of every function: the CPU has the level's features, and pointers are valid for what is read there.
pub trait Lanes<const ROWS: usize> {
    /// Tokens that meet unpacked weights at the same time: 4 or 8.
    const TOKENS: usize;
    /// How much too high [`weights8`](Self::weights8) makes int8 weights.
    const SURPLUS8: u8;
    /// A vector of integers.
    type I: Copy;
    /// A vector of f32.
    type F: Copy;

    /// The 16 bytes at `at` of each row: lane r of vector j is dword j of row r.
    unsafe fn dwords(blocks: &Blocks<ROWS>, at: usize) -> [Self::I; 4];
    /// The dword at `at` of each row.
    unsafe fn dword(blocks: &Blocks<ROWS>, at: usize) -> Self::I;
    /// The half-precision number at `at` of each row.
    unsafe fn half(blocks: &Blocks<ROWS>, at: usize) -> Self::F;
    /// A dword of each row, side by side.
    unsafe fn load_dwords(from: *const u8) -> Self::I;
    /// A half-precision number of each row, side by side.
    unsafe fn load_halves(from: *const u8) -> Self::F;
    /// The half-precision numbers in the lower and the upper half of each lane.
    unsafe fn split_halves(dwords: Self::I) -> [Self::F; 2];

    /// `v >> shift & mask` in each byte, where `mask` leaves no bit of a neighbour.
    unsafe fn bits(v: Self::I, shift: i32, mask: u8) -> Self::I;
    /// `low | high << 4` in each byte, where nothing is shifted out.
    unsafe fn join(low: Self::I, high: Self::I) -> Self::I;
    /// Byte `i` of each lane, unsigned.
    unsafe fn byte(v: Self::I, i: usize) -> Self::I;
    /// Byte `i` of each lane, signed.
    unsafe fn signed_byte(v: Self::I, i: usize) -> Self::I;

    /// Int8 weights as [`dot8`](Self::dot8) wants them.
    unsafe fn weights8(w: Self::I) -> Self::I;
    /// Integer scales of at most 8 bits as the dot products want them.
    unsafe fn scale(scale: Self::I) -> Self::I;
    /// Σ w·x over int8.
    unsafe fn dot8<const T: usize>(w: &[Self::I; 8], x: &[X; T]) -> [Self::I; T];
    /// Σ (w - `bias`)·x over unsigned int4.
    unsafe fn dot4<const T: usize>(w: &[Self::I; 8], bias: i32, x: &[X; T]) -> [Self::I; T];
    /// scale · Σ w·x over unsigned int4.
    unsafe fn scaled_dot4<const T: usize>(w: &[Self::I; 8], scale: Self::I, x: &[X; T]) -> [Self::I; T];
    /// Σ scale · Σ (w - 32)·x over both halves of unsigned int6.
    unsafe fn scaled_dot6<const T: usize>(
        w: &[Self::I; 8],
        scales: &[Self::I; 2],
        x: &[X; T],
    ) -> [Self::I; T];

    /// Zeros.
    unsafe fn zero() -> Self::F;
    /// `-(a * b)`, the second from integers.
    unsafe fn negative_product(a: Self::F, b: Self::I) -> Self::F;
    /// `fma(d * dx, isum as f32, acc)`.
    unsafe fn add_scaled(d: Self::F, dx: f32, isum: Self::I, acc: Self::F) -> Self::F;
    /// `fma(m, x, acc)`.
    unsafe fn fma(m: Self::F, x: f32, acc: Self::F) -> Self::F;
    /// `a + b`.
    unsafe fn sum(a: Self::F, b: Self::F) -> [f32; ROWS];
}

/// A quantized format, for an instruction set.
///
/// # Safety
/// Of every function: as for [`Lanes`], and each row's block is valid for reading `BYTES`.
pub trait Weights<const ROWS: usize> {
    /// The instruction set.
    type Lanes: Lanes<ROWS>;
    /// The bytes of a block.
    const BYTES: usize;
    /// Spans of 32 weights in a block.
    const PARTS: usize;
    /// How many successive parts share bytes of weights: these are loaded once for all of them. Divides `PARTS`.
    const TOGETHER: usize;
    /// Whether blocks have a minimum.
    const MINIMUM: bool;
    /// The integer scales of 32 weights: none, one, or one of each half.
    const SCALES: usize;
    /// How much too high the weights of a part are.
    const SURPLUS: u8;
    /// What the parts of a block share.
    type Head;

    /// What the parts of a block share.
    unsafe fn head<S: Source<Self::Lanes, ROWS>>(blocks: &S) -> Self::Head;
    /// Part number `part`, which is below `PARTS`.
    unsafe fn part<S: Source<Self::Lanes, ROWS>>(
        blocks: &S,
        head: &Self::Head,
        part: usize,
    ) -> PartOf<Self, ROWS>;
    /// `isum` of the contract, a vector for each token.
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [Integers<Self, ROWS>; T];
}

type Integers<W, const ROWS: usize> = <<W as Weights<ROWS>>::Lanes as Lanes<ROWS>>::I;
type Floats<W, const ROWS: usize> = <<W as Weights<ROWS>>::Lanes as Lanes<ROWS>>::F;
/// 32 weights of each row of a format.
pub type PartOf<W, const ROWS: usize> = Part<Integers<W, ROWS>, Floats<W, ROWS>>;

/// Rows of a quantized matrix times int8 activations: for each token and row `acc + accm`.
///
/// # Safety
/// The CPU has the features of `W::Lanes`; `N` times `ROWS` is [`GROUP`].
#[inline(always)]
pub unsafe fn quantized_rows<W: Weights<ROWS>, const ROWS: usize, const N: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    let cols = matrix.cols();
    let values = out.tokens() * cols;
    assert!(x.q.len() == values && x.d.len() == values / 32 && x.sums.len() == values / 16, "every token");
    assert!(matrix.row_bytes() == cols / 32 / W::PARTS * W::BYTES, "rows of this format");
    let first = rows.start;
    let end = matrix.bytes().as_ptr().wrapping_add(rows.end * matrix.row_bytes());
    let mut product = Product { x, cols, out, scratch };
    let mut start = rows.start;
    while start < rows.end {
        // SAFETY: the blocks are the first of whole rows; the activations were checked above.
        let done = unsafe {
            match matrix.layout() {
                Layout::Rows => {
                    let (blocks, lanes) = side_by_side::<ROWS>(matrix, start..rows.end);
                    // Rows are used in stripes; what comes after them is fetched in one stream.
                    let ahead = blocks.base.wrapping_add(ROWS * matrix.row_bytes() + AHEAD);
                    product.rows::<W, _, ROWS, 1>([blocks], ahead..end, lanes.clone(), start - first);
                    lanes.len()
                }
                Layout::Rows16 => {
                    let group = matrix.group(start / GROUP);
                    let lanes = start % GROUP..GROUP.min(start % GROUP + rows.end - start);
                    let sources = core::array::from_fn(|n| Interleaved::new(group, n * ROWS));
                    let ahead = group.as_ptr().wrapping_add(AHEAD);
                    product.rows::<W, _, ROWS, N>(sources, ahead..end, lanes.clone(), start - first);
                    lanes.len()
                }
            }
        };
        start += done;
    }
}

/// As many of the first of `rows` as there are lanes: their first blocks, and the lanes of those that were asked for.
///
/// It may reach back to rows before them, whose results are then dropped; a matrix of fewer rows than lanes goes
/// row by row, each in all lanes.
#[inline(always)]
pub fn side_by_side<const ROWS: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
) -> (Blocks<ROWS>, Range<usize>) {
    let (first, stride, lanes) = match matrix.rows().checked_sub(ROWS) {
        Some(last) => {
            let first = rows.start.min(last);
            (first, matrix.row_bytes(), rows.start - first..ROWS.min(rows.end - first))
        }
        None => (rows.start, 0, 0..1),
    };
    (Blocks { base: matrix.row(first).as_ptr(), stride }, lanes)
}

/// What all rows of a product share.
struct Product<'p, 'a> {
    x: &'p Quantized<'p>,
    cols: usize,
    out: Tile<'a>,
    scratch: &'p mut [Line],
}

impl Product<'_, '_> {
    /// `N` times `ROWS` rows times every token. Of the results, `lanes` go to the outputs from `at` on.
    ///
    /// # Safety
    /// The CPU has the features of `W::Lanes`; `sources` stand at the first blocks of whole rows.
    #[inline(always)]
    unsafe fn rows<W: Weights<ROWS>, S: Source<W::Lanes, ROWS>, const ROWS: usize, const N: usize>(
        &mut self,
        sources: [S; N],
        ahead: Range<*const u8>,
        lanes: Range<usize>,
        at: usize,
    ) {
        let (x, cols, tokens) = (self.x, self.cols, self.out.tokens());
        if tokens == 1 {
            // SAFETY: the caller's promise.
            let sums = unsafe { stream::<W, S, ROWS, N>(sources, ahead, x, cols) };
            self.out.token(0)[at..at + lanes.len()].copy_from_slice(&sums.as_flattened()[lanes]);
            return;
        }
        for (n, source) in sources.into_iter().enumerate() {
            let mine = lanes.start.max(n * ROWS)..lanes.end.min((n + 1) * ROWS);
            if mine.is_empty() {
                continue;
            }
            let at = at + mine.start - lanes.start;
            let at = at..at + mine.len();
            let mine = mine.start - n * ROWS..mine.end - n * ROWS;
            // SAFETY: as above.
            let parts = unsafe { unpack::<W, S, ROWS>(source, cols, self.scratch) };
            let mut store = |token: usize, sums: &[[f32; ROWS]]| {
                for (t, sums) in sums.iter().enumerate() {
                    self.out.token(token + t)[at.clone()].copy_from_slice(&sums[mine.clone()]);
                }
            };
            let mut token = 0;
            while token < tokens {
                let left = tokens - token;
                // SAFETY: as above; no tile reaches past the last token.
                unsafe {
                    if left >= 8 && W::Lanes::TOKENS >= 8 {
                        store(token, &tile_of::<W, 8, ROWS>(parts, x, token, cols));
                        token += 8;
                    } else if left >= 4 {
                        store(token, &tile_of::<W, 4, ROWS>(parts, x, token, cols));
                        token += 4;
                    } else if left >= 2 {
                        store(token, &tile_of::<W, 2, ROWS>(parts, x, token, cols));
                        token += 2;
                    } else {
                        store(token, &tile_of::<W, 1, ROWS>(parts, x, token, cols));
                        token += 1;
                    }
                }
            }
        }
    }
}

/// Both accumulators of each row, for each of `T` tokens.
struct Sums<W: Weights<ROWS>, const T: usize, const ROWS: usize> {
    acc: [Floats<W, ROWS>; T],
    accm: [Floats<W, ROWS>; T],
    format: PhantomData<W>,
}

impl<W: Weights<ROWS>, const T: usize, const ROWS: usize> Copy for Sums<W, T, ROWS> {}
impl<W: Weights<ROWS>, const T: usize, const ROWS: usize> Clone for Sums<W, T, ROWS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Weights<ROWS>, const T: usize, const ROWS: usize> Sums<W, T, ROWS> {
    /// # Safety
    /// The CPU has the features of `W::Lanes`.
    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the caller's promise.
        let zero = unsafe { W::Lanes::zero() };
        Self { acc: [zero; T], accm: [zero; T], format: PhantomData }
    }

    /// Adds block `b` of 32.
    ///
    /// # Safety
    /// As for `new`, and `x` has block `b` of the `T` tokens from `token` on.
    #[inline(always)]
    unsafe fn add(&mut self, part: &PartOf<W, ROWS>, x: &Quantized<'_>, token: usize, cols: usize, b: usize) {
        let at: [usize; T] = core::array::from_fn(|t| (token + t) * (cols / 32) + b);
        // SAFETY: the caller's promise.
        unsafe {
            let blocks = at.map(|at| X {
                q: x.q.as_ptr().add(at * 32),
                sums: [2 * at, 2 * at + 1].map(|at| i32::from(*x.sums.get_unchecked(at))),
            });
            let isums = W::isums(part, &blocks);
            for t in 0..T {
                let dx = *x.d.get_unchecked(at[t]);
                self.acc[t] = W::Lanes::add_scaled(part.d, dx, isums[t], self.acc[t]);
                if W::MINIMUM {
                    let xsum = blocks[t].sums[0] + blocks[t].sums[1];
                    self.accm[t] = W::Lanes::fma(part.minimum, dx * xsum as f32, self.accm[t]);
                }
            }
        }
    }

    /// # Safety
    /// As for `new`.
    #[inline(always)]
    unsafe fn finish(&self) -> [[f32; ROWS]; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[0.0; ROWS]; T];
            for t in 0..T {
                sums[t] = W::Lanes::sum(self.acc[t], self.accm[t]);
            }
            sums
        }
    }
}

/// Rows times the only token.
///
/// # Safety
/// The CPU has the features of `W::Lanes`; `sources` stand at the first blocks of rows of `cols` weights, and `x` has
/// as many.
#[inline(always)]
unsafe fn stream<W: Weights<ROWS>, S: Source<W::Lanes, ROWS>, const ROWS: usize, const N: usize>(
    mut sources: [S; N],
    mut ahead: Range<*const u8>,
    x: &Quantized<'_>,
    cols: usize,
) -> [[f32; ROWS]; N] {
    // SAFETY: the caller's promise; `sources` stand at the 32 weights number `first`.
    unsafe {
        let mut sums = [Sums::<W, 1, ROWS>::new(); N];
        for first in (0..cols / 32).step_by(W::PARTS) {
            for n in 0..N {
                let head = W::head(&sources[n]);
                // Once for each part, so that shifts and places are constants.
                eight!(PART => if PART < W::PARTS {
                    if PART.is_multiple_of(W::TOGETHER) {
                        let bytes = ROWS * W::BYTES / W::PARTS * W::TOGETHER;
                        // Beyond the last row another worker goes on, and would fetch it once more.
                        if ahead.start < ahead.end {
                            fetch(ahead.start, bytes);
                            ahead.start = ahead.start.wrapping_add(bytes);
                        }
                    }
                    sums[n].add(&W::part(&sources[n], &head, PART), x, 0, cols, first + PART);
                });
                sources[n].advance(W::BYTES);
            }
        }
        let mut results = [[0.0; ROWS]; N];
        for n in 0..N {
            [results[n]] = sums[n].finish();
        }
        results
    }
}

/// Asks for `bytes` of memory from `from` on.
///
/// The compiler takes it for something that may write anywhere, and so moves no load past it: it would gather a block's
/// requests at one place, where there are more of them than can wait, and the rest is dropped.
#[inline(always)]
fn fetch(from: *const u8, bytes: usize) {
    for at in (0..bytes).step_by(Line::BYTES) {
        let line = from.wrapping_add(at);
        // SAFETY: a hint, which may name any address.
        unsafe { asm!("prefetcht1 [{0}]", in(reg) line, options(nostack, preserves_flags)) };
    }
}

/// Rows, unpacked to scratch.
///
/// # Safety
/// The CPU has the features of `W::Lanes`; `blocks` stand at the first of rows of `cols` weights.
#[inline(always)]
unsafe fn unpack<W: Weights<ROWS>, S: Source<W::Lanes, ROWS>, const ROWS: usize>(
    mut blocks: S,
    cols: usize,
    scratch: &mut [Line],
) -> &[PartOf<W, ROWS>] {
    let count = cols / 32;
    assert!(
        size_of_val(scratch) >= count * size_of::<PartOf<W, ROWS>>() && align_of::<PartOf<W, ROWS>>() <= 64,
        "scratch for unpacked rows"
    );
    let parts = scratch.as_mut_ptr().cast::<PartOf<W, ROWS>>();
    for first in (0..count).step_by(W::PARTS) {
        // SAFETY: `blocks` stand at the 32 weights number `first`; there is room for `count` parts.
        unsafe {
            let head = W::head(&blocks);
            eight!(PART => if PART < W::PARTS {
                parts.add(first + PART).write(W::part(&blocks, &head, PART));
            });
        }
        blocks.advance(W::BYTES);
    }
    // SAFETY: all of them were written, inside `scratch`, which stays borrowed.
    unsafe { core::slice::from_raw_parts(parts, count) }
}

/// Unpacked rows times the `T` tokens from `token` on.
///
/// # Safety
/// The CPU has the features of `W::Lanes`; `x` has these tokens, of `cols = 32 * parts.len()` activations.
#[inline(always)]
unsafe fn tile_of<W: Weights<ROWS>, const T: usize, const ROWS: usize>(
    parts: &[PartOf<W, ROWS>],
    x: &Quantized<'_>,
    token: usize,
    cols: usize,
) -> [[f32; ROWS]; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = Sums::<W, T, ROWS>::new();
        for (b, part) in parts.iter().enumerate() {
            sums.add(part, x, token, cols, b);
        }
        sums.finish()
    }
}
