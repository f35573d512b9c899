//! Norms of rows, and what happens to the residual stream before one is taken of it.

use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::Chunks;
use stonechat_kernels::{Level, Line, Scratch, Workers};

use super::rows::{enter, share_out};
use super::{Batch, Buffers, Pass, few};
use crate::Model;
use crate::arch::NormKind;
use crate::model::Norm;
use crate::session::NormWeights;

/// What a norm does in this model, beside its weights.
#[derive(Clone, Copy)]
pub(super) struct Norms {
    pub level: Level,
    kind: NormKind,
    eps: f32,
}

impl Norms {
    pub fn new(model: &Model<'_>, level: Level) -> Self {
        Self { level, kind: model.spec().norm, eps: model.hyperparameters().norm_eps }
    }

    /// `out = norm(x)`
    #[inline(never)]
    pub fn apply(&self, x: &[f32], by: &NormWeights<'_>, out: &mut [f32]) -> Result<(), NotFinite> {
        match self.kind {
            NormKind::Rms => elementwise::rms_norm(self.level, x, by.weight, self.eps, out),
            NormKind::Layer => elementwise::layer_norm(self.level, x, by.weight, by.bias, self.eps, out),
        }
    }

    /// `out = norm(x)`, or `x` itself where there is no norm.
    pub fn apply_some(
        &self,
        x: &[f32],
        by: Option<&NormWeights<'_>>,
        out: &mut [f32],
    ) -> Result<(), NotFinite> {
        let Some(by) = by else {
            out.copy_from_slice(x);
            return Ok(());
        };
        self.apply(x, by, out)
    }

    /// `x = norm(x)`
    #[inline(never)]
    pub fn in_place(&self, x: &mut [f32], by: &NormWeights<'_>, lines: &mut [Line]) -> Result<(), NotFinite> {
        let (copy, _) = carve::<f32>(lines, x.len());
        copy.copy_from_slice(x);
        self.apply(copy, by, x)
    }
}

/// What happens to the residual stream before it is normalised.
#[derive(Clone, Copy)]
pub(super) enum Arrival<'t> {
    /// residual[t] = norm(embedding[token t])
    Embedding { batch: Batch<'t>, norm: Option<NormWeights<'t>> },
    /// residual = sum((residual + norm(delta)) scale), where `sum` is a norm, too.
    Delta { norm: Option<NormWeights<'t>>, sum: Option<NormWeights<'t>>, scale: f32 },
    /// Nothing.
    Nothing,
}

/// What an arrival takes beside itself.
#[derive(Clone, Copy)]
pub(super) struct Arriving<'t> {
    pub arrival: Arrival<'t>,
    pub model: &'t Model<'t>,
    pub norms: Norms,
    /// t x e.
    pub delta: &'t [f32],
}

impl Arriving<'_> {
    /// Lets it arrive at row `t`.
    #[inline(never)]
    pub fn at(&self, t: usize, x: &mut [f32], lines: &mut [Line]) -> Result<(), NotFinite> {
        let h = self.model.hyperparameters();
        let level = self.norms.level;
        match self.arrival {
            Arrival::Embedding { batch, norm } => {
                let ((token, position), embedding) = (batch.at(t), self.model.embedding());
                embedding.read_row(token as usize, |columns, bytes| {
                    elementwise::dequantize(level, embedding.format(), bytes, &mut x[columns]);
                });
                if h.embedding_scale != 1.0 {
                    elementwise::scale(x, h.embedding_scale);
                }
                let vectors = [(self.model.token_types(), 0), (self.model.positions(), position)];
                for (vectors, number) in vectors {
                    let Some(vectors) = vectors else { continue };
                    let (row, _) = carve::<f32>(lines, x.len());
                    vectors.read_row(number, |columns, bytes| {
                        elementwise::dequantize(level, vectors.format(), bytes, &mut row[columns]);
                    });
                    elementwise::add(x, row);
                }
                if let Some(norm) = norm {
                    self.norms.in_place(x, &norm, lines)?;
                }
            }
            Arrival::Delta { norm, sum, scale } => {
                let mut delta = &self.delta[t * x.len()..][..x.len()];
                let (row, _) = carve::<f32>(lines, x.len());
                if let Some(norm) = norm {
                    self.norms.apply(delta, &norm, row)?;
                    delta = row;
                }
                match h.residual_scale {
                    1.0 => elementwise::add(x, delta),
                    scale => elementwise::add_scaled(x, delta, scale),
                }
                if scale != 1.0 {
                    elementwise::scale(x, scale);
                }
                if let Some(sum) = sum {
                    self.norms.in_place(x, &sum, lines)?;
                }
            }
            Arrival::Nothing => {}
        }
        Ok(())
    }
}

