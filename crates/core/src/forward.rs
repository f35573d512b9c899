//! The forward pass: tokens in, logits out. ONE for all architectures; what differs is read from the `Spec`.
//!
//! Shapes: t tokens of the batch, e the embedding's length, h query heads and g KV heads of d values, f the
//! feed-forward length. Every step runs on all workers and returns when all are done.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use stonechat_kernels::attention::{self, Cache, Head};
use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::split::{Chunks, Split};
use stonechat_kernels::{
    Activations, Level, Line, Matrix, QuantizedMut, Scratch, ScratchSize, Workers, matmul,
};

use crate::model::{Norm, Weight};
use crate::plan::ActivationMode;
use crate::session::Weights;
use crate::{Error, Model, Place, rope};

/// Keys or values of all layers: layers x KV heads x context x `head_dim`.
pub(crate) enum KvBuffer<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [u16]),
}

impl KvBuffer<'_> {
    /// Stores one head's key or value.
    fn store(&mut self, level: Level, at: usize, values: &[f32]) {
        match self {
            Self::F32(buffer) => buffer[at..at + values.len()].copy_from_slice(values),
            Self::F16(buffer) => elementwise::to_f16(level, values, &mut buffer[at..at + values.len()]),
        }
    }

    fn view(&self, range: Range<usize>) -> Cache<'_> {
        match self {
            Self::F32(buffer) => Cache::F32(&buffer[range]),
            Self::F16(buffer) => Cache::F16(&buffer[range]),
        }
    }
}

pub(crate) struct KvCache<'a> {
    pub keys: KvBuffer<'a>,
    pub values: KvBuffer<'a>,
    pub context: usize,
}

/// The arena's regions for what flows through the layers.
pub(crate) struct Buffers<'a> {
    /// t x e: the residual stream.
    pub residual: &'a mut [f32],
    /// t x widest: what enters a matrix, in f32 ...
    pub input: &'a mut [f32],
    /// ... and in int8: values, scales and sums.
    pub q: &'a mut [i8],
    pub d: &'a mut [f32],
    pub sums: &'a mut [i16],
    /// t x (h d + 2 g d) for q, k and v of each token, or t x 2 f for gate and up.
    pub wide: &'a mut [f32],
    /// t x e: what is added to the residual stream.
    pub delta: &'a mut [f32],
    /// t x pairs.
    pub cos: &'a mut [f32],
    pub sin: &'a mut [f32],
    pub scratch: &'a mut [Line],
    pub scratch_size: ScratchSize,
    pub batch: usize,
    pub outputs: usize,
    pub activations: ActivationMode,
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

impl Pass<'_, '_> {
    /// Runs `tokens`, of which the first stands at `position`, through all layers; leaves the residual stream.
    pub fn layers(&mut self, tokens: &[u32], position: usize) -> Result<(), Error> {
        let h = *self.model.hyperparameters();
        self.embed(tokens);
        self.angles(tokens.len(), position);
        for layer in 0..h.layers {
            // Attention: x += Wo attend(rope(Wq norm(x)), ...)
            self.norm(self.weights.norm(layer, Norm::Attention, h.embedding), tokens.len())
                .map_err(|NotFinite| Error::NotFinite(Place::AttentionInput(layer)))?;
            self.multiply(layer, &[Weight::Q, Weight::K, Weight::V], h.embedding, tokens.len());
            self.rotate(tokens.len());
            self.store(layer, tokens.len(), position);
            self.attend(layer, tokens.len(), position);
            self.quantize(h.q_dim(), tokens.len())
                .map_err(|NotFinite| Error::NotFinite(Place::AttentionOutput(layer)))?;
            self.multiply(layer, &[Weight::Output], h.q_dim(), tokens.len());
            self.add_delta(tokens.len());

            // Feed-forward: x += Wdown (silu(Wgate norm(x)) * (Wup norm(x)))
            self.norm(self.weights.norm(layer, Norm::FeedForward, h.embedding), tokens.len())
                .map_err(|NotFinite| Error::NotFinite(Place::FeedForwardInput(layer)))?;
            self.multiply(layer, &[Weight::Gate, Weight::Up], h.embedding, tokens.len());
            self.gate(tokens.len());
            self.quantize(h.feed_forward, tokens.len())
                .map_err(|NotFinite| Error::NotFinite(Place::FeedForwardHidden(layer)))?;
            self.multiply(layer, &[Weight::Down], h.feed_forward, tokens.len());
            self.add_delta(tokens.len());
        }
        Ok(())
    }

