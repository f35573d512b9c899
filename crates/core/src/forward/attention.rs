//! Attention's part of the forward pass: keys and values to the cache, queries over the cache.
//!
//! Several tokens are shared out as tiles: some tokens' query heads of one KV head, which go over the whole context
//! together. One token is shared out by KV head and chunk of positions, so that a long context keeps all workers busy;
//! the chunks' partial results are merged afterwards. Both give the same bits: see the kernels' contract.

use stonechat_kernels::attention::{self, CHUNK, Head, Partial, Queries};
use stonechat_kernels::elementwise::{self, NotFinite, Rotation};
use stonechat_kernels::kv::{self, GROUP};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::{Chunks, Tiles};
use stonechat_kernels::{Alone, Level, Line, Scratch};

use super::rows::{enter, share_out};
use super::{Buffers, KvCache, Pass, few};
use crate::Hyperparameters;

/// The queries that go over the context together: with them a key in the nearest cache is used often enough.
const TILE_ROWS: usize = 32;

/// The tokens of a tile.
fn tile_tokens(h: &Hyperparameters) -> usize {
    (TILE_ROWS / h.group()).max(1)
}

/// The numbers of all partial results of one token, for the longest context.
pub(crate) fn partials_len(h: &Hyperparameters, context: usize) -> Option<usize> {
    Partial::floats(h.group(), h.head_dim).checked_mul(h.kv_heads)?.checked_mul(context.div_ceil(CHUNK))
}

/// The scratch lines that a worker needs: the queries of a tile, their results, and what the kernels take.
pub(crate) fn scratch_lines(h: &Hyperparameters) -> usize {
    let rows = tile_tokens(h) * h.group();
    let floats = rows * h.head_dim + Partial::floats(rows, h.head_dim);
    (floats * 4).div_ceil(Line::BYTES) + 2 + attention::scratch_lines(rows, h.head_dim)
}

/// What the steps read of a layer.
struct Heads<'b> {
    level: Level,
    h: Hyperparameters,
    rotation: Rotation,
    /// q, k and v of each token, not yet rotated.
    wide: &'b [f32],
    cos: &'b [f32],
    sin: &'b [f32],
}

impl Heads<'_> {
    /// q, k or v heads of token `t`, from number `from` of its row on.
    fn row(&self, t: usize, from: usize, len: usize) -> &[f32] {
        &self.wide[t * (self.h.q_dim() + 2 * self.h.kv_dim()) + from..][..len]
    }

    /// The same, rotated, to `out`.
    fn rotate(&self, t: usize, from: usize, out: &mut [f32]) {
        let pairs = self.h.rope.dims / 2;
        let at = t * pairs..(t + 1) * pairs;
        out.copy_from_slice(self.row(t, from, out.len()));
        elementwise::rope(
            self.level,
            self.rotation,
            &self.cos[at.clone()],
            &self.sin[at],
            self.h.head_dim,
            out,
        );
    }

    /// The queries that token `t` asks of KV head `g`, rotated, to `out`.
    fn queries(&self, t: usize, g: usize, out: &mut [f32]) {
        self.rotate(t, g * out.len(), out);
    }
}

/// What the steps read of a layer's cache.
struct Layer<'c> {
    cache: &'c KvCache<'c>,
    number: usize,
    scale: f32,
}

impl Layer<'_> {
    fn head(&self, g: usize) -> Head<'_> {
        Head {
            keys: self.cache.keys.head(self.number, g),
            values: self.cache.values.head(self.number, g),
            scale: self.scale,
        }
    }
}

impl Pass<'_, '_> {
    /// Rotates k, and stores k and v of every token in the cache.
    pub(super) fn store(&mut self, layer: usize, tokens: usize, position: usize) -> Result<(), NotFinite> {
        let (workers, h) = (few(tokens, self.workers), *self.model.hyperparameters());
        let (d, end) = (h.head_dim, position + tokens);
        let groups = position / GROUP..end.div_ceil(GROUP);
        let (keys, values) = (self.cache.keys.format, self.cache.values.format);
        let parts = (
            self.cache.keys.groups_mut(layer, groups.clone()),
            self.cache.values.groups_mut(layer, groups.clone()),
        );
        let rotation = self.model.spec().rotation;
        let Buffers { wide, cos, sin, scratch, scratch_size, .. } = &mut *self.buffers;
        let heads = Heads { level: self.level, h, rotation, wide, cos, sin };
        let mut scratch = Scratch::new(scratch, *scratch_size);
        share_out(workers, parts, &mut scratch, |part, (key_group, value_group), lines| {
            let (g, group) = (part / groups.len(), groups.start + part % groups.len());
            let (key, _) = carve::<f32>(lines, d);
            let row_bytes = value_group.len() / GROUP;
            for at in position.max(group * GROUP)..end.min((group + 1) * GROUP) {
                let (t, slot) = (at - position, at % GROUP);
                heads.rotate(t, h.q_dim() + g * d, key);
                kv::store_key(heads.level, keys, key, slot, key_group)?;
                let value = heads.row(t, h.q_dim() + h.kv_dim() + g * d, d);
                let row = &mut value_group[slot * row_bytes..][..row_bytes];
                kv::store_value(heads.level, values, value, row)?;
            }
            Ok(())
        })
    }

