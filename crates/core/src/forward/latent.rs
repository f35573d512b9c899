//! Latent attention (DeepSeek-AI 2024, arXiv:2405.04434) with absorbed matrices: what comes before attention over the cache,
//! and what comes behind.
//!
//! All heads have their keys and values from one vector c of a position: `k = Wk c` and `v = Wv c`, and behind k a part that
//! rotates, the same for all heads. The cache keeps c, and Wk and Wv of each head move to where they are multiplied once for a
//! token, not once for a position: `q·(Wk c) = (Wk' q)·c`, and `Σ p (Wv c) = Wv (Σ p c)`. So each head's query becomes
//! `Wk' q` and the part of q that rotates, and attention is that of one KV head whose keys are c and what rotates, and
//! whose values are c.
//!
//! A file holds `Wk'` (`attn_k_b`), which q meets as activations meet any matrix; or Wk and Wv in one (`attn_kv_b`). Then
//! `Wk' q` is a sum over the rows of Wk, dequantized: `x += row·q`, a product and a sum, from 0 and in order.

use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::Chunks;
use stonechat_kernels::{Scratch, matmul};

use super::attention::qkv_row;
use super::norm::Norms;
use super::rows::{enter, share_out};
use super::{Buffers, Pass, few};
use crate::model::{Norm, Weight};

impl Pass<'_, '_> {
    /// Behind t rows of queries in `wide`, heads x t x rank: `Wk' q`, of the part of each query that does not rotate.
    pub(super) fn absorb(&mut self, number: usize, tokens: usize) -> Result<(), NotFinite> {
        let layer = self.weights.layer(number);
        let Some(latent) = layer.latent() else { return Ok(()) };
        if latent.query_rank > 0 {
            self.queries(number, latent.query_rank, tokens)?;
        }
        let (weights, level, workers) = (self.weights, self.level, self.workers);
        let (row, query, rank) = (latent.query_row(&layer), latent.query(), latent.rank);
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let (queries, absorbed) = wide.split_at_mut(tokens * row);
        let of_head = |t: usize, head: usize| &queries[t * row + head * query..][..latent.key];
        let absorbed = &mut absorbed[..layer.heads() * tokens * rank];
        let Some(all) = weights.matrix(number, Weight::LatentUp) else {
            let parts = input.parts(layer.heads() * tokens, latent.key, latent.key);
            share_out(few(tokens, workers), parts, &mut scratch, |part, input, lines| {
                enter(level, input, latent.key, lines, |out, _| {
                    out.copy_from_slice(of_head(part % tokens, part / tokens));
                    Ok(())
                })
            })?;
            for (head, absorbed) in absorbed.chunks_exact_mut(tokens * rank).enumerate() {
                let matrix = weights.part(number, Weight::KeyUp, head * rank..(head + 1) * rank);
                let input = input.rows(head * tokens..(head + 1) * tokens, latent.key);
                matmul(level, workers, matrix.as_slice(), &input, absorbed, &mut scratch);
            }
            return Ok(());
        };
        let parts = Chunks::new(absorbed, tokens * rank);
        share_out(workers, parts, &mut scratch, |head, absorbed, lines| {
            let (key, _) = carve::<f32>(lines, rank);
            absorbed.fill(0.0);
            for i in 0..latent.key {
                all.read_row(head * (latent.key + latent.value) + i, |columns, bytes| {
                    elementwise::dequantize(level, all.format(), bytes, &mut key[columns]);
                });
                for (t, absorbed) in absorbed.chunks_exact_mut(rank).enumerate() {
                    elementwise::add_scaled(absorbed, key, of_head(t, head)[i]);
                }
            }
            Ok(())
        })
    }

    /// `wide[t]` = the queries that come from a vector of `rank` numbers, normalised, with which a row of `wide` begins.
    fn queries(&mut self, number: usize, rank: usize, tokens: usize) -> Result<(), NotFinite> {
        let (norms, level) = (Norms::new(self.model, self.level), self.level);
        let (norm, row) = (self.weights.norm(number, Norm::Query), qkv_row(&self.weights, number));
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let parts = input.parts(tokens, rank, rank);
        share_out(few(tokens, self.workers), parts, &mut scratch, |t, input, lines| {
            enter(level, input, rank, lines, |out, _| {
                let from = &wide[t * row..][..rank];
                if let Some(norm) = &norm {
                    return norms.apply(from, norm, out);
                }
                out.copy_from_slice(from);
                Ok(())
            })
        })?;
        self.multiply(number, &[Weight::QueryUp], rank, tokens);
        Ok(())
    }

    /// `input[t]` = `Wv x` of all heads of a token one after another, where `input` holds the x, head after head.
    pub(super) fn expand(&mut self, number: usize, tokens: usize) -> Result<(), NotFinite> {
        let layer = self.weights.layer(number);
        let Some(latent) = layer.latent() else { return Ok(()) };
        let (weights, level, workers, value) = (self.weights, self.level, self.workers, latent.value);
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let is_fused = weights.matrix(number, Weight::LatentUp).is_some();
        let heads = wide[..layer.heads() * tokens * value].chunks_exact_mut(tokens * value);
        for (head, out) in heads.enumerate() {
            let (weight, first) = if is_fused {
                (Weight::LatentUp, head * (latent.key + value) + latent.key)
            } else {
                (Weight::ValueUp, head * value)
            };
            let matrix = weights.part(number, weight, first..first + value);
            let input = input.rows(head * tokens..(head + 1) * tokens, latent.rank);
            matmul(level, workers, matrix.as_slice(), &input, out, &mut scratch);
        }
        let (width, wide) = (layer.out_dim(), &*wide);
        let parts = input.parts(tokens, width, width);
        share_out(few(tokens, workers), parts, &mut scratch, |t, input, lines| {
            enter(level, input, width, lines, |out, _| {
                for (head, out) in out.chunks_exact_mut(value).enumerate() {
                    out.copy_from_slice(&wide[(head * tokens + t) * value..][..value]);
                }
                Ok(())
            })
        })
    }
}
