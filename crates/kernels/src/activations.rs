//! Activations as the matrices meet them: f32, and beside it int8 in blocks of 32.
//!
//! A buffer holds the rows of several tokens, one after another. The int8 form serves every quantized weight
//! format; float weights, and everything in the f32 activation mode, meet the f32 form.

use crate::split::Chunks;

/// The number of activations that share a scale.
pub const BLOCK: usize = 32;
/// The number of activations that share a sum: the smallest span over which a weight format has a minimum.
pub const HALF: usize = 16;

/// Rows of int8 activations: `x ≈ q * d` in each block of 32.
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a> {
    /// tokens x cols, each in -127..=127.
    pub q: &'a [i8],
    /// tokens x cols / 32: the scale of each block.
    pub d: &'a [f32],
    /// tokens x cols / 16: the sum of each half block of `q`.
    pub sums: &'a [i16],
}

impl Quantized<'_> {
    /// The row of one token of `cols` activations.
    ///
    /// # Panics
    /// If there is no such token.
    #[must_use]
    pub fn token(&self, token: usize, cols: usize) -> Self {
        fn row<T>(all: &[T], token: usize, len: usize) -> &[T] {
            &all[token * len..(token + 1) * len]
        }
        Self {
            q: row(self.q, token, cols),
            d: row(self.d, token, cols / BLOCK),
            sums: row(self.sums, token, cols / HALF),
        }
    }
}

/// Where quantized rows are written: the same three buffers, of which each part is a token's.
#[derive(Debug)]
pub struct QuantizedMut<'a> {
    /// tokens x cols.
    pub q: &'a mut [i8],
    /// tokens x cols / 32.
    pub d: &'a mut [f32],
    /// tokens x cols / 16.
    pub sums: &'a mut [i16],
}

impl QuantizedMut<'_> {
    /// The same buffers, to read.
    pub const fn as_ref(&self) -> Quantized<'_> {
        Quantized { q: self.q, d: self.d, sums: self.sums }
    }

    /// The first `tokens` rows of `cols` activations.
    ///
    /// # Panics
    /// If the buffers are smaller.
    pub fn first(&mut self, tokens: usize, cols: usize) -> QuantizedMut<'_> {
        QuantizedMut {
            q: &mut self.q[..tokens * cols],
            d: &mut self.d[..tokens * cols / BLOCK],
            sums: &mut self.sums[..tokens * cols / HALF],
        }
    }

    /// The rows as parts to share out among workers: one part per token of `cols` activations.
    pub fn tokens(&mut self, cols: usize) -> (Chunks<'_, i8>, Chunks<'_, f32>, Chunks<'_, i16>) {
        (Chunks::new(self.q, cols), Chunks::new(self.d, cols / BLOCK), Chunks::new(self.sums, cols / HALF))
    }
}

/// The activations that enter a matrix: `tokens` rows of `cols`.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    /// The length of a row.
    pub cols: usize,
    /// tokens x cols.
    pub f32: &'a [f32],
    /// The same rows in int8, unless activations stay in f32.
    pub quantized: Option<Quantized<'a>>,
}

impl Activations<'_> {
    /// The number of rows.
    pub const fn tokens(&self) -> usize {
        self.f32.len() / self.cols
    }
}
