//! What a level and a format bring to the product of a quantized matrix and int8 activations, and the product with one token.
//!
//! Rows sit in lanes: a vector holds the same thing of 8 or 16 rows. What an instruction set adds is [`Lanes`]; what a format
//! adds is [`Weights`]. Here each 32 weights are unpacked in registers and used at once, so that memory bounds the speed, of
//! formats that are [`Streamed`]; all others, and several tokens, are [`unpacked`](super::unpacked)'s.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::formats::{eight, four};
use super::kinds::Kind;
use super::source::{AHEAD, Blocks, Interleaved, Source, fetch, side_by_side};
use super::unpacked::At;
use crate::activations::Quantized;
use crate::layout::{GROUP, Layout};
use crate::scratch::Line;
use crate::split::Tile;
use crate::{Format, Matrix};
use core::arch::asm;
use core::marker::PhantomData;
use core::ops::Range;

/// Where 32 activations of a token are.
#[derive(Clone, Copy, Debug)]
pub struct X {
    /// The integers.
    pub q: *const i8,
    /// The sums of both halves.
    pub sums: *const [i16; 2],
}

impl X {
    /// The 32 activations that have number `b` of all.
    ///
    /// # Safety
    /// There are as many.
    #[inline(always)]
    pub unsafe fn new(x: &Quantized<'_>, b: usize) -> Self {
        // SAFETY: the caller's promise; a pair of sums needs no other alignment than a sum.
        unsafe { Self { q: x.q.as_ptr().add(b * 32), sums: x.sums.as_ptr().cast::<[i16; 2]>().add(b) } }
    }

    /// The sums of both halves.
    ///
    /// # Safety
    /// The pointer is valid.
    #[inline(always)]
    pub unsafe fn sums(&self) -> [i32; 2] {
        // SAFETY: the caller's promise.
        unsafe { (*self.sums).map(i32::from) }
    }

    /// The sum of all.
    ///
    /// # Safety
    /// The pointer is valid.
    #[inline(always)]
    pub unsafe fn sum(&self) -> i32 {
        // SAFETY: the caller's promise.
        let [low, high] = unsafe { self.sums() };
        low + high
    }
}

/// 32 weights of each row.
#[derive(Clone, Copy, Debug)]
pub struct Part<I, F> {
    /// Lane r of vector j: the weights 4j..4j+4 of row r.
    pub w: [I; 8],
    /// The integer scale of each half, as [`Lanes::scale`] makes it; unused where the format has none.
    pub scales: [I; 2],
    /// The scale of all, or of each half.
    pub d: [F; 2],
    /// The minimum of all, or of each half; unused where the format has none.
    pub minima: [F; 2],
}

/// What the walk asks of an instruction set with `ROWS` lanes of 32 bits.
///
/// # Safety
/// Of every function: the CPU has the level's features, and pointers are valid for what is read there.
pub trait Lanes<const ROWS: usize> {
    /// How much too high [`weights8`](Self::weights8) makes int8 weights.
    const SURPLUS8: u8;
    /// Whether products of weights are the faster the fewer bits these have.
    const GAINS_BY_SMALL: bool;
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
    /// A number of each row, side by side.
    unsafe fn load_floats(from: *const f32) -> Self::F;
    /// The byte at `at` of each row, unsigned.
    unsafe fn bytes(blocks: &Blocks<ROWS>, at: usize) -> Self::I;
    /// A byte of each row, side by side.
    unsafe fn load_bytes(from: *const u8) -> Self::I;
    /// The half-precision numbers in the lower and the upper half of each lane.
    unsafe fn split_halves(dwords: Self::I) -> [Self::F; 2];

    /// `v >> shift & mask` in each byte, where `mask` leaves no bit of a neighbour.
    unsafe fn bits(v: Self::I, shift: i32, mask: u8) -> Self::I;
    /// `low | high << 4` in each byte, where nothing is shifted out.
    unsafe fn join(low: Self::I, high: Self::I) -> Self::I;
    /// `low | high << shift` in each byte, likewise.
    unsafe fn merge(low: Self::I, high: Self::I, shift: i32) -> Self::I;
    /// `low` and, in byte i of each lane, `by` where bit `first + i` of the lane of `bits` is set.
    unsafe fn add_bits(low: Self::I, bits: Self::I, first: usize, by: u8) -> Self::I;
    /// Byte `i` of each lane as four numbers of 2 bits, a byte each.
    unsafe fn four_pairs(v: Self::I, i: usize) -> Self::I;
    /// For each byte, which is below 16, the number in the table.
    unsafe fn look_up(table: &[i8; 16], bytes: Self::I) -> Self::I;
    /// Bytes as `triple` and `over_triple` want them.
    unsafe fn digits(v: Self::I) -> Self::I;
    /// Three times each byte, its lower 8 bits.
    unsafe fn triple(v: Self::I) -> Self::I;
    /// Three times each byte, what is over its lower 8 bits.
    unsafe fn over_triple(v: Self::I) -> Self::I;
    /// Byte `i` of each lane, unsigned.
    unsafe fn byte(v: Self::I, i: usize) -> Self::I;
    /// Byte `i` of each lane, signed.
    unsafe fn signed_byte(v: Self::I, i: usize) -> Self::I;
    /// `(v >> shift & mask) + by` in each lane.
    unsafe fn field(v: Self::I, shift: i32, mask: i32, by: i32) -> Self::I;

