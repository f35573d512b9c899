//! Attention's part of the forward pass: keys and values to the cache, queries over the cache.
//!
//! Several tokens are shared out as tiles: some tokens' query heads of one KV head, which go over the whole context
//! together. One token is shared out by KV head and chunk of positions, so that a long context keeps all workers busy;
//! the chunks' partial results are merged afterwards. Both give the same bits: see the kernels' contract. Chunks that lie
//! wholly outside a layer's window are not looked at. Where tokens attend to those behind them, the batch is the whole text.

use core::ops::Range;

use stonechat_kernels::attention::{self, CHUNK, Head, Partial, Queries};
use stonechat_kernels::elementwise::{self, NotFinite, Rotation};
use stonechat_kernels::kv::{self, GROUP};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::{Chunks, Tiles};
use stonechat_kernels::{Alone, Level, Line, Scratch};

use super::norm::Norms;
use super::rows::{enter, share_out};
use super::{Buffers, Pass, QKV, few};
use crate::arch::QkNorm;
use crate::model::{Layer, Norm};
use crate::session::{NormWeights, Weights};
use crate::{Error, Model};

/// The queries that go over the context together: with them a key in the nearest cache is used often enough.
const TILE_ROWS: usize = 32;

/// The tokens of a tile.
fn tile_tokens(layer: &Layer) -> usize {
    (TILE_ROWS / layer.group()).max(1)
}

/// What attention takes of the arena, for the layer that takes most.
#[derive(Clone, Copy, Default)]
pub(crate) struct AttentionSize {
    /// The numbers of all partial results of one token.
    pub partials: usize,
    /// The scratch lines that a worker needs: the queries of a tile, their results, and what the kernels take.
    pub scratch: usize,
}

/// What attention takes of the arena.
pub(crate) fn attention_size(model: &Model<'_>, context: usize) -> Result<AttentionSize, Error> {
    let mut size = AttentionSize::default();
    for number in 0..model.hyperparameters().layers {
        let layer = model.layer(number)?;
        let (d, group) = (layer.head_dim(), layer.group());
        let partials = (Partial::floats(group, d) * layer.kv_heads()).checked_mul(context.div_ceil(CHUNK));
        let rows = tile_tokens(&layer) * group;
        let copied = if model.spec().qk_norm_after_rope { group * d } else { 0 };
        let floats = rows * d + Partial::floats(rows, d) + copied;
        let lines = (floats * 4).div_ceil(Line::BYTES) + 2 + attention::scratch_lines(rows, d);
        size.partials = size.partials.max(partials.ok_or(Error::TooLarge)?);
        size.scratch = size.scratch.max(lines);
    }
    Ok(size)
}

/// How far tokens of a layer see behind their own positions.
#[derive(Clone, Copy)]
struct Sight {
    window: usize,
    /// How many positions ahead they attend to, of those before `end`.
    ahead: usize,
    end: usize,
}

impl Sight {
    /// That of tokens of a batch which ends at `end`.
    fn new(model: &Model<'_>, layer: &Layer, end: usize) -> Self {
        let window = layer.window();
        // A token that looks ahead stands in the middle of its window.
        let ahead = if model.hyperparameters().causal { 0 } else { window - 1 };
        Self { window, ahead, end }
    }

    /// The chunks in which the tokens from `position` on have something to attend to.
    fn chunks(self, position: usize, tokens: usize) -> Range<usize> {
        let end = (position + tokens).saturating_add(self.ahead).min(self.end);
        (position + 1).saturating_sub(self.window) / CHUNK..end.div_ceil(CHUNK)
    }
}

/// What the steps read of a layer's queries, keys and values.
struct Heads<'b> {
    norms: Norms,
    layer: Layer,
    rotation: Rotation,
    /// q, k and v of each token, not yet rotated.
    wide: &'b [f32],
    /// The length of a token's row in `wide`.
    row: usize,
    /// Where values begin in a row.
    values: usize,
    /// Cosines and sines of each token; none where this layer does not rotate.
    angles: Option<[&'b [f32]; 2]>,
    /// How many of them a token has, in each of the model's ropes.
    ropes: [usize; 2],
    query_norm: Option<NormWeights<'b>>,
    key_norm: Option<NormWeights<'b>>,
    value_norm: Option<NormWeights<'b>>,
    norm_after_rope: bool,
    /// Queries grow with the logarithm of how often this many positions came before them.
    temperature: (f32, usize),
}