    /// The logits of the given tokens of the batch: head norm(x), rows of `vocabulary` values.
    pub fn head(&mut self, tokens: Range<usize>, logits: &mut [f32]) -> Result<(), Error> {
        let h = self.model.hyperparameters();
        let (e, count) = (h.embedding, tokens.len());
        let norm = self.weights.final_norm(e);
        for (row, token) in tokens.enumerate() {
            let x = &self.buffers.residual[token * e..][..e];
            let out = &mut self.buffers.input[row * e..][..e];
            elementwise::rms_norm(self.level, x, norm, h.norm_eps, out)
                .map_err(|NotFinite| Error::NotFinite(Place::FinalNorm))?;
        }
        self.quantize(e, count).map_err(|NotFinite| Error::NotFinite(Place::FinalNorm))?;
        let b = &mut *self.buffers;
        let x = input(b.input, b.q, b.d, b.sums, b.activations, e, count);
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        let logits = &mut logits[..count * h.vocabulary];
        matmul(self.level, self.workers, &[*self.model.head()], &x, logits, &mut scratch);
        Ok(())
    }

    /// residual[t] = embedding[token t]
    fn embed(&mut self, tokens: &[u32]) {
        let embedding = self.model.embedding();
        let rows = self.buffers.residual.chunks_exact_mut(embedding.cols());
        for (token, out) in tokens.iter().zip(rows) {
            embedding.read_row(*token as usize, |columns, bytes| {
                elementwise::dequantize(self.level, embedding.format(), bytes, &mut out[columns]);
            });
        }
    }

    /// Cosine and sine of every pair at every position of the batch.
    fn angles(&mut self, tokens: usize, position: usize) {
        let rope = &self.model.hyperparameters().rope;
        let pairs = rope.dims / 2;
        let frequencies = self.weights.frequencies(pairs);
        let b = &mut *self.buffers;
        for t in 0..tokens {
            let row = t * pairs..(t + 1) * pairs;
            let (cos, sin) = (&mut b.cos[row.clone()], &mut b.sin[row]);
            rope::angles(frequencies, rope.magnitude(), position + t, cos, sin);
        }
    }

    /// `input[t] = rms_norm(residual[t]) * weight`, also in int8
    fn norm(&mut self, weight: &[f32], tokens: usize) -> Result<(), NotFinite> {
        let (level, eps, e) = (self.level, self.model.hyperparameters().norm_eps, weight.len());
        let residual = &self.buffers.residual[..tokens * e];
        let out = Split::new(Chunks::new(&mut self.buffers.input[..tokens * e], e));
        let failed = AtomicBool::new(false);
        self.workers.run(&|| {
            while let Some((t, out)) = out.claim() {
                if elementwise::rms_norm(level, &residual[t * e..][..e], weight, eps, out).is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            }
        });
        if failed.into_inner() { Err(NotFinite) } else { self.quantize(e, tokens) }
    }

    /// The int8 form of `input`, where matrices may ask for it.
    fn quantize(&mut self, cols: usize, tokens: usize) -> Result<(), NotFinite> {
        let (level, b) = (self.level, &mut *self.buffers);
        if !has_int8(b.activations, cols) {
            let finite = b.input[..tokens * cols].iter().all(|x| x.is_finite());
            return if finite { Ok(()) } else { Err(NotFinite) };
        }
        let input = &b.input[..tokens * cols];
        let mut out = QuantizedMut { q: b.q, d: b.d, sums: b.sums };
        let mut out = out.first(tokens, cols);
        let out = Split::new(out.tokens(cols));
        let failed = AtomicBool::new(false);
        self.workers.run(&|| {
            while let Some((t, (q, d, sums))) = out.claim() {
                let mut row = QuantizedMut { q, d, sums };
                if elementwise::quantize(level, &input[t * cols..][..cols], &mut row).is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            }
        });
        if failed.into_inner() { Err(NotFinite) } else { Ok(()) }
    }

    /// Multiplies `input` by a stack of matrices, into `wide`, or into `delta` where it returns to the residual stream.
    fn multiply(&mut self, layer: usize, stack: &[Weight], cols: usize, tokens: usize) {
        let mut matrices: heapless::Vec<Matrix<'_>, 3> = heapless::Vec::new();
        matrices.extend(stack.iter().map(|weight| self.weights.matrix(layer, *weight)));
        let rows: usize = matrices.iter().map(Matrix::rows).sum();
        let b = &mut *self.buffers;
        let x = input(b.input, b.q, b.d, b.sums, b.activations, cols, tokens);
        let out = if matches!(stack, [Weight::Output | Weight::Down]) { &mut *b.delta } else { &mut *b.wide };
        let out = &mut out[..tokens * rows];
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        matmul(self.level, self.workers, &matrices, &x, out, &mut scratch);
        let mut from = 0;
        for (weight, matrix) in stack.iter().zip(&matrices) {
            if let Some(bias) = self.weights.bias(layer, *weight) {
                for out in out.chunks_exact_mut(rows) {
                    elementwise::add(&mut out[from..from + matrix.rows()], bias);
                }
            }
            from += matrix.rows();
        }
    }

