//! What mixers with a state share: the matrices before and after, and the convolution between them.
//!
//! In: the normalised residual stream in `input`. Out: what returns to it in `delta`. Workers share out channels or heads
//! and walk with them through all sequences of a batch, and through the tokens of each one after another, so that bits do
//! not depend on the batch.

use core::ops::Range;

use stonechat_kernels::elementwise::NotFinite;
use stonechat_kernels::recurrent::{self, Convolution};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::{Chunks, Columns, Planes};
use stonechat_kernels::{Level, Line, Scratch, Workers, elementwise};

use super::attention::qkv_row;
use super::rows::{enter, share_out};
use super::{Batch, Buffers, Pass, Product, few};
use crate::arch::Mixer;
use crate::model::{Recurrent, StateVector, Weight};
use crate::session::Weights;

/// How many channels a worker convolves at a time.
const CHANNELS: usize = 256;

/// The scratch lines that a worker needs between the matrices of such a mixer.
pub(crate) fn recurrent_scratch(r: &Recurrent) -> Option<usize> {
    // A ring of inputs of some channels; rows that read and write the state, and what a head or some channels take.
    let window = r.taps.checked_mul(CHANNELS.min(r.channels()))?;
    let head = if r.heads == 0 { 0 } else { r.head_dim() };
    let step = r.row().checked_mul(4)?.checked_add(4 * head.max(super::mamba::CHANNELS))?;
    // A row of what the first matrices give, for files that have it in another order.
    window.max(step).max(r.projected()).checked_mul(4).map(|bytes| bytes.div_ceil(Line::BYTES) + 8)
}

impl Pass<'_, '_> {
    /// The first matrices: behind q, k and v, where the layer has them.
    pub(super) fn project(&mut self, layer: usize, tokens: usize) {
        const DELTA: [Weight; 6] = [
            Weight::Qkv,
            Weight::StateIn,
            Weight::StateGate,
            Weight::StateBetaAlpha,
            Weight::StateBeta,
            Weight::StateAlpha,
        ];
        let stack = match self.weights.layer(layer).mixer() {
            Mixer::ShortConvolution => &[Weight::ConvolutionIn][..],
            Mixer::DeltaNet => &DELTA,
            _ => &[Weight::StateIn],
        };
        let e = self.model.hyperparameters().embedding;
        let from = self.before(layer, tokens);
        let product = Product { level: self.level, workers: self.workers, weights: self.weights, layer };
        let b = &mut *self.buffers;
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        product.of(stack, &b.input, (tokens, e), &mut b.wide[from..], &mut scratch);
    }

    /// What q, k and v of a layer take in `wide`.
    pub(super) fn before(&self, layer: usize, tokens: usize) -> usize {
        let attends = self.weights.layer(layer).mixer().attends();
        if attends { tokens * qkv_row(&self.weights, layer) } else { 0 }
    }

    /// All from the first matrices to the last.
    pub(super) fn recur(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let inner = self.model.hyperparameters().recurrent.inner;
        match self.weights.layer(layer).mixer() {
            Mixer::Attention => return Ok(()),
            Mixer::ShortConvolution => self.short_convolution(layer, tokens),
            Mixer::Mamba => self.mamba(layer, tokens),
            Mixer::Mamba2 | Mixer::AttentionAndMamba2 => self.mamba2(layer, tokens),
            Mixer::DeltaNet => self.delta_net(layer, tokens),
        }?;
        match self.weights.layer(layer).mixer() {
            Mixer::ShortConvolution => self.multiply(layer, &[Weight::ConvolutionOut], inner, tokens),
            Mixer::AttentionAndMamba2 => self.add_state_out(layer, tokens),
            _ => self.multiply(layer, &[Weight::StateOut], inner, tokens),
        }
        Ok(())
    }

    /// `delta += W input`, behind what attention gave.
    fn add_state_out(&mut self, layer: usize, tokens: usize) {
        let h = self.model.hyperparameters();
        let (e, inner) = (h.embedding, h.recurrent.inner);
        let product = Product { level: self.level, workers: self.workers, weights: self.weights, layer };
        let b = &mut *self.buffers;
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        product.of(&[Weight::StateOut], &b.input, (tokens, inner), b.wide, &mut scratch);
        let (wide, parts) = (&*b.wide, Chunks::new(&mut b.delta[..tokens * e], e));
        let done = share_out(few(tokens, self.workers), parts, &mut scratch, |t, delta, _| {
            elementwise::add(delta, &wide[t * e..][..e]);
            Ok(())
        });
        debug_assert_eq!(done, Ok(()));
    }

    /// Lets the rows of `inner` numbers in `input` enter the last matrix, as `finish` makes them: it is given a token, its
    /// row, and a second one as scratch memory.
    pub(super) fn leave(
        &mut self,
        tokens: usize,
        from: usize,
        finish: impl Fn(&[f32], &mut [f32], &mut [f32]) -> Result<(), NotFinite> + Sync,
    ) -> Result<(), NotFinite> {
        let (level, r) = (self.level, self.model.hyperparameters().recurrent);
        let Buffers { input, wide, scratch, scratch_size, .. } = &mut *self.buffers;
        let projected = &wide[from..][..tokens * r.projected()];
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let parts = input.parts_with_f32(tokens, r.inner, r.inner);
        share_out(few(tokens, self.workers), parts, &mut scratch, |t, row, lines| {
            enter(level, row, r.inner, lines, |row, lines| {
                let (copy, _) = carve::<f32>(lines, r.inner);
                finish(&projected[t * r.projected()..][..r.projected()], row, copy)
            })
        })
    }
}