impl<'b> Heads<'b> {
    /// The heads of a layer, of no token yet.
    #[inline(never)]
    fn new(model: &Model<'_>, weights: Weights<'b>, level: Level, number: usize) -> Self {
        let (h, layer) = (model.hyperparameters(), weights.layer(number));
        let norm = |norm| weights.norm(number, norm);
        let qk_norm = |which| norm(which).filter(|_| model.qk_norm() != QkNorm::Row);
        let row = qkv_row(&weights, number);
        Self {
            norms: Norms::new(model, level),
            layer,
            rotation: model.spec().rotation,
            wide: &[],
            row,
            // Without a matrix for values these are the keys.
            values: row.saturating_sub(layer.kv_dim()),
            angles: None,
            ropes: h.ropes.map(|rope| rope.dims / 2),
            query_norm: qk_norm(Norm::Query),
            key_norm: qk_norm(Norm::Key),
            value_norm: norm(Norm::Value),
            norm_after_rope: model.spec().qk_norm_after_rope,
            temperature: (h.temperature, if h.temperature > 0.0 { h.ropes[0].original_context } else { 0 }),
        }
    }

    /// The heads of so many tokens.
    fn over(self, tokens: usize, wide: &'b [f32], cos: &'b [f32], sin: &'b [f32]) -> Self {
        let [first, _] = self.ropes;
        let angles = self.layer.rope().filter(|rope| self.ropes[*rope] > 0).map(|rope| {
            // The angles of one rope, of all tokens, lie behind those of the other.
            let from = if rope == 0 { 0 } else { tokens * first };
            let len = tokens * self.ropes[rope];
            [&cos[from..][..len], &sin[from..][..len]]
        });
        Self { wide, angles, ..self }
    }

    /// q, k or v heads of token `t`, from number `from` of its row on.
    fn row(&self, t: usize, from: usize, len: usize) -> &[f32] {
        &self.wide[t * self.row + from..][..len]
    }

    /// Heads from number `first` on, normalised each, to `out`.
    #[inline(never)]
    fn normalise(
        &self,
        norm: &NormWeights<'_>,
        first: usize,
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), NotFinite> {
        let d = self.layer.head_dim();
        for (head, (row, out)) in rows.chunks_exact(d).zip(out.chunks_exact_mut(d)).enumerate() {
            // One set of weights for all heads, or one for each.
            let at = (first + head) * d % norm.weight.len();
            let weights = NormWeights {
                weight: &norm.weight[at..at + d],
                bias: norm.bias.map(|bias| &bias[at..at + d]),
            };
            self.norms.apply(row, &weights, out)?;
        }
        Ok(())
    }

    /// Heads of token `t` from number `first` on, normalised and rotated, to `out`.
    #[inline(never)]
    fn rotate(
        &self,
        t: usize,
        from: usize,
        norm: Option<&NormWeights<'_>>,
        first: usize,
        out: &mut [f32],
        lines: &mut [Line],
    ) -> Result<(), NotFinite> {
        let row = self.row(t, from, out.len());
        match norm {
            Some(norm) if !self.norm_after_rope => self.normalise(norm, first, row, out)?,
            _ => out.copy_from_slice(row),
        }
        if let Some([cos, sin]) = self.angles {
            let pairs = self.layer.rope().map_or(0, |rope| self.ropes[rope]);
            let at = t * pairs..(t + 1) * pairs;
            let (cos, sin) = (&cos[at.clone()], &sin[at]);
            elementwise::rope(self.norms.level, self.rotation, cos, sin, self.layer.head_dim(), out);
        }
        if let (Some(norm), true) = (norm, self.norm_after_rope) {
            let (copy, _) = carve::<f32>(lines, out.len());
            copy.copy_from_slice(out);
            self.normalise(norm, first, copy, out)?;
        }
        Ok(())
    }

    /// The queries that token `t`, at `position`, asks of KV head `g`, to `out`.
    #[inline(never)]
    fn queries(
        &self,
        t: usize,
        position: usize,
        g: usize,
        out: &mut [f32],
        lines: &mut [Line],
    ) -> Result<(), NotFinite> {
        self.rotate(t, g * out.len(), self.query_norm.as_ref(), g * self.layer.group(), out, lines)?;
        if let (temperature, context @ 1..) = self.temperature {
            let contexts = (position / context) as f32;
            elementwise::scale(out, 1.0 + temperature * libm::logf(1.0 + contexts));
        }
        Ok(())
    }
}

