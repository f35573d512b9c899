//! The forward pass: tokens in, logits out. ONE for all architectures; what differs is read from the `Spec`.
//!
//! Shapes: t tokens of the batch, e the embedding's length, h query heads and g KV heads of d values, f the
//! feed-forward length. Every step is shared out among the workers and returns when all of it is done; for one token,
//! what takes less time than asking for help is done by the caller alone.

mod attention;
mod cache;
mod rows;

use core::ops::Range;

use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::split::Chunks;
use stonechat_kernels::{Alone, Level, Line, Matrix, Scratch, ScratchSize, Workers, matmul};

use crate::model::{Norm, Weight};
use crate::session::Weights;
use crate::{Error, Model, Place, rope};

pub(crate) use attention::{partials_len, scratch_lines};
pub(crate) use cache::{KvBuffer, KvCache};
pub(crate) use rows::Input;
use rows::{enter, share, share_out};

/// The arena's regions for what flows through the layers.
pub(crate) struct Buffers<'a> {
    /// t x e: the residual stream.
    pub residual: &'a mut [f32],
    /// t x e: what is to be added to it.
    pub delta: &'a mut [f32],
    /// t x widest: what enters a matrix.
    pub input: Input<'a>,
    /// t x (h d + 2 g d) for q, k and v of each token, or t x 2 f for gate and up.
    pub wide: &'a mut [f32],
    /// t x pairs.
    pub cos: &'a mut [f32],
    pub sin: &'a mut [f32],
    /// Attention of one token: a partial result for each KV head and chunk of positions.
    pub partials: &'a mut [f32],
    pub scratch: &'a mut [Line],
    pub scratch_size: ScratchSize,
    pub batch: usize,
    pub outputs: usize,
}

/// One pass over a batch.
pub(crate) struct Pass<'p, 'a> {
    pub model: &'p Model<'a>,
    pub level: Level,
    pub workers: &'p dyn Workers,
    pub weights: Weights<'a>,
    pub cache: &'p mut KvCache<'a>,
    pub buffers: &'p mut Buffers<'a>,
}

/// What happens to the residual stream before it is normalised.
#[derive(Clone, Copy)]
enum Arrival<'t> {
    /// residual[t] = embedding[token t]
    Embedding(&'t [u32]),
    /// residual += delta
    Delta,
}

impl Pass<'_, '_> {
    /// Runs `tokens`, of which the first stands at `position`, through all layers; leaves the residual stream, and what
    /// the last layer adds to it.
    pub fn layers(&mut self, tokens: &[u32], position: usize) -> Result<(), Error> {
        let h = *self.model.hyperparameters();
        let t = tokens.len();
        self.angles(t, position);
        let mut arrival = Arrival::Embedding(tokens);
        for layer in 0..h.layers {
            // Attention: x += Wo attend(rope(Wq norm(x)), ...)
            self.norm(arrival, self.weights.norm(layer, Norm::Attention, h.embedding), t)
                .map_err(|NotFinite| Error::NotFinite(Place::AttentionInput(layer)))?;
            arrival = Arrival::Delta;
            self.multiply(layer, &[Weight::Q, Weight::K, Weight::V], h.embedding, t);
            self.store(layer, t, position)
                .and_then(|()| self.attend(layer, t, position))
                .map_err(|NotFinite| Error::NotFinite(Place::Heads(layer)))?;
            self.gather(t, position).map_err(|NotFinite| Error::NotFinite(Place::AttentionOutput(layer)))?;
            self.multiply(layer, &[Weight::Output], h.q_dim(), t);

            // Feed-forward: x += Wdown (silu(Wgate norm(x)) * (Wup norm(x)))
            self.norm(arrival, self.weights.norm(layer, Norm::FeedForward, h.embedding), t)
                .map_err(|NotFinite| Error::NotFinite(Place::FeedForwardInput(layer)))?;
            self.multiply(layer, &[Weight::Gate, Weight::Up], h.embedding, t);
            self.gate(t).map_err(|NotFinite| Error::NotFinite(Place::FeedForwardHidden(layer)))?;
            self.multiply(layer, &[Weight::Down], h.feed_forward, t);
        }
        Ok(())
    }

    /// The logits of the given tokens of the batch: head norm(x), rows of `vocabulary` values. Once for each token.
    pub fn head(&mut self, tokens: Range<usize>, logits: &mut [f32]) -> Result<(), Error> {
        let h = self.model.hyperparameters();
        let (level, e, count, eps) = (self.level, h.embedding, tokens.len(), h.norm_eps);
        let norm = self.weights.final_norm(e);
        let workers = few(count, self.workers);
        let b = &mut *self.buffers;
        let rows = tokens.start * e..tokens.end * e;
        let delta = &b.delta[rows.clone()];
        let parts = (Chunks::new(&mut b.residual[rows], e), b.input.parts(count, e, e));
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        share_out(workers, parts, &mut scratch, |row, (x, input), lines| {
            elementwise::add(x, &delta[row * e..][..e]);
            enter(level, input, e, lines, |out, _| elementwise::rms_norm(level, x, norm, eps, out))
        })
        .map_err(|NotFinite| Error::NotFinite(Place::FinalNorm))?;
        let logits = &mut logits[..count * h.vocabulary];
        matmul(level, self.workers, &[*self.model.head()], &b.input.read(count, e), logits, &mut scratch);
        Ok(())
    }

