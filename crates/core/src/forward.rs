//! The forward pass: tokens in, logits out. ONE for all architectures; what differs is read from the `Spec`.
//!
//! Shapes: t tokens of the batch, e the embedding's length, h query heads and g KV heads of d values, f the
//! feed-forward length. Every step is shared out among the workers and returns when all of it is done; for one token,
//! what takes less time than asking for help is done by the caller alone. What a model does not have costs it a look at
//! the table of weights, once for each layer.

mod attention;
mod batch;
mod cache;
mod delta_net;
mod embed;
mod experts;
mod feed_forward;
mod latent;
mod mamba;
mod mamba2;
mod norm;
mod recurrent;
mod rows;
mod short_convolution;

use core::ops::Range;

use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::split::{Chunks, Stretches};
use stonechat_kernels::{Alone, Level, Line, Matrix, Scratch, ScratchSize, Workers, matmul};

use crate::model::{Norm, Weight};
use crate::session::Weights;
use crate::{Error, Model, Place, rope};

use attention::qkv_row;
pub(crate) use attention::{AttentionSize, attention_size};
pub(crate) use batch::Batch;
pub use batch::Stretch;
pub(crate) use cache::{At, KvBuffer, KvCache};
pub(crate) use experts::ExpertBuffers;
use norm::{Arrival, Arriving, Norms};
pub(crate) use recurrent::recurrent_scratch;
pub(crate) use rows::Input;
use rows::{enter, share_out};

/// The arena's regions for what flows through the layers.
pub(crate) struct Buffers<'a> {
    /// t x e: the residual stream.
    pub residual: &'a mut [f32],
    /// t x e: what is to be added to it.
    pub delta: &'a mut [f32],
    /// t x widest: what enters a matrix.
    pub input: Input<'a>,
    /// t x (h d + 2 g d) for q, k and v of each token and what enters a state, or t x 2 f for gate and up.
    pub wide: &'a mut [f32],
    /// t x pairs, of one rope behind the other.
    pub cos: &'a mut [f32],
    pub sin: &'a mut [f32],
    /// Attention of a sequence's only token, of all that have only one: a partial result for each KV head and chunk of positions.
    pub partials: &'a mut [f32],
    /// t x layers x length: each layer's own input.
    pub layer_inputs: &'a mut [f32],
    pub experts: ExpertBuffers<'a>,
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
    pub batch: Batch<'p>,
    pub cache: &'p mut KvCache<'a>,
    /// What mixers carry from position to position, for each of so many sequences.
    pub state: &'p mut [f32],
    pub sequences: usize,
    pub buffers: &'p mut Buffers<'a>,
}

/// The matrices of queries, keys and values, or of what they come from: one, two or three.
const QKV: [Weight; 6] =
    [Weight::Qkv, Weight::Q, Weight::QueryDown, Weight::K, Weight::V, Weight::LatentDown];