impl<'p, 'a> Pass<'p, 'a> {
    /// What a branch of a layer gives back to the residual stream.
    pub(super) fn arrival(&self, number: usize, norm: Norm) -> Arrival<'a> {
        // Whatever branch is the layer's last also ends it.
        let last = match self.model.layer_inputs() {
            Some(_) => norm == Norm::InputPost,
            None => norm == Norm::FeedForwardPost,
        };
        let scale = if last { self.weights.output_scale(number) } else { 1.0 };
        let sum = match norm {
            Norm::AttentionPost => self.weights.norm(number, Norm::AttentionSum),
            Norm::FeedForwardPost => self.weights.norm(number, Norm::FeedForwardSum),
            _ => None,
        };
        Arrival::Delta { norm: self.weights.norm(number, norm), sum, scale }
    }

    /// The tokens' embedding.
    pub(super) fn embedding(&self) -> Arrival<'p>
    where
        'a: 'p,
    {
        Arrival::Embedding { batch: self.batch, norm: self.weights.embedding_norm() }
    }

    /// What the last layer gives back.
    pub(super) fn last_arrival(&self) -> Arrival<'a> {
        let last = self.model.hyperparameters().layers - 1;
        let is_input = self.model.layer_inputs().is_some();
        self.arrival(last, if is_input { Norm::InputPost } else { Norm::FeedForwardPost })
    }

    /// What arrives, and then `input[t] = norm(residual[t])`, or `residual[t]` itself where there is no norm. What arrives
    /// `late` does so after the norm was taken.
    pub(super) fn norm(
        &mut self,
        arrival: Arrival<'_>,
        norm: Option<NormWeights<'_>>,
        tokens: usize,
        late: bool,
    ) -> Result<(), NotFinite> {
        let (model, level, e) = (self.model, self.level, self.model.hyperparameters().embedding);
        let norms = Norms::new(model, level);
        let workers: &dyn Workers = few(tokens, self.workers);
        let Buffers { residual, delta, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let arriving = Arriving { arrival, model, norms, delta };
        let parts = (Chunks::new(&mut residual[..tokens * e], e), input.parts(tokens, e, e));
        let mut scratch = Scratch::new(scratch, *scratch_size);
        share_out(workers, parts, &mut scratch, |t, (x, input), lines| {
            if !late {
                arriving.at(t, x, lines)?;
            }
            enter(level, input, e, lines, |out, _| norms.apply_some(x, norm.as_ref(), out))?;
            if late { arriving.at(t, x, lines) } else { Ok(()) }
        })
    }

    /// `input[t] = norm(input[t])`, whose f32 form is there.
    pub(super) fn norm_again(
        &mut self,
        norm: &NormWeights<'_>,
        cols: usize,
        tokens: usize,
    ) -> Result<(), NotFinite> {
        let (norms, level) = (Norms::new(self.model, self.level), self.level);
        let Buffers { input, scratch, scratch_size, .. } = &mut *self.buffers;
        let parts = input.parts_with_f32(tokens, cols, cols);
        let mut scratch = Scratch::new(scratch, *scratch_size);
        share_out(few(tokens, self.workers), parts, &mut scratch, |_, row, lines| {
            enter(level, row, cols, lines, |row, lines| norms.in_place(row, norm, lines))
        })
    }
}
