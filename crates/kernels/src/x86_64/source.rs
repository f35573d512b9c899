//! Where rows of weights lie, and how memory is asked for before they are read.
//!
//! In: a matrix in either layout. Out: the same word of 8 or 16 rows, a row to a lane: brought together from rows that lie
//! one after another ([`Blocks`]), or as they stand in a group ([`Interleaved`]). What the words mean is
//! [`super::formats`]' business.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::formats::four;
use super::matmul::Lanes;
use crate::layout::{self, GROUP};
use crate::scratch::Line;
use crate::{Format, Matrix};
use core::arch::asm;
use core::ops::Range;

/// How far past the rows in use memory is fetched. It is fetched into the second cache: more such requests can wait
/// for memory than the first cache has places for, so that they alone keep memory busy.
pub const AHEAD: usize = 8192;

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
    /// The byte at `at` of each row.
    unsafe fn byte(&self, at: usize) -> L::I;
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
    unsafe fn byte(&self, at: usize) -> L::I {
        // SAFETY: the caller's promise.
        unsafe { L::bytes(self, at) }
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
    unsafe fn byte(&self, at: usize) -> L::I {
        // SAFETY: the caller's promise.
        unsafe { L::load_bytes(self.base.add(GROUP * at + self.first)) }
    }

    #[inline(always)]
    fn advance(&mut self, bytes: usize) {
        self.base = self.base.wrapping_add(GROUP * bytes);
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

/// Brings the line at `to` to this core, to be written.
#[inline(always)]
pub fn own<T>(to: *const T) {
    // SAFETY: a hint, which faults at no address and which CPUs that do not know it pass over.
    unsafe { asm!("prefetchw [{0}]", in(reg) to, options(readonly, nostack, preserves_flags)) };
}

/// Asks for `bytes` of memory from `from` on.
///
/// The compiler takes it for something that may write anywhere, and so moves no load past it: it would gather a block's
/// requests at one place, where there are more of them than can wait, and the rest is dropped.
#[inline(always)]
pub fn fetch(from: *const u8, bytes: usize) {
    for at in (0..bytes).step_by(Line::BYTES) {
        let line = from.wrapping_add(at);
        // SAFETY: a hint, which may name any address.
        unsafe { asm!("prefetcht1 [{0}]", in(reg) line, options(nostack, preserves_flags)) };
    }
}
