//! What a session knows of the tokens it was fed, as bytes: to be kept on disk, or given to another session.
//!
//! Out go, for a range of positions, the keys and then the values of each KV head, layer after layer; in they come
//! again, and computation goes on with the very bits that it would have had. The bytes depend on the model, the KV formats
//! and the tokens up to the range's end alone: not on the context, the batch or the CPU. So a prefix that
//! many texts share is computed once.

use core::ops::Range;

use stonechat_kernels::kv::GROUP;

use super::{CachedHead, Session};
use crate::plan::ActivationMode;

/// Positions whose state is one piece: ranges begin at a multiple of it.
pub const STATE_UNIT: usize = GROUP;

impl Session<'_> {
    /// Writes the state of `positions`, which begin at a multiple of [`STATE_UNIT`] and have been fed. A recurrent
    /// state, which is that after the last token fed, comes last.
    ///
    /// # Panics
    /// If they do not, or have not; or if there is a recurrent state and they are not all that have been fed.
    pub fn export<E>(
        &self,
        positions: Range<usize>,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        assert!(positions.end <= self.position(), "positions that have been fed");
        assert!(positions.start.is_multiple_of(STATE_UNIT), "whole pieces");
        let all = 0..self.position();
        assert!(self.state.is_empty() || positions == all, "a recurrent state knows all tokens");
        for CachedHead { head, keys, values, .. } in self.cached_heads(self.current) {
            write(self.cache.keys.stretch(keys, head, positions.clone()))?;
            write(self.cache.values.stretch(values, head, positions.clone()))?;
        }
        // On the targets that there are, numbers lie in memory as in files.
        const { assert!(cfg!(target_endian = "little")) };
        if self.state.is_empty() { Ok(()) } else { write(bytemuck::cast_slice(self.state())) }
    }

    /// Takes back the state of `positions`, of which the first follows the last one fed. `read` fills one stretch after
    /// another, of the lengths that [`export`](Self::export) wrote; of a state that was written for more positions, each is
    /// the beginning of a stretch that is longer in proportion to the pieces. Afterwards `positions` count as
    /// fed; the [`logits`](Self::logits) are not theirs. On an error nothing was fed.
    ///
    /// # Panics
    /// If they do not begin there, or at no multiple of [`STATE_UNIT`], or the context ends before them.
    pub fn import<E>(
        &mut self,
        positions: Range<usize>,
        mut read: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        assert!(
            positions.start == self.position() && positions.start.is_multiple_of(STATE_UNIT),
            "what follows the last token fed, in whole pieces"
        );
        assert!(positions.end <= self.context, "positions of the context");
        for CachedHead { head, keys, values, .. } in self.cached_heads(self.current) {
            read(self.cache.keys.stretch_mut(keys, head, positions.clone()))?;
            read(self.cache.values.stretch_mut(values, head, positions.clone()))?;
        }
        if !self.state.is_empty() {
            let state = self.state_of(self.current);
            read(bytemuck::cast_slice_mut(&mut self.state[state]))?;
        }
        self.set_position(positions.end);
        Ok(())
    }

    /// All that the bytes of a state depend on beside the model's file, the version of this crate and the tokens: the KV
    /// formats, the form of activations and the frequencies of the ropes.
    pub fn fingerprint(&self, mut write: impl FnMut(&[u8])) {
        let float_activations = self.buffers.input.activations == ActivationMode::F32;
        write(self.cache.keys.format.as_str().as_bytes());
        write(self.cache.values.format.as_str().as_bytes());
        write(&[u8::from(float_activations)]);
        for (i, rope) in self.model.hyperparameters().ropes.iter().enumerate() {
            write(&rope.magnitude().to_le_bytes());
            self.weights.frequencies(i).iter().for_each(|frequency| write(&frequency.to_le_bytes()));
        }
    }
}