impl Pass<'_, '_> {
    /// What queries, keys and values need before they are heads: limits, and norms over all heads.
    pub(super) fn prepare(&mut self, number: usize, tokens: usize) -> Result<(), NotFinite> {
        let (layer, clamp) = (self.weights.layer(number), self.model.hyperparameters().qkv_clamp);
        let norm = |norm| self.weights.norm(number, norm).filter(|_| self.model.qk_norm() == QkNorm::Row);
        let (query_norm, key_norm) = (norm(Norm::Query), norm(Norm::Key));
        if clamp == 0.0 && query_norm.is_none() && key_norm.is_none() {
            return Ok(());
        }
        let (norms, row) = (Norms::new(self.model, self.level), qkv_row(&self.weights, number));
        let b = &mut *self.buffers;
        let parts = Chunks::new(&mut b.wide[..tokens * row], row);
        let mut scratch = Scratch::new(b.scratch, b.scratch_size);
        share_out(few(tokens, self.workers), parts, &mut scratch, |_, row, lines| {
            if clamp > 0.0 {
                row.iter_mut().for_each(|x| *x = x.clamp(-clamp, clamp));
            }
            let (q, rest) = row.split_at_mut(layer.q_dim());
            if let Some(norm) = query_norm {
                norms.in_place(q, &norm, lines)?;
            }
            match key_norm {
                Some(norm) => norms.in_place(&mut rest[..layer.kv_dim()], &norm, lines),
                None => Ok(()),
            }
        })
    }

    /// Rotates k, and stores k and v of every token in the cache.
    pub(super) fn store(&mut self, number: usize, tokens: usize, position: usize) -> Result<(), NotFinite> {
        let layer = self.weights.layer(number);
        if layer.source().is_some() {
            return Ok(());
        }
        let (workers, level, d) = (few(tokens, self.workers), self.level, layer.head_dim());
        let (end, at) = (position + tokens, (self.weights.cache(number), &layer));
        let groups = position / GROUP..end.div_ceil(GROUP);
        let (keys, values) = (self.cache.keys.format, self.cache.values.format);
        let heads = Heads::new(self.model, self.weights, level, number);
        let parts = (
            self.cache.keys.groups_mut(at, groups.clone()),
            self.cache.values.groups_mut(at, groups.clone()),
        );
        let Buffers { wide, cos, sin, scratch, scratch_size, .. } = &mut *self.buffers;
        let heads = heads.over(tokens, wide, cos, sin);
        let mut scratch = Scratch::new(scratch, *scratch_size);
        share_out(workers, parts, &mut scratch, |part, (key_group, value_group), lines| {
            let (g, group) = (part / groups.len(), groups.start + part % groups.len());
            let (head, lines) = carve::<f32>(lines, d);
            let row_bytes = value_group.len() / GROUP;
            for at in position.max(group * GROUP)..end.min((group + 1) * GROUP) {
                let (t, slot) = (at - position, at % GROUP);
                heads.rotate(t, layer.q_dim() + g * d, heads.key_norm.as_ref(), g, head, lines)?;
                kv::store_key(level, keys, head, slot, key_group)?;
                let mut value = heads.row(t, heads.values + g * d, d);
                if let Some(norm) = &heads.value_norm {
                    heads.normalise(norm, g, value, head)?;
                    value = head;
                }
                let row = &mut value_group[slot * row_bytes..][..row_bytes];
                kv::store_value(level, values, value, row)?;
            }
            Ok(())
        })
    }

