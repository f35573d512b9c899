//! Attention of query heads over one KV head.

use super::lanes::{self, LANES};
use crate::attention::{CHUNK, Cache, Head};
use crate::math::{exp, f16_to_f32, fma};
use crate::scratch::{Line, carve};

/// For each query head: chunks of positions, each computed alone, merged in ascending order.
pub fn attend(head: &Head<'_>, head_dim: usize, queries: &[f32], out: &mut [f32], scratch: &mut [Line]) {
    let (scores, scratch) = carve::<f32>(scratch, CHUNK);
    let (chunk_out, _) = carve::<f32>(scratch, head_dim);
    for (query, out) in queries.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
        let (mut max, mut sum) = (0.0, 0.0);
        let mut from = head.positions.start;
        while from < head.positions.end {
            let to = head.positions.end.min((from / CHUNK + 1) * CHUNK);
            let mut chunk_max = f32::NEG_INFINITY;
            for position in from..to {
                let key = row(head.keys, position, head_dim);
                let score = lanes::dot(query.iter().copied(), key) * head.scale;
                scores[position % CHUNK] = score;
                chunk_max = chunk_max.max(score);
            }
            let mut sums = [0.0; LANES];
            chunk_out.fill(0.0);
            for position in from..to {
                let p = exp(scores[position % CHUNK] - chunk_max);
                sums[position % LANES] += p;
                for (o, v) in chunk_out.iter_mut().zip(row(head.values, position, head_dim)) {
                    *o = fma(p, v, *o);
                }
            }
            let chunk_sum = lanes::fold(sums);
            if from == head.positions.start {
                (max, sum) = (chunk_max, chunk_sum);
                out.copy_from_slice(chunk_out);
            } else {
                let merged = max.max(chunk_max);
                let (a, b) = (exp(max - merged), exp(chunk_max - merged));
                (max, sum) = (merged, fma(sum, a, chunk_sum * b));
                for (out, o) in out.iter_mut().zip(chunk_out.iter()) {
                    *out = fma(*out, a, o * b);
                }
            }
            from = to;
        }
        for out in out {
            *out /= sum;
        }
    }
}

/// The key or value at `position`.
fn row(cache: Cache<'_>, position: usize, head_dim: usize) -> impl Iterator<Item = f32> {
    let at = position * head_dim..(position + 1) * head_dim;
    (0..head_dim).map(move |i| match cache {
        Cache::F32(values) => values[at.start + i],
        Cache::F16(values) => f16_to_f32(values[at.start + i]),
    })
}
