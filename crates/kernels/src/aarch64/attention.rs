//! Attention of query heads over one KV head.
//!
//! Up to four query heads go together, so that a key or value is read and converted once for them all.

use super::float::{Value, dots, exp, fold, load, store, zero_lanes};
use crate::attention::{CHUNK, Cache, Head};
use crate::math::{self, fma};
use crate::reference::lanes::LANES;
use crate::scratch::{Line, carve};
use core::arch::aarch64::*;
use core::ops::Range;

/// The query heads that go together.
const HEADS: usize = 4;

/// For each query head: chunks of positions, each computed alone, merged in ascending order.
#[target_feature(enable = "neon")]
pub fn attend(head: &Head<'_>, head_dim: usize, queries: &[f32], out: &mut [f32], scratch: &mut [Line]) {
    let reach = head.positions.end * head_dim;
    match (head.keys, head.values) {
        (Cache::F32(k), Cache::F32(v)) => {
            heads(head, &k[..reach], &v[..reach], head_dim, queries, out, scratch);
        }
        (Cache::F16(k), Cache::F16(v)) => {
            heads(head, &k[..reach], &v[..reach], head_dim, queries, out, scratch);
        }
        (Cache::F32(k), Cache::F16(v)) => {
            heads(head, &k[..reach], &v[..reach], head_dim, queries, out, scratch);
        }
        (Cache::F16(k), Cache::F32(v)) => {
            heads(head, &k[..reach], &v[..reach], head_dim, queries, out, scratch);
        }
    }
}

/// As [`attend`], with the caches' types known.
#[target_feature(enable = "neon")]
fn heads<K: Value, V: Value>(
    head: &Head<'_>,
    keys: &[K],
    values: &[V],
    head_dim: usize,
    queries: &[f32],
    out: &mut [f32],
    scratch: &mut [Line],
) {
    let count = queries.len() / head_dim;
    let mut first = 0;
    while first < count {
        let part = |n: usize| first * head_dim..(first + n) * head_dim;
        let shape = Shape { positions: head.positions, scale: head.scale, head_dim };
        first += match count - first {
            1 => several::<K, V, 1>(&shape, keys, values, &queries[part(1)], &mut out[part(1)], scratch),
            2 => several::<K, V, 2>(&shape, keys, values, &queries[part(2)], &mut out[part(2)], scratch),
            3 => several::<K, V, 3>(&shape, keys, values, &queries[part(3)], &mut out[part(3)], scratch),
            _ => several::<K, V, HEADS>(
                &shape,
                keys,
                values,
                &queries[part(HEADS)],
                &mut out[part(HEADS)],
                scratch,
            ),
        };
    }
}

/// What all query heads have in common.
struct Shape<'a> {
    positions: &'a Range<usize>,
    scale: f32,
    head_dim: usize,
}

/// The running maximum and sum of a query head.
#[derive(Clone, Copy, Default)]
struct Softmax {
    max: f32,
    sum: f32,
}

/// `N` query heads; gives `N`.
#[target_feature(enable = "neon")]
fn several<K: Value, V: Value, const N: usize>(
    shape: &Shape<'_>,
    keys: &[K],
    values: &[V],
    queries: &[f32],
    out: &mut [f32],
    scratch: &mut [Line],
) -> usize {
    let head_dim = shape.head_dim;
    let (scores, scratch) = carve::<f32>(scratch, N * CHUNK);
    let (scores, _) = scores.as_chunks_mut::<CHUNK>();
    let (chunk_out, _) = carve::<f32>(scratch, N * head_dim);
    let queries: [&[f32]; N] = core::array::from_fn(|n| &queries[n * head_dim..][..head_dim]);
    let mut softmax = [Softmax::default(); N];
    let mut from = shape.positions.start;
    while from < shape.positions.end {
        let to = shape.positions.end.min((from / CHUNK + 1) * CHUNK);
        // Positions outside have a score whose exp is 0: adding that to a sum leaves it as it is.
        scores.as_flattened_mut().fill(f32::NEG_INFINITY);
        let mut chunk = [Softmax { max: f32::NEG_INFINITY, sum: 0.0 }; N];
        for position in from..to {
            let products = dots(queries, &keys[position * head_dim..][..head_dim]);
            for n in 0..N {
                let score = products[n] * shape.scale;
                scores[n][position % CHUNK] = score;
                chunk[n].max = chunk[n].max.max(score);
            }
        }
        for (scores, chunk) in scores.iter_mut().zip(&mut chunk) {
            chunk.sum = exponentials(scores, chunk.max);
        }
        let first = from == shape.positions.start;
        let into = if first { &mut *out } else { &mut *chunk_out };
        weighted_values::<V, N>(
            scores,
            &values[from * head_dim..to * head_dim],
            from % CHUNK,
            head_dim,
            into,
        );
        if first {
            softmax = chunk;
        } else {
            let pairs = out.chunks_exact_mut(head_dim).zip(chunk_out.chunks_exact(head_dim));
            for ((out, chunk_out), (softmax, chunk)) in pairs.zip(softmax.iter_mut().zip(chunk)) {
                merge(softmax, chunk, out, chunk_out);
            }
        }
        from = to;
    }
    for (out, softmax) in out.chunks_exact_mut(head_dim).zip(softmax) {
        let (out, rest) = out.as_chunks_mut::<4>();
        for out in out {
            store(out, vdivq_f32(load(out), vdupq_n_f32(softmax.sum)));
        }
        for out in rest {
            *out /= softmax.sum;
        }
    }
    N
}

