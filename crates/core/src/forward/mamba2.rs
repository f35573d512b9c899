//! The state space of Mamba 2 (Dao and Gu 2024, arXiv:2405.21060), also beside attention (Falcon-H1, arXiv:2507.22448).
//!
//! A matrix gives, one behind the other, the gate z, what is convolved (x, and b and c of each group of heads), and a time
//! step for each head. Per head, with `step = softplus(step + bias)`: the state fades by `e^(step rate)` and takes
//! `step x b`; its product with c, and x times a skip, leave it.

use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::recurrent::{self, Decay};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::Columns;
use stonechat_kernels::{Scratch, math};

use super::recurrent::{Rows, States, Taps, padded};
use super::rows::share_out;
use super::{Buffers, Pass};
use crate::model::StateVector;

impl Pass<'_, '_> {
    /// `input[t] = norm(scan(convolution(x[t], b[t], c[t])) silu(z[t]))`
    pub(super) fn mamba2(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let h = self.model.hyperparameters();
        let (level, r, weights) = (self.level, h.recurrent, self.weights);
        let (from, d, n) = (self.before(layer, tokens), r.head_dim(), r.state);
        let vector = |which| weights.state_vector(layer, which).unwrap_or_default();
        let (rates, skips) = (vector(StateVector::Rates), vector(StateVector::Skips));
        let step_bias = vector(StateVector::StepBias);
        let batch = self.batch;
        let mut states = States::new(self.state, self.sequences, weights.state(layer), &r);
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let (projected, convolved) = wide[from..].split_at_mut(tokens * r.projected());
        let (projected, channels) = (&*projected, r.channels());
        let convolved = &mut convolved[..tokens * channels];
        let row = |t: usize| &projected[t * r.projected()..][..r.projected()];

        let taps = Taps::new(level, &r, &weights, layer, true);
        let rows = Rows { all: projected, len: r.projected(), first: r.inner };
        taps.over_rows(&batch, self.workers, (&mut states, convolved), &mut scratch, rows)?;

        let convolved = &*convolved;
        let parts = (states.rows(d * r.row()), Columns::new(&mut input.f32[..tokens * r.inner], r.inner, d));
        share_out(self.workers, parts, &mut scratch, |head, (mut states, mut out), lines| {
            let group = head / (r.heads / r.groups);
            let (b_row, lines) = carve::<f32>(lines, r.row());
            let (c_row, lines) = carve::<f32>(lines, r.row());
            let (inputs, _) = carve::<f32>(lines, d);
            for run in batch.runs() {
                let mut plane = states.plane(run.sequence);
                let state = plane.token(0);
                for t in run.rows {
                    let convolved = &convolved[t * channels..][..channels];
                    let (x, shared) = (&convolved[head * d..][..d], &convolved[r.inner..]);
                    let b = padded(&shared[group * n..][..n], b_row);
                    let c = padded(&shared[(r.groups + group) * n..][..n], c_row);
                    let step = math::softplus(row(t)[r.inner + channels + head] + step_bias[head]);
                    let decay = Decay::Factor(math::exp(step * rates[head]));
                    inputs.iter_mut().zip(x).for_each(|(input, x)| *input = step * x);
                    let out = out.token(t);
                    recurrent::scan(level, state, decay, inputs, [b, c], out);
                    elementwise::add_scaled(out, x, skips[head]);
                }
            }
            Ok(())
        })?;

        let norm = weights.state_vector(layer, StateVector::Norm);
        let (group, eps) = (r.inner / r.groups, h.norm_eps);
        self.leave(tokens, from, |projected, row, copy| {
            elementwise::silu_mul(level, &projected[..r.inner], row, copy);
            let Some(norm) = norm else {
                row.copy_from_slice(copy);
                return Ok(());
            };
            let rows = copy.chunks_exact(group).zip(row.chunks_exact_mut(group));
            for ((copy, row), norm) in rows.zip(norm.chunks_exact(group)) {
                elementwise::rms_norm(level, copy, norm, eps, row)?;
            }
            Ok(())
        })
    }
}