    /// softmax(q k / sqrt(d)) v of every token and head: for one token partial results, for several in `input`.
    pub(super) fn attend(&mut self, number: usize, tokens: usize, position: usize) -> Result<(), NotFinite> {
        let (level, h, layer) = (self.level, self.model.hyperparameters(), self.weights.layer(number));
        let (d, group, kv_heads) = (layer.head_dim(), layer.group(), layer.kv_heads());
        let (cache, at) = (&*self.cache, (self.weights.cache(number), &layer));
        let head = |g| Head {
            keys: cache.keys.head(at, g),
            values: cache.values.head(at, g),
            scale: h.score_scale(&layer),
            cap: h.score_cap,
        };
        let slopes = self.weights.slopes();
        let slopes = |g: usize| if slopes.is_empty() { slopes } else { &slopes[g * group..][..group] };
        let sinks = self.weights.sinks(number);
        let sight = Sight::new(self.model, &layer, position + tokens);
        let Sight { window, ahead, end } = sight;
        let heads = Heads::new(self.model, self.weights, level, number);
        let Buffers { wide, cos, sin, input, partials, scratch, scratch_size, .. } = &mut *self.buffers;
        let heads = heads.over(tokens, wide, cos, sin);
        let mut scratch = Scratch::new(scratch, *scratch_size);
        if tokens == 1 {
            let chunks = sight.chunks(position, 1);
            let len = Partial::floats(group, d);
            let parts = Chunks::new(&mut partials[..kv_heads * chunks.len() * len], len);
            return share_out(self.workers, parts, &mut scratch, |part, partial, lines| {
                let (g, chunk) = (part / chunks.len(), chunks.start + part % chunks.len());
                let (rows, lines) = carve::<f32>(lines, group * d);
                heads.queries(0, position, g, rows, lines)?;
                let mut partial = Partial::new(partial, group);
                let queries = Queries { rows, heads: group, position, window, ahead, end, slopes: slopes(g) };
                attention::attend(level, &head(g), &queries, chunk..chunk + 1, &mut partial, lines)
            });
        }
        let height = tile_tokens(&layer);
        let out = &mut input.f32[..tokens * layer.q_dim()];
        let parts = Tiles::new(out, layer.q_dim(), height, group * d);
        share_out(self.workers, parts, &mut scratch, |part, mut out, lines| {
            let (first, g) = (part / kv_heads * height, part % kv_heads);
            let count = out.tokens() * group;
            let (rows, lines) = carve::<f32>(lines, count * d);
            for (t, rows) in rows.chunks_exact_mut(group * d).enumerate() {
                heads.queries(first + t, position + first + t, g, rows, lines)?;
            }
            let position = position + first;
            let queries = Queries { rows, heads: group, position, window, ahead, end, slopes: slopes(g) };
            let chunks = sight.chunks(position, out.tokens());
            let (partial, lines) = carve::<f32>(lines, Partial::floats(count, d));
            let mut partial = Partial::new(partial, count);
            attention::attend(level, &head(g), &queries, chunks, &mut partial, lines)?;
            for t in 0..out.tokens() {
                let partial = partial.part(t * group..(t + 1) * group);
                attention::finish(&partial, sinks_of(sinks, g, group), out.token(t));
            }
            Ok(())
        })
    }

    /// `input[t]` = all heads of a token one after another, also in int8.
    pub(super) fn gather(&mut self, number: usize, tokens: usize, position: usize) -> Result<(), NotFinite> {
        let (level, layer) = (self.level, self.weights.layer(number));
        let (d, group, q_dim) = (layer.head_dim(), layer.group(), layer.q_dim());
        let sinks = self.weights.sinks(number);
        let norm = self.weights.norm(number, Norm::Heads);
        let chunks = Sight::new(self.model, &layer, position + tokens).chunks(position, tokens).len();
        let Buffers { input, partials, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        if tokens > 1 {
            let parts = input.parts_with_f32(tokens, q_dim, q_dim);
            share_out(self.workers, parts, &mut scratch, |_, row, lines| {
                // The f32 form is there already.
                enter(level, row, q_dim, lines, |_, _| Ok(()))
            })?;
        } else {
            // Whole blocks of a KV head's queries can be gathered by whoever is free; a single chunk needs no merging.
            let by_head = (group * d).is_multiple_of(32);
            let len = if by_head { group * d } else { q_dim };
            let workers = if by_head && chunks > 1 { self.workers } else { &Alone };
            let partials = Chunks::new(partials, len / (group * d) * chunks * Partial::floats(group, d));
            let f32 = norm.is_some();
            let parts = (
                partials,
                if f32 { input.parts_with_f32(1, q_dim, len) } else { input.parts(1, q_dim, len) },
            );
            share_out(workers, parts, &mut scratch, |part, (partials, row), lines| {
                enter(level, row, len, lines, |out, _| {
                    let heads = partials.chunks_exact_mut(chunks * Partial::floats(group, d));
                    for (i, (head, out)) in heads.zip(out.chunks_exact_mut(group * d)).enumerate() {
                        let (first, later) = head.split_at_mut(Partial::floats(group, d));
                        let mut partial = Partial::new(first, group);
                        for later in later.chunks_exact_mut(Partial::floats(group, d)) {
                            attention::merge(level, &mut partial, &Partial::new(later, group));
                        }
                        let g = part * len / (group * d) + i;
                        attention::finish(&partial, sinks_of(sinks, g, group), out);
                    }
                    Ok(())
                })
            })?;
        }
        match norm {
            Some(norm) => self.norm_again(&norm, q_dim, tokens),
            None => Ok(()),
        }
    }
}

/// The length of what a token's q, k and v take in `wide`: those that the layer has.
fn qkv_row(weights: &Weights<'_>, number: usize) -> usize {
    let rows = |weight| weights.matrix(number, weight).map_or(0, |matrix| matrix.rows());
    QKV.into_iter().map(rows).sum()
}

/// The sinks of the query heads of KV head `g`.
fn sinks_of(sinks: &[f32], g: usize, group: usize) -> &[f32] {
    if sinks.is_empty() { sinks } else { &sinks[g * group..][..group] }
}
