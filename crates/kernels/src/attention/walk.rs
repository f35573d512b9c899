//! The walk over chunks, queries and positions that all levels but the reference share.
//!
//! [`TILE`] queries go together, of heads of a group and of consecutive tokens alike. So a key or value is read and
//! converted once for them all, and a chunk stays in the nearest cache while all tiles meet it. What an instruction
//! set adds is [`Steps`].

use super::{CHUNK, Head, Partial, Queries, TILE};
use crate::activations::{BLOCK, HALF, Quantized, QuantizedMut};
use crate::elementwise::{self, NotFinite};
use crate::kv::{Cache, GROUP};
use crate::scratch::{Line, carve};
use crate::{Level, LevelName};
use core::ops::Range;

/// The scores of a chunk's positions, each at its place in the chunk.
pub type Scores = [f32; CHUNK];

/// Some queries, at most [`TILE`], as keys want them.
#[derive(Clone, Copy, Debug)]
pub enum Tile<'a> {
    /// For keys in floats: queries x `head_dim`.
    Floats(&'a [f32]),
    /// For quantized keys: the rows of all queries one after another.
    Int8(Quantized<'a>),
}

/// What the walk asks of an instruction set. The number of queries is that of `scores`, 1 to [`TILE`].
///
/// # Safety
/// Of every function: the CPU has the level's features, and positions and groups lie inside the cache.
pub trait Steps {
    /// The level whose quantization is used.
    const LEVEL: LevelName;

    /// The scores of all positions of whole groups, written from place `at` of the chunk on.
    unsafe fn scores(
        keys: &Cache<'_>,
        groups: Range<usize>,
        queries: Tile<'_>,
        scale: f32,
        at: usize,
        scores: &mut [Scores],
    );

    /// Turns the scores of the places `attended` into `exp(score - max)`; gives their maximum and their sum.
    unsafe fn soften(scores: &mut Scores, attended: Range<usize>) -> [f32; 2];

    /// `out = Σ p v` for each query, by a chain of fma over `positions` in order: from 0, or from `out` to go on with
    /// it.
    unsafe fn mix(p: &[Scores], values: &Cache<'_>, positions: Range<usize>, go_on: bool, out: &mut [f32]);

    /// `out = fma(out, a, later * b)`.
    unsafe fn merge(out: &mut [f32], later: &[f32], weights: [f32; 2]);
}

/// See [`attend`](super::attend).
///
/// # Safety
/// The CPU has the features of `S`, and the cache holds every position of `queries`.
pub unsafe fn attend<S: Steps>(
    head: &Head<'_>,
    queries: &Queries<'_>,
    chunks: Range<usize>,
    partial: &mut Partial<'_>,
    scratch: &mut [Line],
) -> Result<(), NotFinite> {
    let (rows, head_dim, value_dim) = (partial.rows(), head.keys.head_dim(), head.values.head_dim());
    let (scores, scratch) = carve::<f32>(scratch, TILE * CHUNK);
    let (chunk_out, scratch) = carve::<f32>(scratch, TILE * value_dim);
    let scores = scores.as_chunks_mut::<CHUNK>().0;

    let quantized = if head.keys.format().is_quantized() { rows * head_dim } else { 0 };
    let (q, scratch) = carve::<i8>(scratch, quantized);
    let (d, scratch) = carve::<f32>(scratch, quantized / BLOCK);
    let (sums, _) = carve::<i16>(scratch, quantized / HALF);
    let mut int8 = QuantizedMut { q, d, sums };
    // SAFETY: the caller's promise.
    let level = unsafe { Level::assume(S::LEVEL) };
    if quantized > 0 {
        elementwise::quantize(level, queries.rows, &mut int8)?;
    }

    let bends = head.cap != 0.0 || !queries.slopes.is_empty();
    for chunk in chunks.clone() {
        let whole = chunk * CHUNK..(chunk + 1) * CHUNK;
        // Both ends grow from token to token, so that the rows that attend to this chunk are consecutive.
        let attending = |row: &usize| !overlap(&queries.positions(*row), &whole).is_empty();
        let Some(first) = (0..rows).find(attending) else { continue };
        let last = (first..rows).take_while(attending).last().unwrap_or(first);
        for first in (first..=last).step_by(TILE) {
            let tile = first..(last + 1).min(first + TILE);
            let scores = &mut scores[..tile.len()];
            let numbers = tile.start * head_dim..tile.end * head_dim;
            let queries_of_tile = if quantized > 0 {
                let all = int8.as_ref();
                Tile::Int8(Quantized {
                    q: &all.q[numbers.clone()],
                    d: &all.d[numbers.start / BLOCK..numbers.end / BLOCK],
                    sums: &all.sums[numbers.start / HALF..numbers.end / HALF],
                })
            } else {
                Tile::Floats(&queries.rows[numbers])
            };
            let attended = |row: usize| overlap(&queries.positions(row), &whole);
            let (earliest, latest) = (attended(tile.start).start, attended(tile.end - 1).end);
            let groups = earliest / GROUP..latest.div_ceil(GROUP);
            let at = groups.start * GROUP - whole.start;
            // SAFETY: the caller's promise; the groups hold positions that are attended to.
            unsafe { S::scores(&head.keys, groups, queries_of_tile, head.scale, at, scores) };

            // Rows that attend to this chunk first have their results written in place, others beside them.
            let mut results = [[0.0; 2]; TILE];
            for ((row, scores), result) in tile.clone().zip(scores.iter_mut()).zip(&mut results) {
                let places = attended(row).start - whole.start..attended(row).end - whole.start;
                if bends {
                    let first = attended(row).start;
                    super::bend(level, &mut scores[places.clone()], head.cap, queries.slope(row), first);
                }
                // SAFETY: the caller's promise; the places lie in the chunk.
                *result = unsafe { S::soften(scores, places) };
            }
            let chunk_out = &mut chunk_out[..tile.len() * value_dim];
            // SAFETY: the caller's promise.
            unsafe { mix::<S>(scores, &head.values, tile.clone().map(attended), chunk_out) };
            let outs = &mut partial.out[tile.start * value_dim..tile.end * value_dim];
            let outs = outs.chunks_exact_mut(value_dim).zip(chunk_out.chunks_exact(value_dim));
            for ((row, [max, sum]), (out, chunk_out)) in tile.zip(results).zip(outs) {
                let softmax = (&mut partial.max[row], &mut partial.sum[row]);
                if chunk == chunks.start || queries.positions(row).start >= whole.start {
                    (*softmax.0, *softmax.1) = (max, sum);
                    out.copy_from_slice(chunk_out);
                } else {
                    // SAFETY: the caller's promise.
                    unsafe { S::merge(out, chunk_out, super::weights(softmax, max, sum)) };
                }
            }
        }
    }
    Ok(())
}

/// The weighted sums of a tile whose queries attend to the given positions of one chunk: together where all do, and
/// each query alone where only some do.
///
/// # Safety
/// As for [`attend`].
unsafe fn mix<S: Steps>(
    p: &[Scores],
    values: &Cache<'_>,
    attended: impl Iterator<Item = Range<usize>> + Clone,
    out: &mut [f32],
) {
    let head_dim = values.head_dim();
    let start = attended.clone().map(|positions| positions.start).max().unwrap_or(0);
    let end = attended.clone().map(|positions| positions.end).min().unwrap_or(0);
    // Without a position in common each is on its own.
    let common = if start < end { start..end } else { 0..0 };
    let same = attended.clone().all(|positions| positions.start == common.start);
    if !same {
        for ((p, positions), out) in p.chunks(1).zip(attended.clone()).zip(out.chunks_exact_mut(head_dim)) {
            let before = if common.is_empty() { positions } else { positions.start..common.start };
            // SAFETY: the caller's promise.
            unsafe { S::mix(p, values, before, false, out) };
        }
    }
    if common.is_empty() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { S::mix(p, values, common.clone(), !same, out) };
    for ((p, positions), out) in p.chunks(1).zip(attended).zip(out.chunks_exact_mut(head_dim)) {
        if positions.end > common.end {
            // SAFETY: the caller's promise.
            unsafe { S::mix(p, values, common.end..positions.end, true, out) };
        }
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}