impl Pass<'_, '_> {
    /// Runs the batch through all layers; leaves the residual stream of those tokens whose outputs are wanted, one after
    /// another, and what the last layer adds to it.
    pub fn layers(&mut self) -> Result<(), Error> {
        let (h, spec) = (*self.model.hyperparameters(), *self.model.spec());
        let mut t = self.batch.tokens();
        self.angles(t);
        let mut arrival = self.embedding();
        if self.model.layer_inputs().is_some() {
            self.layer_inputs(t).map_err(|NotFinite| Error::NotFinite(Place::AttentionInput(0)))?;
            arrival = Arrival::Nothing;
        }
        for layer in 0..h.layers {
            // Attention: x += Wo attend(rope(Wq norm(x)), ...)
            self.norm(arrival, self.weights.norm(layer, Norm::Attention), t, false)
                .map_err(|NotFinite| Error::NotFinite(Place::AttentionInput(layer)))?;
            arrival = self.arrival(layer, Norm::AttentionPost);
            let mixer = self.weights.layer(layer).mixer();
            // What follows for a token in the last layer meets no other one but in the cache or a state.
            let mut goes_on_alone = layer + 1 == h.layers;
            if mixer.recurs() {
                self.project(layer, t);
            }
            if mixer.attends() {
                self.multiply(layer, &QKV, h.embedding, t);
                self.prepare(layer, t)
                    .and_then(|()| self.store(layer, t))
                    .map_err(|NotFinite| Error::NotFinite(Place::Heads(layer)))?;
                if goes_on_alone && !mixer.recurs() {
                    goes_on_alone = false;
                    t = self.keep_wanted(qkv_row(&self.weights, layer));
                    if t == 0 {
                        return Ok(());
                    }
                }
                self.absorb(layer, t)
                    .and_then(|()| self.attend(layer, t))
                    .map_err(|NotFinite| Error::NotFinite(Place::Heads(layer)))?;
                self.gather(layer, t)
                    .and_then(|()| self.expand(layer, t))
                    .map_err(|NotFinite| Error::NotFinite(Place::AttentionOutput(layer)))?;
                self.multiply(layer, &[Weight::Output], self.weights.layer(layer).out_dim(), t);
            }
            // Other mixers, which carry a state: x += W mix(W norm(x), state)
            if mixer.recurs() {
                self.recur(layer, t).map_err(|NotFinite| Error::NotFinite(Place::Recurrent(layer)))?;
            }
            if goes_on_alone {
                t = self.keep_wanted(0);
                if t == 0 {
                    return Ok(());
                }
            }
            if !self.weights.layer(layer).has_feed_forward() {
                continue;
            }

            // Feed-forward: x += Wdown (silu(Wgate norm(x)) * (Wup norm(x))), of the x before attention or after it
            self.norm(arrival, self.weights.norm(layer, Norm::FeedForward), t, spec.parallel)
                .map_err(|NotFinite| Error::NotFinite(Place::FeedForwardInput(layer)))?;
            arrival = self.arrival(layer, Norm::FeedForwardPost);
            if self.weights.layer(layer).has_experts() {
                self.experts(layer, t)
            } else {
                self.feed_forward(layer, t)
            }
            .map_err(|NotFinite| Error::NotFinite(Place::FeedForwardHidden(layer)))?;

            // The layer's own input: x += Wproj (gelu(Wgate x) * input)
            if self.model.layer_inputs().is_some() {
                self.norm(arrival, None, t, false)
                    .and_then(|()| self.layer_input(layer, t))
                    .map_err(|NotFinite| Error::NotFinite(Place::FeedForwardHidden(layer)))?;
                arrival = self.arrival(layer, Norm::InputPost);
            }
        }
        Ok(())
    }

    /// Lets the residual stream, and what flows beside it, go on for the tokens alone whose outputs are wanted, and counts
    /// them. Of `wide` each has a row of so many numbers.
    fn keep_wanted(&mut self, wide_row: usize) -> usize {
        let h = self.model.hyperparameters();
        let (e, own) = (h.embedding, h.layers * h.layer_input);
        let Buffers { residual, delta, layer_inputs, wide, .. } = &mut *self.buffers;
        let mut count = 0;
        for rows in self.batch.outputs() {
            if rows.start > count {
                let flows = [(&mut **residual, e), (delta, e), (layer_inputs, own), (wide, wide_row)];
                for (rows_of, len) in flows {
                    rows_of.copy_within(rows.start * len..rows.end * len, count * len);
                }
            }
            count += rows.len();
        }
        if count < self.batch.tokens() {
            self.batch = self.batch.wanted();
            self.angles(count);
        }
        count
    }

    /// The logits of some of the tokens whose outputs are wanted: head norm(x), rows of `vocabulary` values. Once for each
    /// token.
    pub fn head(&mut self, tokens: Range<usize>, logits: &mut [f32]) -> Result<(), Error> {
        let (h, model, level) = (*self.model.hyperparameters(), self.model, self.level);
        let (e, count) = (h.embedding, tokens.len());
        let (norm, norms, arrival) =
            (self.weights.final_norm(), Norms::new(model, level), self.last_arrival());
        let b = &mut *self.buffers;
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        let rows = tokens.start * e..tokens.end * e;
        let arriving = Arriving { arrival, model, norms, delta: &b.delta[rows.clone()] };
        let parts = (Chunks::new(&mut b.residual[rows], e), b.input.parts(count, e, e));
        share_out(few(count, self.workers), parts, &mut scratch, |row, (x, input), lines| {
            arriving.at(row, x, lines)?;
            enter(level, input, e, lines, |out, _| norms.apply_some(x, norm.as_ref(), out))
        })
        .map_err(|NotFinite| Error::NotFinite(Place::FinalNorm))?;
        let logits = &mut logits[..count * h.vocabulary];
        matmul(level, self.workers, &[*model.head()], &b.input.read(count, e), logits, &mut scratch);
        let bias = self.weights.head_bias();
        if bias.is_some() || h.logit_scale != 1.0 || h.logit_cap > 0.0 {
            let chunk = h.vocabulary.div_ceil(self.workers.count());
            let parts = Stretches::new(logits, h.vocabulary, 0..h.vocabulary, chunk);
            let parts_of_a_row = h.vocabulary.div_ceil(chunk);
            let done = share_out(self.workers, parts, &mut scratch, |part, logits, _| {
                if let Some(bias) = bias {
                    elementwise::add(logits, &bias[part % parts_of_a_row * chunk..][..logits.len()]);
                }
                if h.logit_scale != 1.0 {
                    elementwise::scale(logits, h.logit_scale);
                }
                if h.logit_cap > 0.0 {
                    elementwise::soft_cap(level, logits, h.logit_cap);
                }
                Ok(())
            });
            debug_assert_eq!(done, Ok(()));
        }
        Ok(())
    }

