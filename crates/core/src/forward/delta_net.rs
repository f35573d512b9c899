//! The gated delta rule (Yang et al. 2024, arXiv:2412.06464), as in Qwen3-Next and Qwen3.5.
//!
//! Matrices give of each token queries and keys for each group of heads, values, a gate z, and for each head beta and alpha.
//! Queries, keys and values are convolved; queries and keys are made unit vectors. Per head the state, a matrix that answers
//! a key with a value, fades by `e^(softplus(alpha + bias) rate)`, learns its value at rate `sigmoid(beta)`, and is
//! asked the query over the root of its length.

use stonechat_kernels::elementwise::{self, NotFinite};
use stonechat_kernels::recurrent;
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::{Chunks, Columns};
use stonechat_kernels::{Scratch, math};

use super::few;
use super::recurrent::{Rows, States, Taps};
use super::rows::share_out;
use super::{Buffers, Pass};
use crate::model::{Recurrent, StateVector, Weight};

impl Pass<'_, '_> {
    /// `input[t] = norm(delta_rule(convolution(q[t], k[t], v[t]))) silu(z[t])`
    pub(super) fn delta_net(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let h = self.model.hyperparameters();
        let (level, r, weights) = (self.level, h.recurrent, self.weights);
        let (d, n, eps, ratio) = (r.head_dim(), r.state, h.norm_eps, r.heads / r.groups);
        let vector = |which| weights.state_vector(layer, which).unwrap_or_default();
        let (rates, step_bias) = (vector(StateVector::Rates), vector(StateVector::StepBias));
        let by_group = |weight| weights.matrix(layer, weight).is_some();
        if by_group(Weight::StateIn) {
            self.ungroup(tokens);
        }
        // Beta and alpha of a group's heads side by side, or of all heads.
        let beta_of = if by_group(Weight::StateBetaAlpha) { ratio } else { r.heads };
        let in_turn = self.model.spec().values_in_turn;
        let batch = self.batch;
        let mut states = States::new(self.state, self.sequences, weights.state(layer), &r);
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let (projected, convolved) = wide.split_at_mut(tokens * r.projected());
        let (projected, channels) = (&*projected, r.channels());
        let convolved = &mut convolved[..tokens * channels];
        let row = |t: usize| &projected[t * r.projected()..][..r.projected()];

        let taps = Taps::new(level, &r, &weights, layer, true);
        let rows = Rows { all: projected, len: r.projected(), first: 0 };
        taps.over_rows(&batch, self.workers, (&mut states, convolved), &mut scratch, rows)?;

        let convolved = &*convolved;
        let parts = (states.rows(d * r.row()), Columns::new(&mut input.f32[..tokens * r.inner], r.inner, d));
        // A unit vector is a norm by the root of the mean, over the root of the length.
        let root = libm::sqrtf(n as f32);
        share_out(self.workers, parts, &mut scratch, |head, (mut states, mut out), lines| {
            let group = if in_turn { head % r.groups } else { head / ratio };
            let (q_row, lines) = carve::<f32>(lines, r.row());
            let (k_row, lines) = carve::<f32>(lines, r.row());
            let (weight, _) = carve::<f32>(lines, n);
            q_row.fill(0.0);
            k_row.fill(0.0);
            for run in batch.runs() {
                let mut plane = states.plane(run.sequence);
                let state = plane.token(0);
                for t in run.rows {
                    let (qk, values) = convolved[t * channels..][..channels].split_at(2 * r.groups * n);
                    let (q, k) = (&qk[group * n..][..n], &qk[(r.groups + group) * n..][..n]);
                    weight.fill(1.0 / root / root);
                    elementwise::rms_norm(level, q, weight, eps / n as f32, &mut q_row[..n])?;
                    weight.fill(1.0 / root);
                    elementwise::rms_norm(level, k, weight, eps / n as f32, &mut k_row[..n])?;
                    let factors = &row(t)[channels + r.inner..];
                    let beta = head / beta_of * 2 * beta_of + head % beta_of;
                    let step = math::softplus(factors[beta + beta_of] + step_bias[head]);
                    let factors = [math::exp(step * rates[head]), math::sigmoid(factors[beta])];
                    let values = &values[head * d..][..d];
                    recurrent::delta_rule(level, state, factors, [q_row, k_row], values, out.token(t));
                }
            }
            Ok(())
        })?;

        let norm = vector(StateVector::Norm);
        self.leave(tokens, 0, |projected, row, copy| {
            let gates = projected[channels..].chunks_exact(d);
            for (gate, (row, copy)) in gates.zip(row.chunks_exact_mut(d).zip(copy.chunks_exact_mut(d))) {
                elementwise::rms_norm(level, row, norm, eps, copy)?;
                elementwise::silu_mul(level, gate, copy, row);
            }
            Ok(())
        })
    }

    /// Puts queries, keys, values and gates one behind the other, which older files have group by group.
    fn ungroup(&mut self, tokens: usize) {
        let r: Recurrent = self.model.hyperparameters().recurrent;
        let (n, values) = (r.state, r.inner / r.groups);
        let Buffers { wide, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let parts = Chunks::new(&mut wide[..tokens * r.projected()], r.projected());
        let done = share_out(few(tokens, self.workers), parts, &mut scratch, |_, row, lines| {
            let row = &mut row[..r.channels() + r.inner];
            let (copy, _) = carve::<f32>(lines, row.len());
            copy.copy_from_slice(row);
            for (group, copy) in copy.chunks_exact(2 * n + 2 * values).enumerate() {
                let mut from = 0;
                for (first, len) in
                    [(0, n), (r.groups * n, n), (2 * r.groups * n, values), (r.channels(), values)]
                {
                    row[first + group * len..][..len].copy_from_slice(&copy[from..][..len]);
                    from += len;
                }
            }
            Ok(())
        });
        debug_assert_eq!(done, Ok(()));
    }
}