    /// Rotates q and k of every token.
    fn rotate(&mut self, tokens: usize) {
        let h = self.model.hyperparameters();
        let (level, rotation, d) = (self.level, self.model.spec().rotation, h.head_dim);
        let (width, rotated, pairs) = (h.q_dim() + 2 * h.kv_dim(), h.q_dim() + h.kv_dim(), h.rope.dims / 2);
        let b = &mut *self.buffers;
        let (cos, sin) = (&*b.cos, &*b.sin);
        let rows = Split::new(Chunks::new(&mut b.wide[..tokens * width], width));
        self.workers.run(&|| {
            while let Some((t, row)) = rows.claim() {
                let at = t * pairs..(t + 1) * pairs;
                elementwise::rope(level, rotation, &cos[at.clone()], &sin[at], d, &mut row[..rotated]);
            }
        });
    }

    /// Stores k and v of every token in the cache.
    fn store(&mut self, layer: usize, tokens: usize, position: usize) {
        let h = self.model.hyperparameters();
        let (d, kv) = (h.head_dim, h.kv_dim());
        let width = h.q_dim() + 2 * kv;
        for (t, row) in self.buffers.wide.chunks_exact(width).take(tokens).enumerate() {
            let (k, v) = row[h.q_dim()..].split_at(kv);
            for (g, (k, v)) in k.chunks_exact(d).zip(v.chunks_exact(d)).enumerate() {
                let at = ((layer * h.kv_heads + g) * self.cache.context + position + t) * d;
                self.cache.keys.store(self.level, at, k);
                self.cache.values.store(self.level, at, v);
            }
        }
    }

    /// input[t] = softmax(q k / sqrt(d)) v, all heads of a token one after another
    fn attend(&mut self, layer: usize, tokens: usize, position: usize) {
        let h = *self.model.hyperparameters();
        let (level, d, group) = (self.level, h.head_dim, h.heads / h.kv_heads);
        let width = h.q_dim() + 2 * h.kv_dim();
        let scale = 1.0 / libm::sqrtf(d as f32);
        let b = &mut *self.buffers;
        let wide = &*b.wide;
        let (keys, values, context) = (&self.cache.keys, &self.cache.values, self.cache.context);
        let out = Split::new(Chunks::new(&mut b.input[..tokens * h.q_dim()], group * d));
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        let scratch = scratch.split();
        self.workers.run(&|| {
            let Some((_, lines)) = scratch.claim() else { return };
            while let Some((part, out)) = out.claim() {
                let (t, g) = (part / h.kv_heads, part % h.kv_heads);
                let queries = &wide[t * width + g * group * d..][..group * d];
                let head = (layer * h.kv_heads + g) * context * d;
                let positions = 0..position + t + 1;
                let reach = head..head + positions.end * d;
                let head = Head {
                    positions: &positions,
                    keys: keys.view(reach.clone()),
                    values: values.view(reach),
                    scale,
                };
                attention::attend(level, &head, d, queries, out, lines);
            }
        });
    }

    /// input[t] = silu(gate[t]) * up[t]
    fn gate(&mut self, tokens: usize) {
        let (level, f) = (self.level, self.model.hyperparameters().feed_forward);
        let b = &mut *self.buffers;
        let wide = &*b.wide;
        let out = Split::new(Chunks::new(&mut b.input[..tokens * f], f));
        self.workers.run(&|| {
            while let Some((t, out)) = out.claim() {
                let (gate, up) = wide[t * 2 * f..][..2 * f].split_at(f);
                elementwise::silu_mul(level, gate, up, out);
            }
        });
    }

    /// residual += delta
    fn add_delta(&mut self, tokens: usize) {
        let len = tokens * self.model.hyperparameters().embedding;
        elementwise::add(&mut self.buffers.residual[..len], &self.buffers.delta[..len]);
    }
}

/// Whether rows of `cols` activations have an int8 form: whole blocks of 32, and asked for.
fn has_int8(activations: ActivationMode, cols: usize) -> bool {
    activations == ActivationMode::Q8 && cols.is_multiple_of(32)
}

/// What enters a matrix, of `tokens` rows of `cols`.
fn input<'b>(
    f32: &'b [f32],
    q: &'b [i8],
    d: &'b [f32],
    sums: &'b [i16],
    activations: ActivationMode,
    cols: usize,
    tokens: usize,
) -> Activations<'b> {
    let len = tokens * cols;
    let quantized = has_int8(activations, cols).then(|| stonechat_kernels::Quantized {
        q: &q[..len],
        d: &d[..len / 32],
        sums: &sums[..len / 16],
    });
    Activations { cols, f32: &f32[..len], quantized }
}
