//! What an embedding takes of the forward pass in the place of the head: the tokens' vectors behind the last norm, and the
//! matrices that a pooled one goes through.

use stonechat_kernels::split::Chunks;
use stonechat_kernels::{Alone, Scratch, matmul};

use super::norm::{Arriving, Norms};
use super::rows::{enter, share_out};
use super::{Buffers, Pass, few};
use crate::{Error, Place};

impl Pass<'_, '_> {
    /// norm(x) of the `tokens` tokens of the batch whose outputs are wanted, rows of e. Once for each batch.
    pub fn vectors(&mut self, tokens: usize) -> Result<&[f32], Error> {
        let (model, level, e) = (self.model, self.level, self.model.hyperparameters().embedding);
        let (norm, norms, arrival) =
            (self.weights.final_norm(), Norms::new(model, level), self.last_arrival());
        let Buffers { residual, delta, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let arriving = Arriving { arrival, model, norms, delta };
        let parts =
            (Chunks::new(&mut residual[..tokens * e], e), Chunks::new(&mut input.f32[..tokens * e], e));
        let mut scratch = Scratch::new(scratch, *scratch_size);
        share_out(few(tokens, self.workers), parts, &mut scratch, |row, (x, out), lines| {
            arriving.at(row, x, lines)?;
            enter(level, (Some(out), None), e, lines, |out, _| norms.apply_some(x, norm.as_ref(), out))
        })
        .map_err(|_| Error::NotFinite(Place::FinalNorm))?;
        Ok(&input.f32[..tokens * e])
    }

    /// Takes an embedding, the first numbers of `x`, through the model's matrices, one after another.
    pub fn project_embedding(&mut self, x: &mut [f32]) -> Result<(), Error> {
        let (model, level) = (self.model, self.level);
        let Buffers { input, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        for matrix in model.dense() {
            let (rows, cols) = (matrix.rows(), matrix.cols());
            let entered = share_out(&Alone, input.parts(1, cols, cols), &mut scratch, |_, row, lines| {
                enter(level, row, cols, lines, |out, _| {
                    out.copy_from_slice(&x[..cols]);
                    Ok(())
                })
            });
            entered.map_err(|_| Error::NotFinite(Place::Embedding))?;
            matmul(level, self.workers, &[*matrix], &input.read(1, cols), &mut x[..rows], &mut scratch);
        }
        Ok(())
    }
}
