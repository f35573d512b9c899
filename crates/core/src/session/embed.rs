//! A session's other answer: embeddings of a text in place of the logits behind it.

use stonechat_kernels::{Workers, elementwise};

use super::{Sequence, Session, pass};
use crate::forward::{Batch, Stretch};
use crate::{Error, Place, Pooling};

impl Session<'_> {
    /// Computes the embeddings of a text, and hands them to `each`: one, or with [`Pooling::None`] one for each token,
    /// each of [`Model::embedding_len`](crate::Model::embedding_len) values. They are not normalised.
    ///
    /// Whatever this sequence was fed is forgotten, the logits of all are too, and nothing counts as fed afterwards. The text has to fit into the
    /// context; a session whose plan has no outputs can embed.
    pub fn embed(
        &mut self,
        tokens: &[u32],
        pooling: Pooling,
        workers: &dyn Workers,
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<(), Error> {
        self.forget();
        self.check(self.current, tokens)?;
        self.begin(self.current);
        let e = self.model.hyperparameters().embedding;
        // What is pooled lies where logits would.
        self.sequences.iter_mut().for_each(Sequence::lose_logits);
        self.logits[..e].fill(0.0);
        let (size, mut position) = (self.buffers.batch, 0);
        for batch in tokens.chunks(size) {
            let wanted = if pooling == Pooling::Last { 1 } else { batch.len() };
            let stretches = [Stretch { sequence: self.current, tokens: batch, outputs: wanted }];
            let mut pass = pass!(self, Batch::new(&stretches, self.sequences, position), workers);
            pass.layers()?;
            let rows = pass.vectors(wanted)?.chunks_exact(e);
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
        let mut pass = pass!(self, Batch::new(&[], self.sequences, 0), workers);
        pass.project_embedding(self.logits)?;
        let embedding = &self.logits[..self.model.embedding_len(pooling)];
        if embedding.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite(Place::Embedding));
        }
        each(embedding);
        Ok(())
    }
}
