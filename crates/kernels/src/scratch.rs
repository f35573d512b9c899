//! Memory that each worker uses for itself while a kernel runs: unpacked panels, dequantized rows, scores.

use crate::split::{Chunks, Split};
use bytemuck::{Pod, Zeroable};

/// A cache line, the unit of scratch memory: what is carved from it is aligned for every kernel.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Line([u8; 64]);

impl Line {
    /// A line of zeros.
    pub const ZERO: Self = Self([0; 64]);
    /// The bytes of a line.
    pub const BYTES: usize = 64;
}

/// Rows of weights that a kernel unpacks at a time.
pub const PANEL_ROWS: usize = 16;

/// The lines of a panel of [`PANEL_ROWS`] rows of so many blocks of 32: for each weight an int8, and for each block two scales,
/// two integer scales and two minima of 4 bytes, of at least 8 blocks.
pub const fn lines_of_a_panel(blocks: usize) -> usize {
    let blocks = if blocks < 8 { 8 } else { blocks };
    (PANEL_ROWS * blocks * (32 + 6 * 4)).div_ceil(Line::BYTES)
}

/// How many lines of scratch memory the kernels need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScratchSize {
    /// The lines that all workers share.
    shared: usize,
    /// The lines that each has for itself.
    share: usize,
}

impl ScratchSize {
    /// For matrices of up to `cols` columns and up to `tokens` tokens at a time.
    ///
    /// A dequantized row takes 4 bytes a weight. What a matrix engine takes, and what a level makes ready of activations, is
    /// said in their modules. The workers share the activations in the order that panels read.
    pub const fn new(cols: usize, tokens: usize) -> Self {
        const fn larger(a: usize, b: usize) -> usize {
            if a > b { a } else { b }
        }
        let rows = (4 * 4 * cols).div_ceil(Line::BYTES);
        let share = larger(lines_of_a_panel(cols.div_ceil(32)), rows) + 4;
        #[cfg(target_arch = "x86_64")]
        let share =
            larger(larger(share, crate::x86_64::lines(cols)), crate::x86_64::float_tiles::lines(cols));
        #[cfg(target_arch = "x86_64")]
        if tokens >= crate::x86_64::amx::LEAST_TOKENS {
            let engine = crate::x86_64::amx::lines(tokens);
            return Self { shared: crate::tiles::lines(tokens, cols), share: larger(share, engine) };
        }
        #[cfg(target_arch = "aarch64")]
        return Self { shared: crate::aarch64::fours::lines(tokens, cols), share };
        #[cfg(not(target_arch = "aarch64"))]
        {
            let _ = tokens;
            Self { shared: 0, share }
        }
    }

    /// The same with at least so many lines for each worker, as [`attention`](crate::attention::scratch_lines) takes.
    #[must_use]
    pub const fn at_least(self, lines: usize) -> Self {
        if self.share < lines { Self { share: lines, ..self } } else { self }
    }

    /// The lines for so many workers, if their number fits.
    pub const fn lines(self, workers: usize) -> Option<usize> {
        match self.share.checked_mul(workers) {
            Some(shares) => shares.checked_add(self.shared),
            None => None,
        }
    }
}

/// Scratch memory: a part that all workers share, and an equal share for each.
#[derive(Debug)]
pub struct Scratch<'a> {
    lines: &'a mut [Line],
    size: ScratchSize,
}

impl<'a> Scratch<'a> {
    /// Shares `lines` out.
    ///
    /// # Panics
    /// If `lines` is less than one worker needs.
    pub fn new(lines: &'a mut [Line], size: ScratchSize) -> Self {
        assert!(size.lines(1).is_some_and(|least| lines.len() >= least), "scratch for at least one worker");
        Self { lines, size }
    }

    /// The shares, to be claimed one by each worker.
    pub fn split(&mut self) -> Split<Chunks<'_, Line>> {
        self.parts().1
    }

    /// The part that all share, and the shares.
    pub fn parts(&mut self) -> (&mut [Line], Split<Chunks<'_, Line>>) {
        let (shared, lines) = self.lines.split_at_mut(self.size.shared);
        let whole = lines.len() / self.size.share * self.size.share;
        (shared, Split::new(Chunks::new(&mut lines[..whole], self.size.share)))
    }
}

/// The first `len` values of type `T` in `lines`, and what is left.
///
/// # Panics
/// If the lines do not hold as many.
pub fn carve<T: Pod>(lines: &mut [Line], len: usize) -> (&mut [T], &mut [Line]) {
    let bytes = len * size_of::<T>();
    let (first, rest) = lines.split_at_mut(bytes.div_ceil(Line::BYTES));
    let first: &mut [u8] = bytemuck::cast_slice_mut(first);
    (bytemuck::cast_slice_mut(&mut first[..bytes]), rest)
}