    /// softmax(q k / sqrt(d)) v of every token and head: for one token partial results, for several in `input`.
    pub(super) fn attend(&mut self, layer: usize, tokens: usize, position: usize) -> Result<(), NotFinite> {
        let (level, h) = (self.level, *self.model.hyperparameters());
        let (d, group) = (h.head_dim, h.group());
        let cache = Layer { cache: self.cache, number: layer, scale: 1.0 / libm::sqrtf(d as f32) };
        let rotation = self.model.spec().rotation;
        let Buffers { wide, cos, sin, input, partials, scratch, scratch_size, .. } = &mut *self.buffers;
        let heads = Heads { level, h, rotation, wide, cos, sin };
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let chunks = (position + tokens).div_ceil(CHUNK);
        if tokens == 1 {
            let len = Partial::floats(group, d);
            let parts = Chunks::new(&mut partials[..h.kv_heads * chunks * len], len);
            return share_out(self.workers, parts, &mut scratch, |part, partial, lines| {
                let (g, chunk) = (part / chunks, part % chunks);
                let (rows, lines) = carve::<f32>(lines, group * d);
                heads.queries(0, g, rows);
                let queries = Queries { rows, heads: group, position, window: usize::MAX };
                let mut partial = Partial::new(partial, group);
                attention::attend(level, &cache.head(g), &queries, chunk..chunk + 1, &mut partial, lines)
            });
        }
        let height = tile_tokens(&h);
        let parts = Tiles::new(&mut input.f32[..tokens * h.q_dim()], h.q_dim(), height, group * d);
        share_out(self.workers, parts, &mut scratch, |part, mut out, lines| {
            let (first, g) = (part / h.kv_heads * height, part % h.kv_heads);
            let count = out.tokens() * group;
            let (rows, lines) = carve::<f32>(lines, count * d);
            for (t, rows) in rows.chunks_exact_mut(group * d).enumerate() {
                heads.queries(first + t, g, rows);
            }
            let queries = Queries { rows, heads: group, position: position + first, window: usize::MAX };
            let (partial, lines) = carve::<f32>(lines, Partial::floats(count, d));
            let mut partial = Partial::new(partial, count);
            attention::attend(level, &cache.head(g), &queries, 0..chunks, &mut partial, lines)?;
            for t in 0..out.tokens() {
                attention::finish(&partial.part(t * group..(t + 1) * group), out.token(t));
            }
            Ok(())
        })
    }

    /// `input[t]` = all heads of a token one after another, also in int8.
    pub(super) fn gather(&mut self, tokens: usize, position: usize) -> Result<(), NotFinite> {
        let (level, h) = (self.level, *self.model.hyperparameters());
        let (d, group) = (h.head_dim, h.group());
        let chunks = (position + tokens).div_ceil(CHUNK);
        let Buffers { input, partials, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        if tokens > 1 {
            let parts = input.parts_with_f32(tokens, h.q_dim(), h.q_dim());
            return share_out(self.workers, parts, &mut scratch, |_, row, lines| {
                // The f32 form is there already.
                enter(level, row, h.q_dim(), lines, |_, _| Ok(()))
            });
        }
        // Whole blocks of a KV head's queries can be gathered by whoever is free; a single chunk needs no merging.
        let by_head = (group * d).is_multiple_of(32);
        let len = if by_head { group * d } else { h.q_dim() };
        let workers = if by_head && chunks > 1 { self.workers } else { &Alone };
        let partials = Chunks::new(partials, len / (group * d) * chunks * Partial::floats(group, d));
        let parts = (partials, input.parts(1, h.q_dim(), len));
        share_out(workers, parts, &mut scratch, |_, (partials, row), lines| {
            enter(level, row, len, lines, |out, _| {
                let heads = partials.chunks_exact_mut(chunks * Partial::floats(group, d));
                for (head, out) in heads.zip(out.chunks_exact_mut(group * d)) {
                    let (first, later) = head.split_at_mut(Partial::floats(group, d));
                    let mut partial = Partial::new(first, group);
                    for later in later.chunks_exact_mut(Partial::floats(group, d)) {
                        attention::merge(level, &mut partial, &Partial::new(later, group));
                    }
                    attention::finish(&partial, out);
                }
                Ok(())
            })
        })
    }
}