    /// Cosine and sine of every pair at every position of the batch.
    fn angles(&mut self, tokens: usize) {
        let (workers, batch) = (few(tokens, self.workers), self.batch);
        let b = &mut *self.buffers;
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        let mut done = 0;
        for (i, rope) in self.model.hyperparameters().ropes.iter().enumerate() {
            let (pairs, magnitude) = (rope.dims / 2, rope.magnitude());
            if pairs == 0 {
                continue;
            }
            let frequencies = self.weights.frequencies(i);
            let at = done..done + tokens * pairs;
            done = at.end;
            let parts = (Chunks::new(&mut b.cos[at.clone()], pairs), Chunks::new(&mut b.sin[at], pairs));
            let finite = share_out(workers, parts, &mut scratch, |t, (cos, sin), _| {
                rope::angles(frequencies, magnitude, batch.at(t).1, cos, sin);
                Ok(())
            });
            debug_assert_eq!(finite, Ok(()));
        }
    }

    /// Multiplies `input` by those of a stack of matrices that the layer has, into `wide`, or into `delta` where it returns to
    /// the residual stream.
    fn multiply(&mut self, layer: usize, stack: &[Weight], cols: usize, tokens: usize) {
        let b = &mut *self.buffers;
        let returns = matches!(
            stack,
            [Weight::Output
                | Weight::Down
                | Weight::InputProjection
                | Weight::ConvolutionOut
                | Weight::StateOut]
        );
        let out = if returns { &mut *b.delta } else { &mut *b.wide };
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        let product = Product { level: self.level, workers: self.workers, weights: self.weights, layer };
        product.of(stack, &b.input, (tokens, cols), out, &mut scratch);
    }
}

/// Products with matrices of a layer.
struct Product<'p, 'a> {
    level: Level,
    workers: &'p dyn Workers,
    weights: Weights<'a>,
    layer: usize,
}

impl Product<'_, '_> {
    /// `out[t] = stack input[t]`, biases added.
    #[inline(never)]
    fn of(
        &self,
        stack: &[Weight],
        input: &Input<'_>,
        (tokens, cols): (usize, usize),
        out: &mut [f32],
        scratch: &mut Scratch<'_>,
    ) {
        let (weights, layer) = (self.weights, self.layer);
        let mut matrices: heapless::Vec<Matrix<'_>, 4> = heapless::Vec::new();
        matrices.extend(stack.iter().filter_map(|weight| weights.matrix(layer, *weight)));
        let rows: usize = matrices.iter().map(Matrix::rows).sum();
        let out = &mut out[..tokens * rows];
        matmul(self.level, self.workers, &matrices, &input.read(tokens, cols), out, scratch);
        if stack.iter().all(|weight| weights.bias(layer, *weight).is_none()) {
            return;
        }
        let parts = Chunks::new(out, rows);
        let done = share_out(few(tokens, self.workers), parts, scratch, |_, mut out, _| {
            for weight in stack {
                let rows = weights.matrix(layer, *weight).map_or(0, |matrix| matrix.rows());
                let (row, rest) = out.split_at_mut(rows);
                if let Some(bias) = weights.bias(layer, *weight) {
                    elementwise::add(row, bias);
                }
                out = rest;
            }
            Ok(())
        });
        debug_assert_eq!(done, Ok(()));
    }
}

/// Who does a step that takes a token less than a microsecond: all workers for several tokens, the caller for one.
fn few(tokens: usize, workers: &dyn Workers) -> &dyn Workers {
    if tokens > 1 { workers } else { &Alone }
}
