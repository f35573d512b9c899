//! Attention of query heads over a KV head, in chunks of positions.
//!
//! In: queries of one or several tokens, and the [`Cache`]s of the KV head that they share. Out: for each query a
//! [`Partial`]: the weighted sum of the values with its softmax's maximum and sum, of which [`finish`] makes the
//! weighted mean. Chunks of [`CHUNK`] absolute positions are computed alone and merged in ascending order, by whoever
//! and whenever, so that the result does not depend on how positions were batched or shared out. Source: Vaswani et
//! al. 2017 (arXiv:1706.03762); merging of partial softmaxes: Milakov and Gimelshein 2018 (arXiv:1805.02867).

use crate::activations::{BLOCK, HALF};
use crate::elementwise::NotFinite;
use crate::kv::{Cache, GROUP};
use crate::{Level, Line};
use core::ops::Range;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) mod steps;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) mod walk;

/// The number of positions that are computed together.
pub const CHUNK: usize = 256;

/// One KV head as query heads see it. Its values may be longer or shorter than its keys.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The keys.
    pub keys: Cache<'a>,
    /// The values.
    pub values: Cache<'a>,
    /// What q·k is multiplied by, usually `1/sqrt(head_dim)` of the keys.
    pub scale: f32,
    /// Below which scores are kept by `cap tanh(score / cap)`; 0 for not at all.
    pub cap: f32,
}

/// The queries of consecutive tokens that share a KV head.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// tokens x heads x `head_dim` of the keys.
    pub rows: &'a [f32],
    /// The query heads of a token.
    pub heads: usize,
    /// The position of the first token.
    pub position: usize,
    /// How many positions a token attends to at most up to its own, which is the last of them.
    pub window: usize,
    /// How many positions behind its own it attends to at most, as far as there are some; 0 for causal attention.
    pub ahead: usize,
    /// How many positions there are; of no account for causal attention.
    pub end: usize,
    /// ALiBi: for each query head what a position's score loses with each step away; empty for nothing.
    pub slopes: &'a [f32],
}

impl Queries<'_> {
    /// The positions that query `row` attends to.
    pub fn positions(&self, row: usize) -> Range<usize> {
        let next = self.position + row / self.heads + 1;
        next.saturating_sub(self.window)..next.saturating_add(self.ahead).min(self.end.max(next))
    }

    /// The slope of query `row`'s head, and the row's position.
    pub(crate) fn slope(&self, row: usize) -> (f32, usize) {
        let slope = self.slopes.get(row % self.heads).copied().unwrap_or(0.0);
        (slope, self.position + row / self.heads)
    }
}

/// What happens to scaled scores of consecutive positions, the first of which is `first`, before the softmax: the soft
/// cap, then ALiBi (Press et al. 2021, arXiv:2108.12409). The same at every level.
pub(crate) fn bend(
    level: Level,
    scores: &mut [f32],
    cap: f32,
    (slope, position): (f32, usize),
    first: usize,
) {
    if cap != 0.0 {
        crate::elementwise::soft_cap(level, scores, cap);
    }
    if slope != 0.0 {
        for (i, score) in scores.iter_mut().enumerate() {
            *score -= slope * position.abs_diff(first + i) as f32;
        }
    }
}

/// What attention has of each query so far: `out / sum` is the mean of the values, weighted by `exp(score - max)`.
#[derive(Debug)]
pub struct Partial<'a> {
    /// The largest score of each query.
    pub max: &'a mut [f32],
    /// The sum of the weights.
    pub sum: &'a mut [f32],
    /// queries x `head_dim` of the values: their weighted sums.
    pub out: &'a mut [f32],
}

impl<'a> Partial<'a> {
    /// The length of the buffer for `rows` queries of values of `head_dim`.
    pub const fn floats(rows: usize, head_dim: usize) -> usize {
        rows * (head_dim + 2)
    }

    /// The partial result of `rows` queries in a buffer of [`Partial::floats`].
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub fn new(buffer: &'a mut [f32], rows: usize) -> Self {
        let (max, rest) = buffer.split_at_mut(rows);
        let (sum, out) = rest.split_at_mut(rows);
        Self { max, sum, out }
    }

    /// The results of some of the queries.
    ///
    /// # Panics
    /// If there are no such queries.
    pub fn part(&mut self, rows: Range<usize>) -> Partial<'_> {
        let head_dim = self.out.len() / self.rows().max(1);
        Partial {
            max: &mut self.max[rows.clone()],
            sum: &mut self.sum[rows.clone()],
            out: &mut self.out[rows.start * head_dim..rows.end * head_dim],
        }
    }

    /// The number of queries.
    pub const fn rows(&self) -> usize {
        self.max.len()
    }
}

