//! A session's other answer: embeddings of a text in place of the logits behind it.

use stonechat_kernels::{Workers, elementwise};

use super::Session;
use crate::forward::Pass;
use crate::{Error, Place, Pooling};

impl Session<'_> {
    /// Computes the embeddings of a text, and hands them to `each`: one, or with [`Pooling::None`] one for each token,
    /// each of [`Model::embedding_len`](crate::Model::embedding_len) values. They are not normalised.
    ///
    /// Whatever was fed before is forgotten, its logits too, and nothing counts as fed afterwards. The text has to fit into the
    /// context; a session whose plan has no outputs can embed.
    pub fn embed(
        &mut self,
        tokens: &[u32],
        pooling: Pooling,
        workers: &dyn Workers,
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<(), Error> {
        self.position = 0;
        self.check(tokens, 0)?;
        self.state.fill(0.0);
        let e = self.model.hyperparameters().embedding;
        let mut pass = Pass {
            model: self.model,
            level: self.level,
            workers,
            weights: self.weights,
            cache: &mut self.cache,
            state: self.state,
            buffers: &mut self.buffers,
        };
        // What is pooled lies where logits would.
        self.logits[..e].fill(0.0);
        let (size, mut position) = (pass.buffers.batch, 0);
        for batch in tokens.chunks(size) {
            pass.layers(batch, position)?;
            let rows = pass.vectors(batch.len())?.chunks_exact(e);
            let pooled = &mut self.logits[..e];
            match pooling {
                Pooling::None => rows.for_each(&mut *each),
                Pooling::Mean => rows.for_each(|row| elementwise::add(pooled, row)),
                Pooling::Cls if position > 0 => {}
                Pooling::Cls => rows.take(1).for_each(|row| pooled.copy_from_slice(row)),
                Pooling::Last => rows.last().into_iter().for_each(|row| pooled.copy_from_slice(row)),
            }
            position += batch.len();
        }
        if pooling == Pooling::None {
            return Ok(());
        }
        if pooling == Pooling::Mean {
            self.logits[..e].iter_mut().for_each(|x| *x /= position as f32);
        }
        pass.project_embedding(self.logits)?;
        let embedding = &self.logits[..self.model.embedding_len(pooling)];
        if embedding.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite(Place::Embedding));
        }
        each(embedding);
        Ok(())
    }
}