    /// Int8 weights as [`dot8`](Self::dot8) wants them.
    unsafe fn weights8(w: Self::I) -> Self::I;
    /// Integer scales, of at most 8 bits, as the dot products want them.
    unsafe fn scale(scale: Self::I) -> Self::I;
    /// Byte `i` of each lane, unsigned, as such a scale.
    unsafe fn byte_scale(v: Self::I, i: usize) -> Self::I;
    /// Σ w·x over int8.
    unsafe fn dot8<const T: usize>(w: &[Self::I; 8], x: &[X; T]) -> [Self::I; T];
    /// Σ (w - `bias`)·x over unsigned int4.
    unsafe fn dot4<const T: usize>(w: &[Self::I; 8], bias: i32, x: &[X; T]) -> [Self::I; T];
    /// Σ (w - `bias`)·x over unsigned int5.
    unsafe fn dot5<const T: usize>(w: &[Self::I; 8], bias: i32, x: &[X; T]) -> [Self::I; T];
    /// scale · Σ w·x over unsigned int4.
    unsafe fn scaled_dot4<const T: usize>(w: &[Self::I; 8], scale: Self::I, x: &[X; T]) -> [Self::I; T];
    /// scale · Σ w·x over unsigned int5.
    unsafe fn scaled_dot5<const T: usize>(w: &[Self::I; 8], scale: Self::I, x: &[X; T]) -> [Self::I; T];
    /// Σ scale · Σ (w - 32)·x over both halves of unsigned int6.
    unsafe fn scaled_dot6<const T: usize>(
        w: &[Self::I; 8],
        scales: &[Self::I; 2],
        x: &[X; T],
    ) -> [Self::I; T];
    /// Σ scale · Σ (w - `bias`)·x over both halves of unsigned int5, where `bias` is a multiple of 4 and at most 64. Unless
    /// [`GAINS_BY_SMALL`](Self::GAINS_BY_SMALL), of any unsigned bytes and any such bias up to 128.
    unsafe fn biased_dot5<const T: usize>(
        w: &[Self::I; 8],
        bias: i32,
        scales: &[Self::I; 2],
        x: &[X; T],
    ) -> [Self::I; T];
    /// As `biased_dot5`, of unsigned int7.
    #[inline(always)]
    unsafe fn biased_dot7<const T: usize>(
        w: &[Self::I; 8],
        bias: i32,
        scales: &[Self::I; 2],
        x: &[X; T],
    ) -> [Self::I; T] {
        // SAFETY: the caller's promise.
        unsafe { Self::biased_dot5(w, bias, scales, x) }
    }
    /// Σ scale · Σ w·x over both halves of int8.
    unsafe fn scaled_dot8<const T: usize>(
        w: &[Self::I; 8],
        scales: &[Self::I; 2],
        x: &[X; T],
    ) -> [Self::I; T];
    /// Σ (w - `bias`)·x over each half of unsigned int5.
    unsafe fn half_dots5<const T: usize>(w: &[Self::I; 8], bias: i32, x: &[X; T]) -> [[Self::I; T]; 2];

    /// Unpacked rows times the eight tokens from `x.token` on, at a level with a tile of its own for so many: for each token
    /// and row `acc + accm`. `scratch` has [`LINES_OF_A_BLOCK`](super::avx512::eights::LINES_OF_A_BLOCK) for each part.
    #[inline(always)]
    unsafe fn eight(
        _: Kind,
        _: &[PartOfLanes<Self, ROWS>],
        _: &At<'_>,
        _: &mut [Line],
    ) -> Option<[[f32; ROWS]; 8]>
    where
        Self: Sized,
    {
        None
    }