/// What a layer carries from token to token, in each sequence.
pub(super) struct States<'s> {
    all: &'s mut [f32],
    /// The numbers of a sequence, and those of this layer among them.
    of_sequence: usize,
    layer: Range<usize>,
    /// How many of these are the last inputs of the convolution.
    tail: usize,
}

impl<'s> States<'s> {
    pub fn new(all: &'s mut [f32], sequences: usize, from: usize, r: &Recurrent) -> Self {
        let of_sequence = all.len() / sequences;
        Self { all, of_sequence, layer: from..from + r.state_len().unwrap_or(0), tail: r.tail() }
    }

    /// The last inputs of the convolution, in parts of some channels.
    fn tails(&mut self, channels: usize, chunk: usize) -> Planes<'_> {
        let tail = self.layer.start..self.layer.start + self.tail;
        Planes::new(self.all, self.of_sequence, tail, channels, chunk)
    }

    /// What lies behind them, as one row, in parts of so many numbers.
    pub fn rows(&mut self, chunk: usize) -> Planes<'_> {
        let rows = self.layer.start + self.tail..self.layer.end;
        let width = rows.len();
        Planes::new(self.all, self.of_sequence, rows, width, chunk)
    }
}

/// The convolution of a layer, over tokens whose inputs `source` gives.
pub(super) struct Taps<'b> {
    level: Level,
    r: Recurrent,
    convolution: Convolution<'b>,
}

impl<'b> Taps<'b> {
    pub fn new(level: Level, r: &Recurrent, weights: &Weights<'b>, layer: usize, silu: bool) -> Self {
        let convolution = Convolution {
            taps: r.taps,
            weights: weights.state_vector(layer, StateVector::Taps).unwrap_or_default(),
            stride: r.channels(),
            bias: weights.state_vector(layer, StateVector::TapsBias),
            silu,
        };
        Self { level, r: *r, convolution }
    }

    /// `out[t]` = the convolution of the inputs of token t and those before it, of which `states` hold the last.
    /// `source` writes the inputs of some channels of a token, and `finish` changes their outputs.
    pub fn over(
        &self,
        batch: &Batch<'_>,
        workers: &dyn Workers,
        (states, out): (&mut States<'_>, &mut [f32]),
        scratch: &mut Scratch<'_>,
        source: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
        finish: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
    ) -> Result<(), NotFinite> {
        let (taps, channels) = (self.r.taps, self.r.channels());
        let parts = (states.tails(channels, CHANNELS), Columns::new(out, channels, CHANNELS));
        share_out(few(batch.tokens(), workers), parts, scratch, |_, (mut tails, mut out), lines| {
            let columns = out.columns();
            let n = columns.len();
            let bias = self.convolution.bias.map(|bias| &bias[columns.clone()]);
            let weights = &self.convolution.weights[columns.start..];
            let by = Convolution { weights, bias, ..self.convolution };
            // A ring of inputs: that of token t lies `taps - 1` rows behind the oldest one that it needs.
            let (window, _) = carve::<f32>(lines, taps * n);
            for run in batch.runs() {
                let mut tail = tails.plane(run.sequence);
                for (i, row) in window.chunks_exact_mut(n).take(taps - 1).enumerate() {
                    row.copy_from_slice(tail.token(i));
                }
                for (i, t) in run.rows.clone().enumerate() {
                    let newest = (i + taps - 1) % taps;
                    source(t, columns.clone(), &mut window[newest * n..][..n]);
                    recurrent::convolve(self.level, &by, window, i % taps, out.token(t));
                    finish(t, columns.clone(), out.token(t));
                }
                for i in 0..taps - 1 {
                    tail.token(i).copy_from_slice(&window[(run.rows.len() + i) % taps * n..][..n]);
                }
            }
            Ok(())
        })
    }

    /// The same over inputs that lie in rows.
    pub fn over_rows(
        &self,
        batch: &Batch<'_>,
        workers: &dyn Workers,
        buffers: (&mut States<'_>, &mut [f32]),
        scratch: &mut Scratch<'_>,
        rows: Rows<'_>,
    ) -> Result<(), NotFinite> {
        let source = |t: usize, columns: Range<usize>, out: &mut [f32]| {
            out.copy_from_slice(&rows.all[t * rows.len + rows.first..][columns]);
        };
        self.over(batch, workers, buffers, scratch, source, |_, _, _| ())
    }
}

/// Rows of what matrices gave for tokens, of so many numbers, and where in a row the inputs of a convolution begin.
#[derive(Clone, Copy)]
pub(super) struct Rows<'b> {
    pub all: &'b [f32],
    pub len: usize,
    pub first: usize,
}

/// A row as long as those of the state: itself, or a copy with zeros behind it.
pub(super) fn padded<'s>(from: &'s [f32], copy: &'s mut [f32]) -> &'s [f32] {
    if from.len() == copy.len() {
        return from;
    }
    let (numbers, zeros) = copy.split_at_mut(from.len());
    numbers.copy_from_slice(from);
    zeros.fill(0.0);
    copy
}
