//! Matrices times activations, shared out among workers: the place where nearly all time goes.
//!
//! In: a stack of matrices that read the same activations (q, k and v; gate and up), and rows of activations.
//! Out: for each token, the outputs of all matrices one after another. A row of weights belongs to one worker; what
//! it computes does not depend on how rows and tokens were shared out.

use crate::activations::{Activations, Quantized};
use crate::layout::{self, GROUP, Layout};
use crate::split::{Columns, Split, Tile};
use crate::{Format, Level, Scratch, Workers};
#[cfg(target_arch = "aarch64")]
use crate::{
    LevelName,
    aarch64::{self, fours::Fours},
};
#[cfg(target_arch = "x86_64")]
use crate::{LevelName, tiles, x86_64::amx};
use core::ops::Range;

/// A weight matrix in place: `rows` outputs of `cols` inputs.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    format: Format,
    layout: Layout,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// A matrix over `bytes`, if they are exactly `rows` rows of whole blocks, one after another.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        Self::with_layout(format, Layout::Rows, rows, cols, bytes)
    }

    /// A matrix over `bytes`, if they are exactly `rows` rows of whole blocks in this layout.
    pub fn with_layout(
        format: Format,
        layout: Layout,
        rows: usize,
        cols: usize,
        bytes: &'a [u8],
    ) -> Option<Self> {
        let row_bytes = format.row_bytes(cols)?;
        let fits = cols > 0 && bytes.len() == row_bytes.checked_mul(rows)?;
        let suits = layout.takes(format) && rows.is_multiple_of(layout.group());
        (fits && suits).then_some(Self { format, layout, rows, cols, row_bytes, bytes })
    }

    /// How the weights are stored.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// How the rows lie.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The number of outputs.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The number of inputs.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// The bytes of one row.
    pub const fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The bytes of all rows.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of row `row` of a matrix whose rows lie one after another.
    ///
    /// # Panics
    /// If there is no such row, or it does not lie in one piece.
    pub fn row(&self, row: usize) -> &'a [u8] {
        assert!(self.layout == Layout::Rows, "rows in one piece");
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }

    /// The bytes of these rows of a matrix whose rows lie one after another.
    ///
    /// # Panics
    /// If there are no such rows, or they do not lie in one piece.
    pub fn successive_rows(&self, rows: Range<usize>) -> &'a [u8] {
        assert!(self.layout == Layout::Rows, "rows in one piece");
        &self.bytes[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }

    /// The bytes of the 16 rows from `16 group` on, of a matrix of [`Layout::Rows16`].
    ///
    /// # Panics
    /// If there is no such group, or rows lie otherwise.
    pub fn group(&self, group: usize) -> &'a [u8] {
        assert!(self.layout == Layout::Rows16, "rows in groups of 16");
        let bytes = GROUP * self.row_bytes;
        &self.bytes[group * bytes..][..bytes]
    }

    /// Reads row `row` of a matrix of any layout: hands `each` some of its columns and their bytes as ggml stores them.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn read_row(&self, row: usize, mut each: impl FnMut(Range<usize>, &[u8])) {
        match self.layout {
            Layout::Rows => each(0..self.cols, self.row(row)),
            Layout::Rows16 => {
                let (len, bytes) = (self.format.block_len(), self.format.block_bytes());
                let mut block = [0; layout::MOST_BLOCK_BYTES];
                let block = &mut block[..bytes];
                for (i, group) in self.group(row / GROUP).chunks_exact(GROUP * bytes).enumerate() {
                    layout::gather(self.format, group, row % GROUP, block);
                    each(i * len..(i + 1) * len, block);
                }
            }
        }
    }
}

/// Row ranges that workers claim are multiples of this: of the height of the tallest register tile, and high enough that
/// what a range begins with is fetched in time for most of it.
const ROWS: usize = 32;