    /// Integer zeros.
    unsafe fn zeros() -> Self::I;
    /// Zeros.
    unsafe fn zero() -> Self::F;
    /// `-(a * b)`, the second from integers.
    unsafe fn negative_product(a: Self::F, b: Self::I) -> Self::F;
    /// `-a`.
    unsafe fn negative(a: Self::F) -> Self::F;
    /// `a * b`, the second from integers.
    unsafe fn product(a: Self::F, b: Self::I) -> Self::F;
    /// Half of the E8M0 number in each lane, see [`crate::reference::blocks`].
    unsafe fn half_e8m0(e: Self::I) -> Self::F;
    /// Half of the E4M3 number in each lane, see [`crate::reference::blocks`].
    unsafe fn half_e4m3(bits: Self::I) -> Self::F;
    /// `fma(d * dx, isum as f32, acc)`.
    unsafe fn add_scaled(d: Self::F, dx: f32, isum: Self::I, acc: Self::F) -> Self::F;
    /// `fma(m, x, acc)`.
    unsafe fn fma(m: Self::F, x: f32, acc: Self::F) -> Self::F;
    /// `fma(m, dx * sum, acc)`, where `sum` is that of all activations.
    #[inline(always)]
    unsafe fn add_minimum(m: Self::F, dx: f32, x: &X, acc: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { Self::fma(m, dx * x.sum() as f32, acc) }
    }
    /// `fma(m, dx * sum, acc)` for the minimum and the sum of the first half, then for those of the second.
    #[inline(always)]
    unsafe fn add_minima(m: [Self::F; 2], dx: f32, x: &X, acc: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = x.sums();
            Self::fma(m[1], dx * high as f32, Self::fma(m[0], dx * low as f32, acc))
        }
    }
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
    /// Which format it is.
    const FORMAT: Format;
    /// The bytes of a block.
    const BYTES: usize = Self::FORMAT.block_bytes();
    /// Spans of 32 weights in a block.
    const PARTS: usize = Self::FORMAT.block_len() / 32;
    /// What the parts of a block share.
    type Head;

    /// What the parts of a block share.
    unsafe fn head<S: Source<Self::Lanes, ROWS>>(blocks: &S) -> Self::Head;
    /// Part number `part`, which is below `PARTS`; parts are asked for in order. As its [`Kind`] says what it wants.
    unsafe fn part<S: Source<Self::Lanes, ROWS>>(
        blocks: &S,
        head: &mut Self::Head,
        part: usize,
    ) -> PartOf<Self, ROWS>;
}

/// A format whose blocks meet a token as soon as they are unpacked, in registers: a loop of its own, unrolled for the
/// parts of a block.
///
/// # Safety
/// As for [`Weights`].
pub trait Streamed<const ROWS: usize>: Weights<ROWS> {
    /// The minima of 32 weights.
    const MINIMA: usize;
    /// How many parts of a block are unrolled. Fewer than all make a loop whose code is small.
    const UNROLLED: usize = Self::PARTS;
    /// How many successive parts share bytes of weights: these are loaded once for all of them. Divides `UNROLLED`.
    const TOGETHER: usize = if Self::UNROLLED < Self::PARTS { Self::UNROLLED } else { 1 };

    /// `isum` of the contract, a vector for each token.
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [Integers<Self, ROWS>; T];
}

type Integers<W, const ROWS: usize> = <<W as Weights<ROWS>>::Lanes as Lanes<ROWS>>::I;
type Floats<W, const ROWS: usize> = <<W as Weights<ROWS>>::Lanes as Lanes<ROWS>>::F;
/// 32 weights of each row of a format.
pub type PartOf<W, const ROWS: usize> = PartOfLanes<<W as Weights<ROWS>>::Lanes, ROWS>;
/// 32 weights of each row in vectors of an instruction set.
pub type PartOfLanes<L, const ROWS: usize> = Part<<L as Lanes<ROWS>>::I, <L as Lanes<ROWS>>::F>;

/// Rows of a quantized matrix times int8 activations, of a format that is streamed: for each token and row
/// `acc + accm`.
///
/// # Safety
/// The CPU has the features of `W::Lanes`; `N` times `ROWS` is [`GROUP`].
#[inline(always)]
pub unsafe fn streamed_rows<W: Streamed<ROWS>, const ROWS: usize, const N: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    mut out: Tile<'_>,
) {
    let cols = matrix.cols();
    check(matrix, &out, x);
    assert!(
        out.tokens() == 1 && matrix.row_bytes() == cols / 32 / W::PARTS * W::BYTES,
        "rows of this format"
    );
    let first = rows.start;
    let end = matrix.bytes().as_ptr().wrapping_add(rows.end * matrix.row_bytes());
    let mut start = rows.start;
    while start < rows.end {
        // SAFETY: the blocks are the first of whole rows; the activations were checked above.
        let lanes = unsafe {
            match matrix.layout() {
                Layout::Rows => {
                    let (blocks, lanes) = side_by_side::<ROWS>(matrix, start..rows.end);
                    // Rows are used in stripes; what comes after them is fetched in one stream.
                    let ahead = blocks.base.wrapping_add(ROWS * matrix.row_bytes() + AHEAD);
                    let sums = stream::<W, _, ROWS, 1>([blocks], ahead..end, x, cols);
                    store(&mut out, 0, start - first, sums.as_flattened(), &lanes);
                    lanes
                }
                Layout::Rows16 => {
                    let (group, lanes) = group_of(matrix, start..rows.end);
                    let sources = core::array::from_fn(|n| Interleaved::new(group, n * ROWS));
                    let ahead = group.as_ptr().wrapping_add(AHEAD);
                    let sums = stream::<W, _, ROWS, N>(sources, ahead..end, x, cols);
                    store(&mut out, 0, start - first, sums.as_flattened(), &lanes);
                    lanes
                }
            }
        };
        start += lanes.len();
    }
}

