//! Room in a full context: earlier positions are dropped, later ones move down.
//!
//! Values move as they are. Keys were rotated by their positions, so they turn back by as many positions as they move
//! (a product of rotations is a rotation by the sum, Su et al. 2021, arXiv:2104.09864). What the kept tokens saw of the dropped ones
//! stays in their keys and values: that is what shifting keeps, and what reading them anew would lose. Which
//! positions to drop is the caller's business; keeping the first few (Xiao et al. 2023, arXiv:2309.17453) keeps the text
//! sane.

use core::ops::Range;

use stonechat_kernels::elementwise;
use stonechat_kernels::kv::{self, GROUP};

use super::{CachedHead, Session};
use crate::{Error, Place, rope};

impl Session<'_> {
    /// Whether positions can be [dropped](Self::drop_positions): only where a key holds its position as a rotation and
    /// nothing else does, and no recurrent state remembers them. Elsewhere the tokens that stay must be read anew.
    pub fn can_drop_positions(&self) -> bool {
        let spec = self.model.spec();
        !(spec.positions || !self.state.is_empty() || spec.qk_norm_after_rope && self.has_key_norm())
    }

    fn has_key_norm(&self) -> bool {
        let layers = 0..self.model.hyperparameters().layers;
        layers.into_iter().any(|layer| self.weights.norm(layer, crate::model::Norm::Key).is_some())
    }

    /// Forgets the tokens at `dropped`; those behind them move down, as if they had followed directly. The
    /// [`logits`](Self::logits) stay those of the last token. The same bits at every level.
    ///
    /// # Panics
    /// If these are not positions that have been fed, or this model's cannot be dropped.
    pub fn drop_positions(&mut self, dropped: Range<usize>) -> Result<(), Error> {
        assert!(self.can_drop_positions(), "a model whose positions can be dropped");
        assert!(
            dropped.start <= dropped.end && dropped.end <= self.position(),
            "positions that have been fed"
        );
        let (end, by) = (self.position(), dropped.len());
        if by == 0 {
            return Ok(());
        }
        // From here on the cache is neither what it was nor what it shall be; an error leaves what stands before.
        self.set_position(dropped.start);
        self.turn(by);
        for cached in self.cached_heads(self.current) {
            self.move_keys(&cached, dropped.end..end, by)
                .map_err(|elementwise::NotFinite| Error::NotFinite(Place::Heads(cached.layer)))?;
            let values = self.cache.values.stretch_mut(cached.values, cached.head, 0..end);
            let row = values.len() / end.next_multiple_of(GROUP);
            values.copy_within(dropped.end * row..end * row, dropped.start * row);
        }
        self.set_position(end - by);
        Ok(())
    }

    /// The angles of all ropes that turn a key back by so many positions.
    fn turn(&mut self, by: usize) {
        let mut at = 0;
        for (i, rope) in self.model.hyperparameters().ropes.iter().enumerate() {
            let pairs = at..at + rope.dims / 2;
            at = pairs.end;
            let (cos, sin) = (&mut self.buffers.cos[pairs.clone()], &mut self.buffers.sin[pairs]);
            rope::angles(self.weights.frequencies(i), 1.0, by, cos, sin);
            sin.iter_mut().for_each(|sin| *sin = -*sin);
        }
    }

    /// Moves the keys of a head down, turned.
    fn move_keys(
        &mut self,
        cached: &CachedHead,
        keys: Range<usize>,
        by: usize,
    ) -> Result<(), elementwise::NotFinite> {
        let layer = self.weights.layer(cached.layer);
        let (format, rotation) = (self.cache.keys.format, self.model.spec().rotation);
        let ropes = self.model.hyperparameters().ropes.map(|rope| rope.dims / 2);
        let first = |rope: usize| if rope == 0 { 0 } else { ropes[0] };
        let angles = layer.rope().map(|rope| first(rope)..first(rope) + ropes[rope]);
        let bytes = self.cache.keys.stretch_mut(cached.keys, cached.head, 0..keys.end);
        let group = bytes.len() / keys.end.div_ceil(GROUP);
        let key = &mut self.buffers.wide[..layer.head_dim()];
        // What rotates of a latent key lies behind the rest.
        let rotated = layer.latent().map_or(0, |latent| latent.rank);
        for from in keys {
            let to = from - by;
            kv::load_key(format, &bytes[from / GROUP * group..][..group], from % GROUP, key);
            if let Some(angles) = angles.clone() {
                let (cos, sin) = (&self.buffers.cos[angles.clone()], &self.buffers.sin[angles]);
                let key = &mut key[rotated..];
                elementwise::rope(self.level, rotation, cos, sin, key.len(), key);
            }
            kv::store_key(self.level, format, key, to % GROUP, &mut bytes[to / GROUP * group..][..group])?;
        }
        Ok(())
    }
}
