//! Attention of queries over one KV head, of keys and values in half precision.
//!
//! The walk is the reference's, one query and one position after another; only what happens to the numbers of a position is
//! a loop of the FPU. Other ways to store keys and values, and other CPUs, have the reference.

pub use crate::reference::merge;

#[cfg(not(vfma))]
pub use crate::reference::attend;
#[cfg(vfma)]
pub use halves::attend;

#[cfg(vfma)]
mod halves {
    use super::super::float;
    use crate::attention::{self, CHUNK, Head, Partial, Queries};
    use crate::elementwise::NotFinite;
    use crate::kv::{GROUP, KvFormat};
    use crate::math::exp;
    use crate::reference::lanes::{self, LANES};
    use crate::scratch::{Line, carve};
    use crate::{Level, reference};
    use core::ops::Range;

    /// For each query: chunks of positions, each computed alone, merged in ascending order.
    ///
    /// # Safety
    /// The cache holds every position of the queries.
    pub unsafe fn attend(
        head: &Head<'_>,
        queries: &Queries<'_>,
        chunks: Range<usize>,
        partial: &mut Partial<'_>,
        scratch: &mut [Line],
    ) -> Result<(), NotFinite> {
        let (head_dim, value_dim) = (head.keys.head_dim(), head.values.head_dim());
        let stored = [head.keys.format(), head.values.format()];
        let suits = head_dim.is_multiple_of(LANES) && value_dim.is_multiple_of(4);
        if stored != [KvFormat::F16; 2] || !suits || head_dim * value_dim == 0 {
            return reference::attend(head, queries, chunks, partial, scratch);
        }
        let (scores, scratch) = carve::<f32>(scratch, CHUNK);
        let (chunk_out, _) = carve::<f32>(scratch, value_dim);
        for (row, query) in queries.rows.chunks_exact(head_dim).enumerate() {
            let attended = queries.positions(row);
            let mut first = true;
            for chunk in chunks.clone() {
                let from = attended.start.max(chunk * CHUNK);
                let to = attended.end.min((chunk + 1) * CHUNK);
                if from >= to {
                    continue;
                }
                let scores = &mut scores[..to - from];
                for (position, score) in (from..to).zip(scores.iter_mut()) {
                    let key = &head.keys.group(position / GROUP)[2 * (position % GROUP)..];
                    // SAFETY: a group has the numbers of a key one behind the other, each for 16 positions in 32 bytes.
                    *score = unsafe { float::dot(query.as_ptr(), key.as_ptr(), head_dim) } * head.scale;
                }
                attention::bend(Level::REFERENCE, scores, head.cap, queries.slope(row), from);
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut weights = [0.0; LANES];
                chunk_out.fill(0.0);
                for (position, score) in (from..to).zip(scores.iter()) {
                    let p = exp(score - max);
                    weights[position % LANES] += p;
                    let value = head.values.row(position);
                    assert_eq!(value.len(), 2 * value_dim, "a value in half precision");
                    // SAFETY: as many numbers as that.
                    unsafe { float::mix(p, value.as_ptr(), chunk_out.as_mut_ptr(), value_dim) };
                }
                let sum = lanes::fold(weights);
                let out = &mut partial.out[row * value_dim..][..value_dim];
                if first {
                    (partial.max[row], partial.sum[row]) = (max, sum);
                    out.copy_from_slice(chunk_out);
                } else {
                    let softmax = (&mut partial.max[row], &mut partial.sum[row]);
                    super::merge(out, chunk_out, attention::weights(softmax, max, sum));
                }
                first = false;
            }
        }
        Ok(())
    }
}
