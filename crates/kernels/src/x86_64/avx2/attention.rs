//! Attention of query heads over one KV head.

use super::elementwise::{divide, exp, merge};
use super::lanes::{F16, F32, Stored, dots, fma, fold, load, store};
use crate::attention::{CHUNK, Cache, Head};
use crate::math;
use crate::scratch::{Line, carve};
use core::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_sub_ps,
};
use core::ops::Range;

/// For each query head: chunks of positions, each computed alone, merged in ascending order.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn attend(head: &Head<'_>, head_dim: usize, queries: &[f32], out: &mut [f32], scratch: &mut [Line]) {
    match (head.keys, head.values) {
        (Cache::F16(keys), Cache::F16(values)) => {
            let (keys, values) = (bytemuck::cast_slice(keys), bytemuck::cast_slice(values));
            attend_stored::<F16, F16>(head, keys, values, head_dim, queries, out, scratch);
        }
        (Cache::F32(keys), Cache::F32(values)) => {
            let (keys, values) = (bytemuck::cast_slice(keys), bytemuck::cast_slice(values));
            attend_stored::<F32, F32>(head, keys, values, head_dim, queries, out, scratch);
        }
        (Cache::F16(keys), Cache::F32(values)) => {
            let (keys, values) = (bytemuck::cast_slice(keys), bytemuck::cast_slice(values));
            attend_stored::<F16, F32>(head, keys, values, head_dim, queries, out, scratch);
        }
        (Cache::F32(keys), Cache::F16(values)) => {
            let (keys, values) = (bytemuck::cast_slice(keys), bytemuck::cast_slice(values));
            attend_stored::<F32, F16>(head, keys, values, head_dim, queries, out, scratch);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn attend_stored<K: Stored, V: Stored>(
    head: &Head<'_>,
    keys: &[u8],
    values: &[u8],
    head_dim: usize,
    queries: &[f32],
    out: &mut [f32],
    scratch: &mut [Line],
) {
    let (scores, scratch) = carve::<f32>(scratch, CHUNK);
    let (chunk_out, _) = carve::<f32>(scratch, head_dim);
    for (query, out) in queries.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
        let (mut max, mut sum) = (0.0, 0.0);
        let mut from = head.positions.start;
        while from < head.positions.end {
            let to = head.positions.end.min((from / CHUNK + 1) * CHUNK);
            let chunk_max = score::<K>(query, keys, head.scale, from..to, scores);
            let chunk_sum = soften(scores, from % CHUNK..from % CHUNK + (to - from), chunk_max);
            let values = &values[from * head_dim * V::BYTES..to * head_dim * V::BYTES];
            mix::<V>(&scores[from % CHUNK..][..to - from], values, chunk_out);
            if from == head.positions.start {
                (max, sum) = (chunk_max, chunk_sum);
                out.copy_from_slice(chunk_out);
            } else {
                let merged = max.max(chunk_max);
                let (a, b) = (math::exp(max - merged), math::exp(chunk_max - merged));
                (max, sum) = (merged, fma(sum, a, chunk_sum * b));
                merge(out, a, chunk_out, b);
            }
            from = to;
        }
        divide(out, sum);
    }
}

/// Writes the scores of `positions`, which lie in one chunk, at their places in the chunk; returns the largest.
#[target_feature(enable = "avx2,fma,f16c")]
fn score<K: Stored>(
    query: &[f32],
    keys: &[u8],
    scale: f32,
    positions: Range<usize>,
    scores: &mut [f32],
) -> f32 {
    let row = query.len() * K::BYTES;
    let mut max = f32::NEG_INFINITY;
    let mut from = positions.start;
    while from < positions.end {
        let count = (positions.end - from).min(4);
        // Past the last position it stands in again; its surplus scores are dropped.
        let keys = core::array::from_fn(|i| &keys[(from + i.min(count - 1)) * row..][..row]);
        let dots = dots::<K, 4>(keys, query);
        for (score, dot) in scores[from % CHUNK..][..count].iter_mut().zip(dots) {
            *score = dot * scale;
            max = max.max(*score);
        }
        from += count;
    }
    max
}

/// Turns the scores of a chunk into `exp(score - max)` and returns their sum. `attended` are places in the chunk.
#[target_feature(enable = "avx2,fma,f16c")]
fn soften(scores: &mut [f32], attended: Range<usize>, max: f32) -> f32 {
    // Whole groups of 16 places, the others as scores whose exp is 0: to sums of exps, which are not negative, a 0
    // is nothing.
    let groups = attended.start / 16 * 16..attended.end.next_multiple_of(16);
    scores[groups.start..attended.start].fill(f32::NEG_INFINITY);
    scores[attended.end..groups.end].fill(f32::NEG_INFINITY);
    let mut sums = [_mm256_setzero_ps(); 2];
    let (eights, _) = scores[groups].as_chunks_mut::<8>();
    for (i, scores) in eights.iter_mut().enumerate() {
        let p = exp(_mm256_sub_ps(load(scores), _mm256_set1_ps(max)));
        store(scores, p);
        sums[i % 2] = _mm256_add_ps(sums[i % 2], p);
    }
    fold(sums)
}

/// `out = Σ p v` as a chain over positions from 0, for each output.
#[target_feature(enable = "avx2,fma,f16c")]
fn mix<V: Stored>(p: &[f32], values: &[u8], out: &mut [f32]) {
    let row = out.len() * V::BYTES;
    let (wide, rest) = out.as_chunks_mut::<64>();
    for (i, out) in wide.iter_mut().enumerate() {
        mix_vectors::<V, 8>(p, values, i * 64, row, out);
    }
    let mut at = wide.len() * 64;
    let (eights, rest) = rest.as_chunks_mut::<8>();
    for out in eights {
        mix_vectors::<V, 1>(p, values, at, row, out);
        at += 8;
    }
    for out in rest {
        *out = 0.0;
        for (p, value) in p.iter().zip(values.chunks_exact(row)) {
            *out = fma(*p, V::get(&value[at * V::BYTES..]), *out);
        }
        at += 1;
    }
}

/// The `8 N` outputs from `at` on, in registers over all positions.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn mix_vectors<V: Stored, const N: usize>(p: &[f32], values: &[u8], at: usize, row: usize, out: &mut [f32]) {
    let mut sums: [__m256; N] = [_mm256_setzero_ps(); N];
    for (p, value) in p.iter().zip(values.chunks_exact(row)) {
        let value = &value[at * V::BYTES..][..8 * N * V::BYTES];
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `value` is 8 N stored floats, and i < N.
            let v = unsafe { V::load(value.as_ptr().add(i * 8 * V::BYTES)) };
            *sum = _mm256_fmadd_ps(_mm256_set1_ps(*p), v, *sum);
        }
    }
    let (eights, _) = out.as_chunks_mut::<8>();
    for (out, sum) in eights.iter_mut().zip(sums) {
        store(out, sum);
    }
}
