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

/// Scratch memory of several workers: an equal share for each.
#[derive(Debug)]
pub struct Scratch<'a> {
    lines: &'a mut [Line],
    share: usize,
}

/// Rows of weights that a kernel unpacks at a time.
pub const PANEL_ROWS: usize = 16;

impl<'a> Scratch<'a> {
    /// The lines that one worker needs for matrices of up to `cols` columns and heads of up to `head_dim`.
    ///
    /// A panel of [`PANEL_ROWS`] rows holds, for each weight, an int8, and for each block of 32 a scale, two integer
    /// sub-scales and two minima of 4 bytes; a dequantized row takes 4 bytes a weight. Attention takes the scores
    /// of a chunk and a head's values, for each of up to 16 query heads.
    pub const fn lines(cols: usize, head_dim: usize) -> usize {
        let panel = PANEL_ROWS * (cols + cols.div_ceil(32) * 5 * 4);
        let rows = 4 * 4 * cols;
        let attention = 16 * 4 * (crate::attention::CHUNK + head_dim);
        let most = if panel > rows { panel } else { rows };
        let most = if most > attention { most } else { attention };
        most.div_ceil(Line::BYTES) + 4
    }

    /// Shares `lines` out among workers, `share` lines each.
    ///
    /// # Panics
    /// If `lines` is less than one share.
    pub fn new(lines: &'a mut [Line], share: usize) -> Self {
        assert!(share > 0 && lines.len() >= share, "scratch for at least one worker");
        Self { lines, share }
    }

    /// The shares, to be claimed one by each worker.
    pub fn split(&mut self) -> Split<Chunks<'_, Line>> {
        let whole = self.lines.len() / self.share * self.share;
        Split::new(Chunks::new(&mut self.lines[..whole], self.share))
    }
}

/// The first `len` values of type `T` in `lines`, and what is left.
///
/// # Panics
/// If the lines do not hold as many.
pub fn carve<T: Pod>(lines: &mut [Line], len: usize) -> (&mut [T], &mut [Line]) {
    let (first, rest) = lines.split_at_mut((len * size_of::<T>()).div_ceil(Line::BYTES));
    (&mut bytemuck::cast_slice_mut(first)[..len], rest)
}
