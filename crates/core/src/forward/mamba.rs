//! The state space of Mamba (Gu and Dao 2023, arXiv:2312.00752).
//!
//! A matrix gives x and the gate z of each token; x is convolved. A second one gives of it a time step in brief, and b and
//! c; a third makes of the brief one a time step for each channel. Per channel, with `step = softplus(step)`: each number
//! of its state fades by `e^(step rate)` and takes `step x b`; the product of the state with c, and x times a skip, leave it.

use stonechat_kernels::Scratch;
use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::recurrent::{self, Decay};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::{Chunks, Columns};

use super::recurrent::{Rows, States, Taps, padded};
use super::rows::{enter, share_out};
use super::{Buffers, Pass, Product, few};
use crate::model::{StateVector, Weight};

/// The channels that a worker takes at a time.
pub(super) const CHANNELS: usize = 64;

impl Pass<'_, '_> {
    /// `input[t] = scan(convolution(x[t])) silu(z[t])`
    pub(super) fn mamba(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let h = self.model.hyperparameters();
        let (level, r, weights) = (self.level, h.recurrent, self.weights);
        let (inner, rank, n, selected_len) = (r.inner, r.heads, r.state, r.selected());
        let vector = |which| weights.state_vector(layer, which).unwrap_or_default();
        let (rates, skips) = (vector(StateVector::Rates), vector(StateVector::Skips));
        let product = Product { level, workers: self.workers, weights, layer };
        let batch = self.batch;
        let mut states = States::new(self.state, self.sequences, weights.state(layer), &r);
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let (projected, rest) = wide.split_at_mut(tokens * r.projected());
        let (convolved, rest) = rest.split_at_mut(tokens * inner);
        let (selected, rest) = rest.split_at_mut(tokens * selected_len);
        let steps = &mut rest[..tokens * inner];

        let taps = Taps::new(level, &r, &weights, layer, true);
        let rows = Rows { all: projected, len: r.projected(), first: 0 };
        taps.over_rows(&batch, self.workers, (&mut states, convolved), &mut scratch, rows)?;
        let convolved = &*convolved;

        let parts = input.parts(tokens, inner, inner);
        share_out(few(tokens, self.workers), parts, &mut scratch, |t, row, lines| {
            enter(level, row, inner, lines, |out, _| {
                out.copy_from_slice(&convolved[t * inner..][..inner]);
                Ok(())
            })
        })?;
        product.of(&[Weight::StateSelect], input, (tokens, inner), selected, &mut scratch);

        // A root of 1 is its own weight; what has none is as it is.
        let norm = |x: &mut [f32], lines: &mut [stonechat_kernels::Line]| {
            let (ones, lines) = carve::<f32>(lines, x.len());
            let (copy, _) = carve::<f32>(lines, x.len());
            ones.fill(1.0);
            copy.copy_from_slice(x);
            elementwise::rms_norm(level, copy, ones, h.norm_eps, x)
        };
        let parts = (Chunks::new(selected, selected_len), input.parts(tokens, rank, rank));
        share_out(few(tokens, self.workers), parts, &mut scratch, |_, (selected, row), lines| {
            if r.has_norms {
                let (step, shared) = selected.split_at_mut(rank);
                norm(step, lines)?;
                shared.chunks_exact_mut(n).try_for_each(|shared| norm(shared, lines))?;
            }
            enter(level, row, rank, lines, |out, _| {
                out.copy_from_slice(&selected[..rank]);
                Ok(())
            })
        })?;
        product.of(&[Weight::StateStep], input, (tokens, rank), steps, &mut scratch);

        let (selected, steps) = (&*selected, &*steps);
        let parts = (
            states.rows(CHANNELS * r.row()),
            Columns::new(&mut input.f32[..tokens * inner], inner, CHANNELS),
        );
        share_out(self.workers, parts, &mut scratch, |_, (mut states, mut out), lines| {
            let columns = out.columns();
            let rates = &rates[columns.start * r.row()..][..columns.len() * r.row()];
            let skips = &skips[columns.clone()];
            let (b_row, lines) = carve::<f32>(lines, r.row());
            let (c_row, lines) = carve::<f32>(lines, r.row());
            let (times, lines) = carve::<f32>(lines, columns.len());
            let (inputs, _) = carve::<f32>(lines, columns.len());
            for run in batch.runs() {
                let mut plane = states.plane(run.sequence);
                let state = plane.token(0);
                for t in run.rows {
                    let x = &convolved[t * inner..][columns.clone()];
                    let shared = &selected[t * selected_len + rank..][..2 * n];
                    let (b, c) = (padded(&shared[..n], b_row), padded(&shared[n..], c_row));
                    times.copy_from_slice(&steps[t * inner..][columns.clone()]);
                    recurrent::softplus(level, times);
                    inputs
                        .iter_mut()
                        .zip(times.iter().zip(x))
                        .for_each(|(input, (step, x))| *input = step * x);
                    let out = out.token(t);
                    recurrent::scan(level, state, Decay::Rates { rates, steps: times }, inputs, [b, c], out);
                    out.iter_mut().zip(skips.iter().zip(x)).for_each(|(out, (skip, x))| *out += skip * x);
                }
            }
            Ok(())
        })?;

        self.leave(tokens, 0, |projected, row, copy| {
            elementwise::silu_mul(level, &projected[inner..], row, copy);
            row.copy_from_slice(copy);
            Ok(())
        })
    }
}
