//! Splitting an output among workers: the one place that hands out disjoint `&mut` parts of a buffer.
//!
//! A [`Split`] owns the split of one or several buffers into numbered parts and gives each part out at most once,
//! to whoever asks first. So slow cores take fewer parts than fast ones, soundness never rests on what a
//! [`Workers`](crate::Workers) implementation does, and the callers need no unsafe code.

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Buffers that fall into numbered parts which do not overlap.
///
/// # Safety
/// For different `index`, the parts must not overlap, and each must be valid for the lifetime that `Part` carries.
pub unsafe trait Parts: Sync {
    /// One part: typically a `&mut` slice.
    type Part;

    /// The number of parts.
    fn count(&self) -> usize;

    /// The part number `index`.
    ///
    /// # Safety
    /// `index < count()`, and each index is asked for at most once.
    unsafe fn part(&self, index: usize) -> Self::Part;
}

/// Hands out each part of some [`Parts`] at most once.
#[derive(Debug)]
pub struct Split<P> {
    parts: P,
    next: AtomicUsize,
}

impl<P: Parts> Split<P> {
    /// A split of which nothing is handed out yet.
    pub const fn new(parts: P) -> Self {
        Self { parts, next: AtomicUsize::new(0) }
    }

    /// The next part and its number, or nothing when all are taken.
    pub fn claim(&self) -> Option<(usize, P::Part)> {
        let count = self.parts.count();
        // Looking first keeps the counter from ever running on: it stays below count + the number of callers.
        if self.next.load(Ordering::Relaxed) >= count {
            return None;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= count {
            return None;
        }
        // SAFETY: `index` is below the count, and `fetch_add` returns each value once: the counter cannot wrap,
        // because it is only moved on while it is below `count`.
        Some((index, unsafe { self.parts.part(index) }))
    }
}

/// A slice in parts of equal length (the last may be shorter).
#[derive(Debug)]
pub struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    chunk: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Chunks` is used like the `&mut [T]` it was made from, in pieces that never overlap.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}
// SAFETY: as above; it owns the right to the slice.
unsafe impl<T: Send> Send for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    /// Splits `slice` into parts of `chunk` elements.
    ///
    /// # Panics
    /// If `chunk` is 0.
    pub const fn new(slice: &'a mut [T], chunk: usize) -> Self {
        assert!(chunk > 0, "a part holds at least one element");
        Self { start: slice.as_mut_ptr(), len: slice.len(), chunk, slice: PhantomData }
    }
}

// SAFETY: part i is the elements i*chunk .. (i+1)*chunk: disjoint, inside the slice, valid for 'a.
unsafe impl<'a, T: Send> Parts for Chunks<'a, T> {
    type Part = &'a mut [T];

    fn count(&self) -> usize {
        self.len.div_ceil(self.chunk)
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let from = index * self.chunk;
        let len = self.chunk.min(self.len - from);
        // SAFETY: the caller gives each index below the count once, so this range is inside and not yet handed out.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

/// The same stretch of several rows of equal length, in parts of equal length (the last of a stretch may be shorter):
/// row after row.
#[derive(Debug)]
pub struct Stretches<'a, T> {
    start: *mut T,
    rows: usize,
    row: usize,
    stretch: Range<usize>,
    chunk: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: as for `Chunks`.
unsafe impl<T: Send> Sync for Stretches<'_, T> {}
// SAFETY: as for `Chunks`.
unsafe impl<T: Send> Send for Stretches<'_, T> {}

impl<'a, T> Stretches<'a, T> {
    /// Splits the elements `stretch` of each row of `row` elements into parts of `chunk`.
    ///
    /// # Panics
    /// If `chunk` is 0, `slice` is no whole number of rows, or the stretch is empty or longer than a row.
    pub fn new(slice: &'a mut [T], row: usize, stretch: Range<usize>, chunk: usize) -> Self {
        assert!(
            chunk > 0 && row > 0 && slice.len().is_multiple_of(row),
            "whole rows in parts of some elements"
        );
        assert!(!stretch.is_empty() && stretch.end <= row, "a stretch inside a row");
        Self { start: slice.as_mut_ptr(), rows: slice.len() / row, row, stretch, chunk, slice: PhantomData }
    }

    fn parts_of_a_row(&self) -> usize {
        self.stretch.len().div_ceil(self.chunk)
    }
}

// SAFETY: rows are disjoint, and so are the chunks of a row's stretch: all inside the slice, valid for 'a.
unsafe impl<'a, T: Send> Parts for Stretches<'a, T> {
    type Part = &'a mut [T];

    fn count(&self) -> usize {
        self.rows * self.parts_of_a_row()
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let (row, part) = (index / self.parts_of_a_row(), index % self.parts_of_a_row());
        let from = self.stretch.start + part * self.chunk;
        let len = self.chunk.min(self.stretch.end - from);
        // SAFETY: the caller gives each index below the count once, so this range is inside and not yet handed out.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(row * self.row + from), len) }
    }
}

// SAFETY: no part of a buffer that is not there overlaps another.
unsafe impl<P: Parts> Parts for Option<P> {
    type Part = Option<P::Part>;

    fn count(&self) -> usize {
        self.as_ref().map_or(usize::MAX, Parts::count)
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: the caller's promise.
        self.as_ref().map(|parts| unsafe { parts.part(index) })
    }
}

macro_rules! parts_of_several {
    ($($name:ident $field:tt),+) => {
        // SAFETY: each buffer's parts are disjoint, so the tuples of them are.
        unsafe impl<$($name: Parts),+> Parts for ($($name,)+) {
            type Part = ($($name::Part,)+);

            fn count(&self) -> usize {
                usize::MAX $(.min(self.$field.count()))+
            }

            unsafe fn part(&self, index: usize) -> Self::Part {
                // SAFETY: the count is the smallest of all, so the index fits each; passed on once, as promised.
                ($(unsafe { self.$field.part(index) },)+)
            }
        }
    };
}
parts_of_several!(A 0, B 1);
parts_of_several!(A 0, B 1, C 2);
parts_of_several!(A 0, B 1, C 2, D 3);
parts_of_several!(A 0, B 1, C 2, D 3, E 4);

/// A row-major matrix of `tokens` x `width` outputs, split by columns: each part is a range of columns of every
/// token. This is how the rows of a weight matrix (which are the columns of its output) are shared out.
#[derive(Debug)]
pub struct Columns<'a> {
    start: *mut f32,
    tokens: usize,
    width: usize,
    widths: Widths,
    count: usize,
    slice: PhantomData<&'a mut [f32]>,
}

/// How wide the parts of [`Columns`] are.
#[derive(Clone, Copy, Debug)]
enum Widths {
    /// So wide; the last may be narrower.
    Even(usize),
    /// In rounds of a part for each worker, which take half of what is left, in whole units.
    Shrinking { workers: usize, unit: usize },
}

impl Widths {
    /// The columns of part `index` of `width` columns, which may lie past the end.
    fn part(self, index: usize, width: usize) -> Range<usize> {
        let (from, len) = match self {
            Self::Even(len) => (index * len, len),
            Self::Shrinking { workers, unit } => {
                let mut from = 0;
                let mut len = 0;
                for _ in 0..=index / workers {
                    from += workers * len;
                    len = (width.saturating_sub(from) / (2 * workers)).next_multiple_of(unit).max(unit);
                }
                (from + index % workers * len, len)
            }
        };
        from.min(width)..width.min(from + len)
    }

    /// How many parts there are.
    fn count(self, width: usize) -> usize {
        match self {
            Self::Even(len) => width.div_ceil(len),
            Self::Shrinking { .. } => {
                (0..width).take_while(|index| self.part(*index, width).start < width).count()
            }
        }
    }
}

// SAFETY: as for `Chunks`.
unsafe impl Sync for Columns<'_> {}
// SAFETY: as for `Chunks`.
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    /// Splits `out`, of `width` columns, into parts of `chunk` columns.
    ///
    /// # Panics
    /// If `chunk` or `width` is 0, or `out` is not a whole number of rows.
    pub fn new(out: &'a mut [f32], width: usize, chunk: usize) -> Self {
        assert!(
            chunk > 0 && width > 0 && out.len().is_multiple_of(width),
            "whole rows in parts of some columns"
        );
        Self::of(out, width, Widths::Even(chunk))
    }

    /// Splits `out`, of `width` columns, into parts that shrink, so that `workers` of any speed take few of them and yet
    /// end together. All but the last are multiples of `unit` columns.
    ///
    /// # Panics
    /// If `workers`, `unit` or `width` is 0, or `out` is not a whole number of rows.
    pub fn shrinking(out: &'a mut [f32], width: usize, workers: usize, unit: usize) -> Self {
        assert!(
            workers > 0 && unit > 0 && width > 0 && out.len().is_multiple_of(width),
            "whole rows in parts of some columns for some workers"
        );
        Self::of(out, width, Widths::Shrinking { workers, unit })
    }

    fn of(out: &'a mut [f32], width: usize, widths: Widths) -> Self {
        let (tokens, count) = (out.len() / width, widths.count(width));
        Self { start: out.as_mut_ptr(), tokens, width, widths, count, slice: PhantomData }
    }
}

// SAFETY: part i is a range of columns of every row, inside the matrix; it begins where part i - 1 ends; valid for 'a.
unsafe impl<'a> Parts for Columns<'a> {
    type Part = Tile<'a>;

    fn count(&self) -> usize {
        self.count
    }

    unsafe fn part(&self, index: usize) -> Tile<'a> {
        let columns = self.widths.part(index, self.width);
        Tile { start: self.start, tokens: self.tokens, stride: self.width, columns, slice: PhantomData }
    }
}

/// A row-major matrix of tokens x `width` outputs in tiles: some tokens' range of columns each.
#[derive(Debug)]
pub struct Tiles<'a> {
    columns: Columns<'a>,
    height: usize,
}

impl<'a> Tiles<'a> {
    /// Splits `out`, of `width` columns, into tiles of `height` tokens and `chunk` columns (the last may be smaller).
    ///
    /// # Panics
    /// If `height`, `chunk` or `width` is 0, or `out` is not a whole number of rows.
    pub fn new(out: &'a mut [f32], width: usize, height: usize, chunk: usize) -> Self {
        assert!(height > 0, "tiles of some tokens");
        Self { columns: Columns::new(out, width, chunk), height }
    }
}

// SAFETY: part i is the columns of one part of `Columns`, of one range of tokens: disjoint, inside, valid for 'a.
unsafe impl<'a> Parts for Tiles<'a> {
    type Part = Tile<'a>;

    fn count(&self) -> usize {
        self.columns.tokens.div_ceil(self.height) * self.columns.count()
    }

    unsafe fn part(&self, index: usize) -> Tile<'a> {
        let first = index / self.columns.count() * self.height;
        // SAFETY: an index of `Columns`, of whose part only some tokens are used: those alone belong to this tile.
        let mut tile = unsafe { self.columns.part(index % self.columns.count()) };
        tile.tokens = self.height.min(tile.tokens - first);
        // SAFETY: the first of the tile's tokens is one of the matrix's.
        tile.start = unsafe { tile.start.add(first * tile.stride) };
        tile
    }
}

/// Row-major matrices of the same shape that lie equally far from one another, split by columns alike: each part is the same
/// range of columns of all of them. This is how the states of several texts are shared out.
#[derive(Debug)]
pub struct Planes<'a> {
    /// Of the first matrix.
    columns: Columns<'a>,
    count: usize,
    distance: usize,
}

impl<'a> Planes<'a> {
    /// Of each `distance` numbers of `slice` takes the stretch `matrix`, of `width` columns, in parts of `chunk` columns.
    ///
    /// # Panics
    /// If `chunk` or `width` is 0, `slice` is no whole number of distances, or `matrix` is no whole number of rows inside one.
    pub fn new(
        slice: &'a mut [f32],
        distance: usize,
        matrix: Range<usize>,
        width: usize,
        chunk: usize,
    ) -> Self {
        assert!(
            distance > 0 && !slice.is_empty() && slice.len().is_multiple_of(distance),
            "matrices equally far from one another"
        );
        assert!(
            chunk > 0 && width > 0 && matrix.start <= matrix.end && matrix.len().is_multiple_of(width),
            "whole rows in parts of some columns"
        );
        assert!(matrix.end <= distance, "matrices that do not overlap");
        let count = slice.len() / distance;
        let widths = Widths::Even(chunk);
        let columns = Columns {
            // Of the whole slice, so that it reaches all matrices.
            start: slice.as_mut_ptr().wrapping_add(matrix.start),
            tokens: matrix.len() / width,
            width,
            widths,
            count: widths.count(width),
            slice: PhantomData,
        };
        Self { columns, count, distance }
    }
}

// SAFETY: part i is the columns of one part of `Columns`, of each matrix; the matrices do not overlap, and lie inside the
// slice, which is borrowed for 'a.
unsafe impl<'a> Parts for Planes<'a> {
    type Part = PlaneTiles<'a>;

    fn count(&self) -> usize {
        self.columns.count()
    }

    unsafe fn part(&self, index: usize) -> PlaneTiles<'a> {
        // SAFETY: the caller's promise.
        let first = unsafe { self.columns.part(index) };
        PlaneTiles { first, count: self.count, distance: self.distance }
    }
}

/// The same range of columns of several matrices, owned alone.
#[derive(Debug)]
pub struct PlaneTiles<'a> {
    first: Tile<'a>,
    count: usize,
    distance: usize,
}

impl PlaneTiles<'_> {
    /// The columns of one of the matrices.
    ///
    /// # Panics
    /// If there is no such matrix.
    pub fn plane(&mut self, plane: usize) -> Tile<'_> {
        assert!(plane < self.count, "there are {} matrices", self.count);
        Tile {
            // SAFETY: a matrix of the slice, in which these columns lie as in the first; `&mut self` keeps two from living
            // at once.
            start: unsafe { self.first.start.add(plane * self.distance) },
            tokens: self.first.tokens,
            stride: self.first.stride,
            columns: self.first.columns(),
            slice: PhantomData,
        }
    }
}

/// A range of columns of a row-major output, owned alone.
#[derive(Debug)]
pub struct Tile<'a> {
    start: *mut f32,
    tokens: usize,
    stride: usize,
    columns: Range<usize>,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is the only one that may touch its columns, like a `&mut [f32]`.
unsafe impl Send for Tile<'_> {}

impl Tile<'_> {
    /// The columns of the whole output that this tile covers.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// The number of tokens (rows of the output).
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// The tile's outputs of one token.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn token(&mut self, token: usize) -> &mut [f32] {
        assert!(token < self.tokens, "the tile has {} tokens", self.tokens);
        // SAFETY: the columns of this token lie inside the output and belong to this tile alone; `&mut self`
        // keeps two such slices from living at once.
        unsafe {
            let row = self.start.add(token * self.stride + self.columns.start);
            core::slice::from_raw_parts_mut(row, self.columns.len())
        }
    }

    /// The tile of a part of this tile's columns, given relative to its first.
    ///
    /// # Panics
    /// If `columns` does not lie inside the tile.
    pub fn columns_mut(&mut self, columns: Range<usize>) -> Tile<'_> {
        assert!(columns.start <= columns.end && columns.end <= self.columns.len(), "columns of this tile");
        let first = self.columns.start;
        Tile {
            start: self.start,
            tokens: self.tokens,
            stride: self.stride,
            columns: first + columns.start..first + columns.end,
            slice: PhantomData,
        }
    }
}