/// Every token has as many activations as the matrix columns.
pub fn check(matrix: &Matrix<'_>, out: &Tile<'_>, x: &Quantized<'_>) {
    let values = out.tokens() * matrix.cols();
    assert!(x.q.len() == values && x.d.len() == values / 32 && x.sums.len() == values / 16, "every token");
}

/// The group of 16 in which the first of `rows` is, and the lanes of those that were asked for.
#[inline]
pub fn group_of<'a>(matrix: &Matrix<'a>, rows: Range<usize>) -> (&'a [u8], Range<usize>) {
    let first = rows.start % GROUP;
    (matrix.group(rows.start / GROUP), first..GROUP.min(first + rows.len()))
}

/// Of the results of a token, those of `lanes` go to its outputs from `at` on.
#[inline]
pub fn store(out: &mut Tile<'_>, token: usize, at: usize, sums: &[f32], lanes: &Range<usize>) {
    out.token(token)[at..at + lanes.len()].copy_from_slice(&sums[lanes.clone()]);
}

/// Both accumulators of each row, for each of `T` tokens.
struct Sums<W: Streamed<ROWS>, const T: usize, const ROWS: usize> {
    acc: [Floats<W, ROWS>; T],
    accm: [Floats<W, ROWS>; T],
    format: PhantomData<W>,
}

impl<W: Streamed<ROWS>, const T: usize, const ROWS: usize> Copy for Sums<W, T, ROWS> {}
impl<W: Streamed<ROWS>, const T: usize, const ROWS: usize> Clone for Sums<W, T, ROWS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Streamed<ROWS>, const T: usize, const ROWS: usize> Sums<W, T, ROWS> {
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
            let blocks = at.map(|at| X::new(x, at));
            let isums = W::isums(part, &blocks);
            for t in 0..T {
                let dx = *x.d.get_unchecked(at[t]);
                self.acc[t] = W::Lanes::add_scaled(part.d[0], dx, isums[t], self.acc[t]);
                if W::MINIMA == 1 {
                    self.accm[t] = W::Lanes::add_minimum(part.minima[0], dx, &blocks[t], self.accm[t]);
                }
                if W::MINIMA == 2 {
                    self.accm[t] = W::Lanes::add_minima(part.minima, dx, &blocks[t], self.accm[t]);
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
unsafe fn stream<W: Streamed<ROWS>, S: Source<W::Lanes, ROWS>, const ROWS: usize, const N: usize>(
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
                let mut head = W::head(&sources[n]);
                for group in (0..W::PARTS).step_by(W::UNROLLED) {
                    let group =
                        if W::UNROLLED < W::PARTS { hidden(group / W::UNROLLED) * W::UNROLLED } else { 0 };
                    // Once for each part, so that shifts and places are constants.
                    eight!(PART => if PART < W::UNROLLED {
                        if PART.is_multiple_of(W::TOGETHER) {
                            let bytes = ROWS * W::BYTES / W::PARTS * W::TOGETHER;
                            // Beyond the last row another worker goes on: its lines are asked for again and again
                            // instead, which costs nothing. (A branch here would let the compiler put off all
                            // arithmetic until after the last.)
                            fetch(ahead.start.min(ahead.end), bytes);
                            ahead.start = ahead.start.wrapping_add(bytes);
                        }
                        let part = group + PART;
                        sums[n].add(&W::part(&sources[n], &mut head, part), x, 0, cols, first + part);
                    });
                }
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

/// A number that the compiler does not know, so that it neither unrolls a loop over it nor calculates with several in a
/// vector, of which it would have to take them out again.
#[inline(always)]
pub fn hidden(mut number: usize) -> usize {
    // SAFETY: no instruction.
    unsafe {
        asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}
