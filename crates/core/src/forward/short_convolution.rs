//! The short convolution of LFM2 (Liquid AI 2025, arXiv:2511.23404).
//!
//! A matrix gives b, c and x of each token; the convolution goes over b·x, and c multiplies what leaves it.

use stonechat_kernels::Scratch;
use stonechat_kernels::elementwise::NotFinite;

use super::recurrent::{States, Taps};
use super::{Buffers, Pass};

impl Pass<'_, '_> {
    /// `input[t] = c[t] convolution(b[t] x[t])`
    pub(super) fn short_convolution(&mut self, layer: usize, tokens: usize) -> Result<(), NotFinite> {
        let r = self.model.hyperparameters().recurrent;
        let taps = Taps::new(self.level, &r, &self.weights, layer, false);
        let mut states = States::new(self.state, self.sequences, self.weights.state(layer), &r);
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let part = |t: usize, part: usize| &wide[(3 * t + part) * r.inner..][..r.inner];
        let out = &mut input.f32[..tokens * r.inner];
        taps.over(
            &self.batch,
            self.workers,
            (&mut states, out),
            &mut scratch,
            |t, columns, out| {
                let (b, x) = (&part(t, 0)[columns.clone()], &part(t, 2)[columns]);
                out.iter_mut().zip(b.iter().zip(x)).for_each(|(out, (b, x))| *out = b * x);
            },
            |t, columns, out| out.iter_mut().zip(&part(t, 1)[columns]).for_each(|(out, c)| *out *= c),
        )?;
        self.leave(tokens, 0, |_, _, _| Ok(()))
    }
}
