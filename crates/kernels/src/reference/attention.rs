//! Attention of queries over one KV head.

use super::blocks::f16_at;
use super::lanes::{self, LANES};
use crate::Level;
use crate::activations::{BLOCK, HALF, Quantized, QuantizedMut};
use crate::attention::{self, CHUNK, Head, Partial, Queries};
use crate::elementwise::NotFinite;
use crate::kv::{Cache, GROUP, KvFormat};
use crate::math::{exp, fma};
use crate::scratch::{Line, carve};
use core::ops::Range;

/// For each query: chunks of positions, each computed alone, merged in ascending order.
pub fn attend(
    head: &Head<'_>,
    queries: &Queries<'_>,
    chunks: Range<usize>,
    partial: &mut Partial<'_>,
    scratch: &mut [Line],
) -> Result<(), NotFinite> {
    let (head_dim, value_dim) = (head.keys.head_dim(), head.values.head_dim());
    let (scores, scratch) = carve::<f32>(scratch, CHUNK);
    let (chunk_out, scratch) = carve::<f32>(scratch, value_dim);
    let (q, scratch) = carve::<i8>(scratch, head_dim);
    let (d, scratch) = carve::<f32>(scratch, head_dim / BLOCK);
    let (sums, _) = carve::<i16>(scratch, head_dim / HALF);
    for (row, query) in queries.rows.chunks_exact(head_dim).enumerate() {
        let quantized = head.keys.format().is_quantized();
        if quantized {
            super::quantize(query, &mut QuantizedMut { q, d, sums })?;
        }
        let attended = queries.positions(row);
        let mut first = true;
        for chunk in chunks.clone() {
            let from = attended.start.max(chunk * CHUNK);
            let to = attended.end.min((chunk + 1) * CHUNK);
            if from >= to {
                continue;
            }
            for position in from..to {
                let product = if quantized {
                    quantized_dot(&head.keys, position, &Quantized { q, d, sums })
                } else {
                    let key = (0..head_dim).map(|i| float_key(&head.keys, position, i));
                    lanes::dot(query.iter().copied(), key)
                };
                let score = product * head.scale;
                scores[position % CHUNK] = score;
            }
            let attended_scores = &mut scores[from % CHUNK..][..to - from];
            attention::bend(Level::REFERENCE, attended_scores, head.cap, queries.slope(row), from);
            let max = attended_scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut weights = [0.0; LANES];
            chunk_out.fill(0.0);
            for position in from..to {
                let p = exp(scores[position % CHUNK] - max);
                weights[position % LANES] += p;
                for (i, out) in chunk_out.iter_mut().enumerate() {
                    *out = fma(p, value(&head.values, position, i), *out);
                }
            }
            let sum = lanes::fold(weights);
            let out = &mut partial.out[row * value_dim..][..value_dim];
            if first {
                (partial.max[row], partial.sum[row]) = (max, sum);
                out.copy_from_slice(chunk_out);
            } else {
                let softmax = (&mut partial.max[row], &mut partial.sum[row]);
                merge(out, chunk_out, attention::weights(softmax, max, sum));
            }
            first = false;
        }
    }
    Ok(())
}

/// `out = fma(out, a, later * b)`.
pub fn merge(out: &mut [f32], later: &[f32], [a, b]: [f32; 2]) {
    for (out, later) in out.iter_mut().zip(later) {
        *out = fma(*out, a, later * b);
    }
}

/// Number `i` of the key at `position`.
fn float_key(keys: &Cache<'_>, position: usize, i: usize) -> f32 {
    let group = keys.group(position / GROUP);
    float(keys.format(), group, i * GROUP + position % GROUP)
}

/// Number `i` among floats.
fn float(format: KvFormat, bytes: &[u8], i: usize) -> f32 {
    match format {
        KvFormat::F32 => f32::from_le_bytes(bytes.as_chunks().0[i]),
        _ => f16_at(bytes, 2 * i),
    }
}

/// An int4 of the 32 in 16 bytes: first the lower halves, then the upper ones.
fn nibble(byte: u8, i: usize) -> i8 {
    (if i < HALF { byte & 15 } else { byte >> 4 }) as i8 - 8
}

/// A key times a query in int8: a walk over the blocks like that of a row of weights.
fn quantized_dot(keys: &Cache<'_>, position: usize, query: &Quantized<'_>) -> f32 {
    let (group, slot) = (keys.group(position / GROUP), position % GROUP);
    let blocks = keys.head_dim() / BLOCK;
    let block_bytes = if keys.format() == KvFormat::Q8_0 { BLOCK } else { HALF } * GROUP;
    let mut acc = 0.0;
    for (b, (q, dx)) in query.q.as_chunks::<BLOCK>().0.iter().zip(query.d).enumerate() {
        let byte = |i: usize| group[b * block_bytes + i / 4 * 4 * GROUP + 4 * slot + i % 4];
        let key = |i: usize| match keys.format() {
            KvFormat::Q8_0 => byte(i) as i8,
            _ => nibble(byte(i % HALF), i),
        };
        let isum: i32 = q.iter().enumerate().map(|(i, q)| i32::from(key(i)) * i32::from(*q)).sum();
        let d = f16_at(group, blocks * block_bytes + (b * GROUP + slot) * 2);
        acc = fma(d * dx, isum as f32, acc);
    }
    acc
}

/// Number `i` of the value at `position`.
fn value(values: &Cache<'_>, position: usize, i: usize) -> f32 {
    let row = values.row(position);
    match values.format() {
        KvFormat::Q8_0 => {
            let block = &row[i / BLOCK * 34..][..34];
            f16_at(block, 0) * f32::from(block[2 + i % BLOCK] as i8)
        }
        KvFormat::Q4_0 => {
            let block = &row[i / BLOCK * 18..][..18];
            f16_at(block, 0) * f32::from(nibble(block[2 + i % HALF], i % BLOCK))
        }
        format => float(format, row, i),
    }
}