/// `out[t] = stack * x[t]`: for each token the outputs of all matrices of `stack`, one after another.
///
/// `out` is tokens x (sum of the matrices' rows). Quantized matrices meet `x.quantized` where it is given.
///
/// # Panics
/// If the shapes contradict each other or `scratch` is smaller than
/// [`ScratchSize::lines`](crate::ScratchSize::lines) says.
pub fn matmul(
    level: Level,
    workers: &dyn Workers,
    stack: &[Matrix<'_>],
    x: &Activations<'_>,
    out: &mut [f32],
    scratch: &mut Scratch<'_>,
) {
    let rows: usize = stack.iter().map(Matrix::rows).sum();
    let tokens = x.tokens();
    assert!(stack.iter().all(|matrix| matrix.cols == x.cols), "matrices of {} columns", x.cols);
    assert_eq!(x.f32.len(), tokens * x.cols, "whole rows of activations");
    assert_eq!(out.len(), tokens * rows, "an output for each row and token");
    if out.is_empty() {
        return;
    }
    // One worker alone has nobody to end together with.
    let split = Split::new(match workers.count() {
        1 => Columns::new(out, rows, rows),
        count => Columns::shrinking(out, rows, count, ROWS),
    });
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(unused_variables, reason = "activations are read as they are")
    )]
    let (shared, scratch) = scratch.parts();
    #[cfg(target_arch = "x86_64")]
    let tiles = x
        .quantized
        .filter(|_| level.name() == LevelName::Amx && tokens >= amx::LEAST_TOKENS)
        .filter(|_| stack.iter().any(|matrix| !matrix.format.is_float()))
        .map(|x_quantized| tiles::pack(&x_quantized, x.cols, workers, shared));
    #[cfg(target_arch = "aarch64")]
    let fours = x
        .quantized
        .filter(|_| stack.iter().any(|matrix| !matrix.format.is_float()))
        .and_then(|x_quantized| fours(level, x_quantized, x.cols, workers, shared));
    workers.run(&|| {
        let Some((_, lines)) = scratch.claim() else { return };
        while let Some((_, mut tile)) = split.claim() {
            let claimed = tile.columns();
            let mut first = 0;
            for matrix in stack {
                let from = claimed.start.max(first);
                let to = claimed.end.min(first + matrix.rows);
                if from < to {
                    let part = tile.columns_mut(from - claimed.start..to - claimed.start);
                    #[cfg(target_arch = "x86_64")]
                    if let (Some(tiles), false) = (&tiles, matrix.format.is_float()) {
                        // SAFETY: the level says that there is an engine, and that it may be used.
                        unsafe { amx::tiled_rows(matrix, from - first..to - first, tiles, part, lines) };
                        first += matrix.rows;
                        continue;
                    }
                    #[cfg(target_arch = "aarch64")]
                    if let (Some((x, fours)), false) = (&fours, matrix.format.is_float()) {
                        rows_of_fours(level, matrix, from - first..to - first, (x, fours), part, lines);
                        first += matrix.rows;
                        continue;
                    }
                    rows_of(level, matrix, from - first..to - first, x, part, lines);
                }
                first += matrix.rows;
            }
        }
    });
}

/// `x` and its whole fours, at levels that read it in fours.
#[cfg(target_arch = "aarch64")]
fn fours<'a, 'x>(
    level: Level,
    x: Quantized<'x>,
    cols: usize,
    workers: &dyn Workers,
    shared: &'a mut [crate::Line],
) -> Option<(Quantized<'x>, Fours<'a>)> {
    let fours = match level.name() {
        LevelName::Dotprod => aarch64::dotprod::fours(&x, cols, workers, shared),
        LevelName::I8mm => aarch64::i8mm::fours(&x, cols, workers, shared),
        _ => return None,
    };
    Some((x, fours))
}

/// Rows of a quantized matrix times activations of which [`fours`] made fours.
#[cfg(target_arch = "aarch64")]
fn rows_of_fours(
    level: Level,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: (&Quantized<'_>, &Fours<'_>),
    out: Tile<'_>,
    scratch: &mut [crate::Line],
) {
    check(matrix, &rows, x.0, &out);
    // SAFETY: such a `Level` exists only where the CPU has its features; the sizes were checked.
    unsafe {
        match level.name() {
            LevelName::Dotprod => aarch64::dotprod::rows_of_fours(matrix, rows, x, out, scratch),
            LevelName::I8mm => aarch64::i8mm::rows_of_fours(matrix, rows, x, out, scratch),
            _ => unreachable!("`fours` makes none at other levels"),
        }
    }
}

fn rows_of(
    level: Level,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Activations<'_>,
    out: Tile<'_>,
    scratch: &mut [crate::Line],
) {
    match x.quantized {
        Some(quantized) if !matrix.format.is_float() => {
            quantized_rows(level, matrix, rows, &quantized, out, scratch);
        }
        _ => crate::dispatch!(level, float_rows(matrix, rows, x.f32, out, scratch)),
    }
}

fn quantized_rows(
    level: Level,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    x: &Quantized<'_>,
    out: Tile<'_>,
    scratch: &mut [crate::Line],
) {
    check(matrix, &rows, x, &out);
    crate::dispatch!(level, quantized_rows(matrix, rows, x, out, scratch));
}

/// The SIMD kernels read activations through pointers: the sizes are checked here, once for all.
fn check(matrix: &Matrix<'_>, rows: &Range<usize>, x: &Quantized<'_>, out: &Tile<'_>) {
    let values = out.tokens() * matrix.cols;
    assert!(x.q.len() == values && x.d.len() == values / 32 && x.sums.len() == values / 16);
    assert!(rows.end <= matrix.rows && out.columns().len() == rows.len());
}
