//! Rows of a quantized matrix times int8 activations: the walk over rows, tokens and blocks that all levels share.
//!
//! Rows sit in lanes: a vector holds the same thing of 8 or 16 rows. One token: each 32 weights are unpacked in
//! registers and used at once, so that memory bounds the speed. Several: rows are unpacked to scratch, where
//! tiles of tokens meet them. What an instruction set adds is [`Lanes`]; what a format adds is [`Weights`].
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use crate::Matrix;
use crate::activations::Quantized;
use crate::scratch::Line;
use crate::split::Tile;
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::marker::PhantomData;
use core::ops::Range;

/// How far past the rows in use memory is fetched: its latency at the speed of one core.
const AHEAD: usize = 4096;

/// Blocks of the same number in `ROWS` rows.
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

    /// The next blocks, `bytes` on; past the last ones they may only be moved.
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
            core::arch::asm!("/* {0} */", inout(reg) self.base, options(pure, nomem, nostack, preserves_flags));
        }
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
    /// Whether blocks have a minimum.
    const MINIMUM: bool;
    /// What the parts of a block share.
    type Head;

    /// What the parts of a block share.
    unsafe fn head(blocks: &Blocks<ROWS>) -> Self::Head;
    /// Part number `part`, which is below `PARTS`.
    unsafe fn part(blocks: &Blocks<ROWS>, head: &Self::Head, part: usize) -> PartOf<Self, ROWS>;
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
/// The CPU has the features of `W::Lanes`.
#[inline(always)]
pub unsafe fn quantized_rows<W: Weights<ROWS>, const ROWS: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    mut out: Tile<'_>,
    scratch: &mut [Line],
) {
    let cols = matrix.cols();
    let tokens = out.tokens();
    let values = tokens * cols;
    assert!(x.q.len() == values && x.d.len() == values / 32 && x.sums.len() == values / 16, "every token");
    assert!(matrix.row_bytes() == cols / 32 / W::PARTS * W::BYTES, "rows of this format");
    let mut start = rows.start;
    while start < rows.end {
        let group = Group::<ROWS>::new(matrix, start..rows.end);
        let (blocks, lanes) = (group.blocks, group.lanes);
        let at = start - rows.start..start - rows.start + lanes.len();
        start += lanes.len();
        if tokens == 1 {
            // SAFETY: the blocks are the first of whole rows; the activations were checked above.
            let sums = unsafe { stream::<W, ROWS>(blocks, x, cols) };
            out.token(0)[at].copy_from_slice(&sums[lanes]);
            continue;
        }
        // SAFETY: as above.
        let parts = unsafe { unpack::<W, ROWS>(blocks, cols, scratch) };
        let mut store = |token: usize, sums: &[[f32; ROWS]]| {
            for (t, sums) in sums.iter().enumerate() {
                out.token(token + t)[at.clone()].copy_from_slice(&sums[lanes.clone()]);
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

/// Rows that are computed together.
struct Group<const ROWS: usize> {
    /// Their first blocks.
    blocks: Blocks<ROWS>,
    /// The lanes of the rows that were asked for.
    lanes: Range<usize>,
}

impl<const ROWS: usize> Group<ROWS> {
    /// As many of the first of `rows` as one group can be.
    ///
    /// It may reach back to rows before them, whose results are then dropped; a matrix of fewer rows than lanes goes
    /// row by row, each in all lanes.
    #[inline(always)]
    fn new(matrix: &Matrix<'_>, rows: Range<usize>) -> Self {
        let (first, stride, lanes) = match matrix.rows().checked_sub(ROWS) {
            Some(last) => {
                let first = rows.start.min(last);
                (first, matrix.row_bytes(), rows.start - first..ROWS.min(rows.end - first))
            }
            None => (rows.start, 0, 0..1),
        };
        Self { blocks: Blocks { base: matrix.row(first).as_ptr(), stride }, lanes }
    }
}

/// Both accumulators of each row, for each of `T` tokens.
struct Sums<W: Weights<ROWS>, const T: usize, const ROWS: usize> {
    acc: [Floats<W, ROWS>; T],
    accm: [Floats<W, ROWS>; T],
    format: PhantomData<W>,
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
        core::array::from_fn(|t| unsafe { W::Lanes::sum(self.acc[t], self.accm[t]) })
    }
}

/// Rows times the only token.
///
/// # Safety
/// The CPU has the features of `W::Lanes`; `blocks` are the first of rows of `cols` weights, and `x` has as many.
#[inline(always)]
unsafe fn stream<W: Weights<ROWS>, const ROWS: usize>(
    mut blocks: Blocks<ROWS>,
    x: &Quantized<'_>,
    cols: usize,
) -> [f32; ROWS] {
    // Rows lie side by side and are used in stripes; what comes after them is fetched in one stream.
    let mut ahead = blocks.base.wrapping_add(ROWS * (cols / 32 / W::PARTS) * W::BYTES + AHEAD);
    // SAFETY: the caller's promise; `blocks` stand at the 32 weights number `first`.
    unsafe {
        let mut sums = Sums::<W, 1, ROWS>::new();
        for first in (0..cols / 32).step_by(W::PARTS) {
            let head = W::head(&blocks);
            for part in 0..W::PARTS {
                // A prefetch is a hint: addresses past the end are ignored.
                for line in (0..ROWS * W::BYTES / W::PARTS).step_by(Line::BYTES) {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line).cast());
                }
                ahead = ahead.wrapping_add(ROWS * W::BYTES / W::PARTS);
                sums.add(&W::part(&blocks, &head, part), x, 0, cols, first + part);
            }
            blocks.advance(W::BYTES);
        }
        sums.finish()[0]
    }
}

/// Rows, unpacked to scratch.
///
/// # Safety
/// The CPU has the features of `W::Lanes`; `blocks` are the first of rows of `cols` weights.
#[inline(always)]
unsafe fn unpack<W: Weights<ROWS>, const ROWS: usize>(
    mut blocks: Blocks<ROWS>,
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
            for part in 0..W::PARTS {
                parts.add(first + part).write(W::part(&blocks, &head, part));
            }
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