    /// Cosine and sine of every pair at every position of the batch.
    fn angles(&mut self, tokens: usize, position: usize) {
        let rope = &self.model.hyperparameters().rope;
        let (pairs, magnitude) = (rope.dims / 2, rope.magnitude());
        let frequencies = self.weights.frequencies(pairs);
        let workers = few(tokens, self.workers);
        let b = &mut *self.buffers;
        let len = tokens * pairs;
        let parts = (Chunks::new(&mut b.cos[..len], pairs), Chunks::new(&mut b.sin[..len], pairs));
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        let done = share_out(workers, parts, &mut scratch, |t, (cos, sin), _| {
            rope::angles(frequencies, magnitude, position + t, cos, sin);
            Ok(())
        });
        debug_assert_eq!(done, Ok(()));
    }

    /// What arrives, and then `input[t] = rms_norm(residual[t]) * weight`.
    fn norm(&mut self, arrival: Arrival<'_>, weight: &[f32], tokens: usize) -> Result<(), NotFinite> {
        let (level, eps, e) = (self.level, self.model.hyperparameters().norm_eps, weight.len());
        let embedding = self.model.embedding();
        let workers = few(tokens, self.workers);
        let b = &mut *self.buffers;
        let delta = &*b.delta;
        let parts = (Chunks::new(&mut b.residual[..tokens * e], e), b.input.parts(tokens, e, e));
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        share_out(workers, parts, &mut scratch, |t, (x, input), lines| {
            match arrival {
                Arrival::Embedding(tokens) => embedding.read_row(tokens[t] as usize, |columns, bytes| {
                    elementwise::dequantize(level, embedding.format(), bytes, &mut x[columns]);
                }),
                Arrival::Delta => elementwise::add(x, &delta[t * e..][..e]),
            }
            enter(level, input, e, lines, |out, _| elementwise::rms_norm(level, x, weight, eps, out))
        })
    }

    /// Multiplies `input` by a stack of matrices, into `wide`, or into `delta` where it returns to the residual stream.
    fn multiply(&mut self, layer: usize, stack: &[Weight], cols: usize, tokens: usize) {
        let mut matrices: heapless::Vec<Matrix<'_>, 3> = heapless::Vec::new();
        matrices.extend(stack.iter().map(|weight| self.weights.matrix(layer, *weight)));
        let rows: usize = matrices.iter().map(Matrix::rows).sum();
        let b = &mut *self.buffers;
        let out = if matches!(stack, [Weight::Output | Weight::Down]) { &mut *b.delta } else { &mut *b.wide };
        let out = &mut out[..tokens * rows];
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        matmul(self.level, self.workers, &matrices, &b.input.read(tokens, cols), out, &mut scratch);
        if stack.iter().all(|weight| self.weights.bias(layer, *weight).is_none()) {
            return;
        }
        let weights = self.weights;
        let parts = Chunks::new(out, rows);
        let done = share_out(few(tokens, self.workers), parts, &mut scratch, |_, mut out, _| {
            for (weight, matrix) in stack.iter().zip(&matrices) {
                let (row, rest) = out.split_at_mut(matrix.rows());
                if let Some(bias) = weights.bias(layer, *weight) {
                    elementwise::add(row, bias);
                }
                out = rest;
            }
            Ok(())
        });
        debug_assert_eq!(done, Ok(()));
    }

    /// input[t] = silu(gate[t]) * up[t]
    fn gate(&mut self, tokens: usize) -> Result<(), NotFinite> {
        let (level, f) = (self.level, self.model.hyperparameters().feed_forward);
        let b = &mut *self.buffers;
        let wide = &*b.wide;
        let chunk = if tokens == 1 { share(f, self.workers.count()) } else { f };
        let parts = b.input.parts(tokens, f, chunk);
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        share_out(self.workers, parts, &mut scratch, |part, input, lines| {
            let (t, from) = (part * chunk / f, part * chunk % f);
            let len = chunk.min(f - from);
            let (gate, up) = wide[t * 2 * f..][..2 * f].split_at(f);
            enter(level, input, len, lines, |out, _| {
                elementwise::silu_mul(level, &gate[from..][..len], &up[from..][..len], out);
                Ok(())
            })
        })
    }
}

/// Who does a step that takes a token less than a microsecond: all workers for several tokens, the caller for one.
fn few(tokens: usize, workers: &dyn Workers) -> &dyn Workers {
    if tokens > 1 { workers } else { &Alone }
}