/// Makes `p = exp(s - max)` of each score and gives their sum in 16 lanes.
#[inline]
#[target_feature(enable = "neon")]
fn exponentials(scores: &mut [f32; CHUNK], max: f32) -> f32 {
    let mut sums = zero_lanes();
    let max = vdupq_n_f32(max);
    for sixteen in scores.as_chunks_mut::<LANES>().0 {
        for (four, sum) in sixteen.as_chunks_mut::<4>().0.iter_mut().zip(&mut sums) {
            let p = exp(vsubq_f32(load(four), max));
            store(four, p);
            *sum = vaddq_f32(*sum, p);
        }
    }
    fold(sums)
}

/// `out = Σ p·v` for each head, by one chain of fma over the positions; those of `values` start at `first` in the chunk.
#[inline]
#[target_feature(enable = "neon")]
fn weighted_values<V: Value, const N: usize>(
    p: &[[f32; CHUNK]],
    values: &[V],
    first: usize,
    head_dim: usize,
    out: &mut [f32],
) {
    let heads: [&[f32]; N] = core::array::from_fn(|n| &p[n][first..][..values.len() / head_dim]);
    let out: &mut [f32] = &mut out[..N * head_dim];
    let mut column = 0;
    // Four vectors of each head's output stay in registers while all positions go by.
    while column + LANES <= head_dim {
        let mut sums = [zero_lanes(); N];
        for (position, values) in values.chunks_exact(head_dim).enumerate() {
            for quarter in 0..4 {
                // SAFETY: the columns lie in the row, and each head has a weight for each row.
                unsafe {
                    let v = V::load(values.as_ptr().add(column + quarter * 4));
                    for (sums, p) in sums.iter_mut().zip(heads) {
                        sums[quarter] = vfmaq_n_f32(sums[quarter], v, *p.get_unchecked(position));
                    }
                }
            }
        }
        for (n, sums) in sums.into_iter().enumerate() {
            let out = &mut out[n * head_dim + column..][..LANES];
            for (out, sum) in out.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                store(out, sum);
            }
        }
        column += LANES;
    }
    for column in column..head_dim {
        for (n, p) in heads.iter().enumerate() {
            let column_values = values.iter().skip(column).step_by(head_dim);
            out[n * head_dim + column] =
                p.iter().zip(column_values).fold(0.0, |sum, (p, v)| fma(*p, v.value(), sum));
        }
    }
}

/// Merges a chunk into what came before it.
#[inline]
#[target_feature(enable = "neon")]
fn merge(softmax: &mut Softmax, chunk: Softmax, out: &mut [f32], chunk_out: &[f32]) {
    let max = softmax.max.max(chunk.max);
    let (a, b) = (math::exp(softmax.max - max), math::exp(chunk.max - max));
    *softmax = Softmax { max, sum: fma(softmax.sum, a, chunk.sum * b) };
    let (out, rest) = out.as_chunks_mut::<4>();
    let (chunk_out, chunk_rest) = chunk_out.as_chunks::<4>();
    for (out, chunk) in out.iter_mut().zip(chunk_out) {
        store(out, vfmaq_n_f32(vmulq_n_f32(load(chunk), b), load(out), a));
    }
    for (out, chunk) in rest.iter_mut().zip(chunk_rest) {
        *out = fma(*out, a, chunk * b);
    }
}
