//! The feed-forward part without experts, and the layer's own input, which is like it.

use stonechat_kernels::Scratch;
use stonechat_kernels::elementwise::{self, Activation, NotFinite};
use stonechat_kernels::split::Chunks;
use stonechat_kernels::{Level, Workers, matmul};

use super::norm::Norms;
use super::rows::{Input, enter, share, share_out};
use super::{Buffers, Pass, few};
use crate::arch::Gate;
use crate::model::{Norm, Weight};

/// What makes a hidden vector of rows of `wide`.
#[derive(Clone, Copy)]
pub(super) struct Hidden {
    pub level: Level,
    pub activation: Activation,
    /// Whether a row is a gate and what it gates, one after the other.
    pub has_gate: bool,
    /// The length of the vector.
    pub len: usize,
}

impl Hidden {
    /// The length of a row of `wide`.
    pub const fn row(self) -> usize {
        if self.has_gate { 2 * self.len } else { self.len }
    }

    /// input[t] = activation(gate[t]) * up[t], for `rows` rows, also in f32 where `f32`.
    #[inline(never)]
    pub fn enter(
        self,
        rows: usize,
        wide: &[f32],
        input: &mut Input<'_>,
        workers: &dyn Workers,
        scratch: &mut Scratch<'_>,
        f32: bool,
    ) -> Result<(), NotFinite> {
        let (Self { level, activation, has_gate, len: f }, row) = (self, self.row());
        let chunk = if rows == 1 { share(f, workers.count()) } else { f };
        let parts = if f32 { input.parts_with_f32(rows, f, chunk) } else { input.parts(rows, f, chunk) };
        share_out(workers, parts, scratch, |part, input, lines| {
            let (t, from) = (part * chunk / f, part * chunk % f);
            let len = chunk.min(f - from);
            let (gate, up) = wide[t * row..][..row].split_at(f);
            enter(level, input, len, lines, |out, _| {
                let up = has_gate.then(|| &up[from..][..len]);
                elementwise::activate(level, activation, &gate[from..][..len], up, out);
                Ok(())
            })
        })
    }
}

impl Pass<'_, '_> {
    /// delta[t] = Wdown hidden(W input[t])
    pub(super) fn feed_forward(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let (e, f) = (self.model.hyperparameters().embedding, self.weights.layer(layer).feed_forward());
        self.multiply(layer, &[Weight::Gate, Weight::Up], e, tokens);
        let hidden = Hidden {
            level: self.level,
            activation: self.weights.activation(layer, self.model.spec().activation),
            has_gate: self.model.spec().gate != Gate::None,
            len: f,
        };
        let norm = self.weights.norm(layer, Norm::Hidden);
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        hidden.enter(tokens, wide, input, self.workers, &mut scratch, norm.is_some())?;
        if let Some(norm) = norm {
            self.norm_again(&norm, f, tokens)?;
        }
        self.multiply(layer, &[Weight::Down], f, tokens);
        Ok(())
    }

    /// Embeds the tokens, and makes each layer's own input of them: for every layer
    /// `(norm(W x / sqrt(e)) + sqrt(n) embedding[token]) / sqrt(2)`, n values.
    pub(super) fn layer_inputs(&mut self, t: usize) -> Result<(), NotFinite> {
        self.norm(self.embedding(), None, t, false)?;
        let Some(inputs) = self.model.layer_inputs() else { return Ok(()) };
        let (h, level) = (self.model.hyperparameters(), self.level);
        let (e, n, all) = (h.embedding, h.layer_input, h.layers * h.layer_input);
        let (norm, norms) = (self.weights.input_norm(), Norms::new(self.model, level));
        let batch = self.batch;
        let Buffers { input, layer_inputs, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let out = &mut layer_inputs[..t * all];
        matmul(level, self.workers, &[inputs.projection], &input.read(t, e), out, &mut scratch);
        let (down, up) = (1.0 / libm::sqrtf(e as f32), libm::sqrtf(n as f32));
        let parts = Chunks::new(out, all);
        share_out(few(t, self.workers), parts, &mut scratch, |t, out, lines| {
            elementwise::scale(out, down);
            for out in out.chunks_exact_mut(n) {
                norms.in_place(out, &norm, lines)?;
            }
            inputs.embedding.read_row(batch.at(t).0 as usize, |columns, bytes| {
                // Blocks of a row at a time: a row for all layers is longer than anything else.
                let format = inputs.embedding.format();
                let piece = format.block_len().max(32);
                let mut block = [0.0; 256];
                for (i, out) in out[columns].chunks_mut(piece).enumerate() {
                    let len = format.row_bytes(piece).unwrap_or(0);
                    let bytes = &bytes[i * len..bytes.len().min((i + 1) * len)];
                    let block = &mut block[..out.len()];
                    elementwise::dequantize(level, format, bytes, block);
                    elementwise::add_scaled(out, block, up);
                }
            });
            elementwise::scale(out, core::f32::consts::FRAC_1_SQRT_2);
            Ok(())
        })
    }

    /// delta[t] = Wproj (gelu(Wgate input[t]) * own input[t])
    pub(super) fn layer_input(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let (h, level) = (*self.model.hyperparameters(), self.level);
        let n = h.layer_input;
        self.multiply(layer, &[Weight::InputGate], h.embedding, tokens);
        let activation = self.model.spec().activation;
        let Buffers { wide, input, layer_inputs, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let (wide, own) = (&*wide, &*layer_inputs);
        let parts = input.parts(tokens, n, n);
        share_out(few(tokens, self.workers), parts, &mut scratch, |t, input, lines| {
            let own = &own[(t * h.layers + layer) * n..][..n];
            enter(level, input, n, lines, |out, _| {
                elementwise::activate(level, activation, &wide[t * n..][..n], Some(own), out);
                Ok(())
            })
        })?;
        self.multiply(layer, &[Weight::InputProjection], n, tokens);
        Ok(())
    }
}