/// The scratch lines that [`attend`] takes for `rows` queries and a head's keys and values of so many numbers: scores and
/// sums of [`TILE`] queries, and all queries in int8.
pub const fn scratch_lines(rows: usize, keys: usize, values: usize) -> usize {
    let scores = 4 * TILE * (CHUNK + values);
    let quantized = rows * (keys + keys / BLOCK * 4 + keys / HALF * 2);
    (scores + quantized).div_ceil(Line::BYTES) + 8
}

/// The queries that meet a key or value at the same time.
pub const TILE: usize = 4;

/// The attention of `queries` over those of their positions that lie in `chunks` (numbers of chunks, from 0). A row
/// without such a position is left as it is. Reports queries that are not finite, where they have to be quantized.
///
/// # Panics
/// If the shapes contradict each other, a query attends to positions that the cache does not have, or `scratch` is
/// smaller than [`scratch_lines`] says.
pub fn attend(
    level: Level,
    head: &Head<'_>,
    queries: &Queries<'_>,
    chunks: Range<usize>,
    partial: &mut Partial<'_>,
    scratch: &mut [Line],
) -> Result<(), NotFinite> {
    let rows = partial.rows();
    assert!(queries.heads > 0 && queries.window > 0, "at least one head and position");
    assert!(queries.rows.len() == rows * head.keys.head_dim(), "whole heads");
    let outputs = rows * head.values.head_dim();
    assert!(partial.sum.len() == rows && partial.out.len() == outputs, "a result for each query");
    let reach = queries.positions(rows.saturating_sub(1)).end;
    let room = head.keys.positions().min(head.values.positions());
    assert!(reach <= room && CHUNK.is_multiple_of(GROUP), "keys and values of every position");
    crate::dispatch!(level, attend(head, queries, chunks, partial, scratch))
}

/// Adds the partial result of later positions to `partial`.
///
/// # Panics
/// If the shapes differ.
pub fn merge(level: Level, partial: &mut Partial<'_>, later: &Partial<'_>) {
    assert!(partial.rows() == later.rows() && partial.out.len() == later.out.len(), "the same queries");
    let head_dim = partial.out.len() / partial.rows().max(1);
    for row in 0..partial.rows() {
        let softmax = (&mut partial.max[row], &mut partial.sum[row]);
        let out = row * head_dim..(row + 1) * head_dim;
        let weights = weights(softmax, later.max[row], later.sum[row]);
        crate::dispatch!(level, merge(&mut partial.out[out.clone()], &later.out[out], weights));
    }
}

/// Takes a later part's maximum and sum into a softmax, and gives what the outputs of both are multiplied by.
pub(crate) fn weights((max, sum): (&mut f32, &mut f32), later_max: f32, later_sum: f32) -> [f32; 2] {
    let merged = max.max(later_max);
    let (a, b) = (crate::math::exp(*max - merged), crate::math::exp(later_max - merged));
    (*max, *sum) = (merged, crate::math::fma(*sum, a, later_sum * b));
    [a, b]
}

/// Writes the weighted means to `out`: queries x `head_dim` of the values.
///
/// `sinks` are scores of positions without a value, one for each query, which take their share of the weights (Xiao et
/// al. 2023, arXiv:2309.17453, as gpt-oss learns them); empty for none.
///
/// # Panics
/// If the lengths differ.
pub fn finish(partial: &Partial<'_>, sinks: &[f32], out: &mut [f32]) {
    assert_eq!(partial.out.len(), out.len(), "an output for each");
    let head_dim = out.len() / partial.rows().max(1);
    assert!(sinks.is_empty() || sinks.len() == partial.rows(), "a sink for each query");
    let rows = partial.out.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
    for (row, ((from, out), sum)) in rows.zip(partial.sum.iter()).enumerate() {
        let Some(sink) = sinks.get(row) else {
            out.iter_mut().zip(from).for_each(|(out, from)| *out = from / sum);
            continue;
        };
        let mut max = partial.max[row];
        let mut sum = *sum;
        let [a, _] = weights((&mut max, &mut sum), *sink, 1.0);
        out.iter_mut().zip(from).for_each(|(out, from)| *out = from * a / sum);
    }
}
