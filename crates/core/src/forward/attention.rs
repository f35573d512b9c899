//! Attention's part of the forward pass: keys and values to the cache, queries over the cache.
//!
//! Several tokens of a sequence are shared out as tiles: some tokens' query heads of one KV head, which go over the whole
//! context together. Sequences of which the batch has one token are shared out together, by sequence, KV head and chunk of
//! positions, so that a long context keeps all workers busy; the chunks' partial results are merged afterwards. Both give
//! the same bits: see the kernels' contract. Chunks that lie wholly outside a layer's window are not looked at. Where
//! tokens attend to those behind them, the batch is the whole text.
//! Where attention is latent, all query heads share one KV head, and what they give is as long as the latent vector:
//! `latent.rs` is what comes before and behind.

use core::ops::Range;

use stonechat_kernels::attention::{self, CHUNK, Head, Partial, Queries};
use stonechat_kernels::elementwise::{self, NotFinite, Rotation};
use stonechat_kernels::kv::{self, GROUP};
use stonechat_kernels::scratch::carve;
use stonechat_kernels::split::{Chunks, Stretches, Tiles};
use stonechat_kernels::{Alone, Level, Line, Scratch, recurrent};

use super::norm::Norms;
use super::rows::{enter, share_out};
use super::{At, Batch, Buffers, Pass, QKV, few};
use crate::arch::QkNorm;
use crate::model::{Latent, Layer, Norm};
use crate::session::{NormWeights, Weights};
use crate::{Error, Model};

/// The queries that go over the context together: with them a key in the nearest cache is used often enough.
const TILE_ROWS: usize = 32;

/// The tokens of a tile of so many heads.
fn tile_tokens(group: usize) -> usize {
    (TILE_ROWS / group).max(1)
}

/// What attention takes of the arena, for the layer that takes most.
#[derive(Clone, Copy, Default)]
pub(crate) struct AttentionSize {
    /// The numbers of all partial results of one token.
    pub partials: usize,
    /// The scratch lines that a worker needs: the queries of a tile, their results, and what the kernels take.
    pub scratch: usize,
    /// What a token takes of `wide`.
    pub row: usize,
}

impl AttentionSize {
    /// The same with partial results of so many tokens, if their number fits.
    pub fn of_tokens(self, tokens: usize) -> Option<Self> {
        Some(Self { partials: self.partials.checked_mul(tokens)?, ..self })
    }
}

/// What attention takes of the arena.
pub(crate) fn attention_size(model: &Model<'_>, context: usize) -> Result<AttentionSize, Error> {
    let mut size = AttentionSize::default();
    for number in 0..model.hyperparameters().layers {
        let layer = model.layer(number)?;
        if !layer.mixer().attends() {
            continue;
        }
        let (d, v) = (layer.head_dim(), layer.value_dim());
        let partials = Partial::floats(layer.heads(), v).checked_mul(context.div_ceil(CHUNK));
        for tokens in [1, 2] {
            let group = layer.group(tokens);
            let rows = tile_tokens(group) * group;
            let copied = if model.spec().qk_norm_after_rope { group * d } else { 0 };
            let floats = rows * d + Partial::floats(rows, v) + copied;
            let lines = (floats * 4).div_ceil(Line::BYTES) + 2 + attention::scratch_lines(rows, d, v);
            size.scratch = size.scratch.max(lines);
        }
        size.partials = size.partials.max(partials.ok_or(Error::TooLarge)?);
        size.row = size.row.max(match layer.latent() {
            Some(latent) => latent_row(&layer, &latent),
            None => layer.query_rows() + 2 * layer.kv_dim(),
        });
    }
    Ok(size)
}

/// What a token takes of `wide` where attention is latent: what comes from its embedding, then its queries, and behind them
/// the absorbed ones; in the end its values.
fn latent_row(layer: &Layer, latent: &Latent) -> usize {
    let made = latent.query_rank + layer.head_dim();
    (latent.query_row(layer) + layer.heads() * latent.rank).max(made).max(layer.out_dim())
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

/// The tokens of a batch that are the only ones of their sequences, with which it begins.
#[derive(Clone, Copy)]
struct Lone {
    tokens: usize,
    /// The chunks in which any of them has something to attend to: for so many each has room.
    chunks: usize,
}

impl Lone {
    fn new(model: &Model<'_>, layer: &Layer, batch: &Batch<'_>) -> Self {
        let tokens = batch.lone();
        let chunks = (0..tokens).map(|t| Self::chunks_of(model, layer, batch, t)).max();
        Self { tokens, chunks: chunks.unwrap_or(1) }
    }

    /// The chunks of one of them: at least that of the token itself.
    fn chunks_of(model: &Model<'_>, layer: &Layer, batch: &Batch<'_>, t: usize) -> usize {
        let (_, position) = batch.lone_token(t);
        Sight::new(model, layer, position + 1).chunks(position, 1).len()
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
    /// Where queries begin in a row: behind their gates, if they have some.
    queries: usize,
    latent: Option<Latent>,
    /// Of latent attention: heads x t x rank, the part of each query that meets the latent vector.
    absorbed: &'b [f32],
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
            queries: layer.query_rows() - layer.q_dim(),
            latent: layer.latent(),
            absorbed: &[],
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

    /// The same where `wide` holds queries: those of latent attention, and what of them is absorbed behind.
    fn with_queries(self, tokens: usize) -> Self {
        let Some(latent) = &self.latent else { return self };
        let row = latent.query_row(&self.layer);
        let absorbed = &self.wide[tokens * row..][..self.layer.heads() * tokens * latent.rank];
        Self { row, absorbed, ..self }
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

    /// Turns the pairs of each head of token `t`.
    fn turn(&self, t: usize, head_dim: usize, heads: &mut [f32]) {
        if let Some([cos, sin]) = self.angles {
            let pairs = self.layer.rope().map_or(0, |rope| self.ropes[rope]);
            let at = t * pairs..(t + 1) * pairs;
            let (cos, sin) = (&cos[at.clone()], &sin[at]);
            elementwise::rope(self.norms.level, self.rotation, cos, sin, head_dim, heads);
        }
    }

    /// The latent vector of token `t`, normalised, and behind it what rotates, to `out`.
    #[inline(never)]
    fn latent_key(&self, t: usize, latent: &Latent, out: &mut [f32]) -> Result<(), NotFinite> {
        let (vector, rotated) = out.split_at_mut(latent.rank);
        let made = self.row(t, self.row - self.layer.head_dim(), self.layer.head_dim());
        match &self.key_norm {
            Some(norm) => self.norms.apply(&made[..latent.rank], norm, vector)?,
            None => vector.copy_from_slice(&made[..latent.rank]),
        }
        rotated.copy_from_slice(&made[latent.rank..]);
        self.turn(t, latent.rotated, rotated);
        Ok(())
    }

    /// Queries of token `t` from head `first` on: what meets the latent vector, and what rotates.
    #[inline(never)]
    fn latent_queries(&self, t: usize, first: usize, latent: &Latent, out: &mut [f32]) {
        let tokens = self.absorbed.len() / (self.layer.heads() * latent.rank);
        for (head, out) in (first..).zip(out.chunks_exact_mut(self.layer.head_dim())) {
            let (vector, rotated) = out.split_at_mut(latent.rank);
            vector.copy_from_slice(&self.absorbed[(head * tokens + t) * latent.rank..][..latent.rank]);
            rotated.copy_from_slice(self.row(t, head * latent.query() + latent.key, latent.rotated));
            self.turn(t, latent.rotated, rotated);
        }
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
        self.turn(t, self.layer.head_dim(), out);
        if let (Some(norm), true) = (norm, self.norm_after_rope) {
            let (copy, _) = carve::<f32>(lines, out.len());
            copy.copy_from_slice(out);
            self.normalise(norm, first, copy, out)?;
        }
        Ok(())
    }

    /// The queries of group `g` of token `t`, at `position`, to `out`.
    #[inline(never)]
    fn queries(
        &self,
        t: usize,
        position: usize,
        g: usize,
        out: &mut [f32],
        lines: &mut [Line],
    ) -> Result<(), NotFinite> {
        let first = g * out.len() / self.layer.head_dim();
        if let Some(latent) = &self.latent {
            self.latent_queries(t, first, latent, out);
        } else {
            let from = self.queries + g * out.len();
            self.rotate(t, from, self.query_norm.as_ref(), first, out, lines)?;
        }
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
        if clamp == 0.0 && query_norm.is_none() && key_norm.is_none() && !layer.is_gated() {
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
            let (mut q, rest) = row.split_at_mut(layer.query_rows());
            if layer.is_gated() {
                q = behind_gates(q, layer.head_dim(), lines);
            }
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
    pub(super) fn store(&mut self, number: usize, tokens: usize) -> Result<(), NotFinite> {
        let layer = self.weights.layer(number);
        if layer.source().is_some() {
            return Ok(());
        }
        let (level, d) = (self.level, layer.head_dim());
        let (keys, values) = (self.cache.keys.format, self.cache.values.format);
        let heads = Heads::new(self.model, self.weights, level, number);
        let Buffers { wide, cos, sin, scratch, scratch_size, .. } = &mut *self.buffers;
        let heads = heads.over(tokens, wide, cos, sin);
        let mut scratch = Scratch::new(scratch, *scratch_size);
        for run in self.batch.runs() {
            let at = At::of(&layer, self.weights.cache(number), run.sequence);
            let (position, end) = (run.position, run.position + run.rows.len());
            let groups = position / GROUP..end.div_ceil(GROUP);
            let parts = (
                self.cache.keys.groups_mut(at[0], groups.clone()),
                self.cache.values.groups_mut(at[1], groups.clone()),
            );
            let workers = few(run.rows.len(), self.workers);
            share_out(workers, parts, &mut scratch, |part, (key_group, value_group), lines| {
                let (g, group) = (part / groups.len(), groups.start + part % groups.len());
                let (head, lines) = carve::<f32>(lines, d);
                let row_bytes = value_group.len() / GROUP;
                for at in position.max(group * GROUP)..end.min((group + 1) * GROUP) {
                    let (t, slot) = (run.rows.start + at - position, at % GROUP);
                    if let Some(latent) = &heads.latent {
                        heads.latent_key(t, latent, head)?;
                    } else {
                        let from = layer.query_rows() + g * d;
                        heads.rotate(t, from, heads.key_norm.as_ref(), g, head, lines)?;
                    }
                    kv::store_key(level, keys, head, slot, key_group)?;
                    let value = match (&heads.latent, &heads.value_norm) {
                        (Some(latent), _) => &head[..latent.rank],
                        (None, None) => heads.row(t, heads.values + g * d, d),
                        (None, Some(norm)) => {
                            heads.normalise(norm, g, heads.row(t, heads.values + g * d, d), head)?;
                            &*head
                        }
                    };
                    let row = &mut value_group[slot * row_bytes..][..row_bytes];
                    kv::store_value(level, values, value, row)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// softmax(q k / sqrt(d)) v of every token and head: for a sequence's only token partial results, for several in `input`,
    /// token by token, or head by head where attention is latent.
    pub(super) fn attend(&mut self, number: usize, tokens: usize) -> Result<(), NotFinite> {
        let (level, h, layer) = (self.level, self.model.hyperparameters(), self.weights.layer(number));
        let (d, v, batch) = (layer.head_dim(), layer.value_dim(), self.batch);
        let cache = &*self.cache;
        // What the queries of group `g` see of a sequence.
        let head = |sequence: usize, g: usize, group: usize| {
            let at = At::of(&layer, self.weights.cache(number), sequence);
            let head = g * group / (layer.heads() / layer.kv_heads());
            Head {
                keys: cache.keys.head(at[0], head),
                values: cache.values.head(at[1], head),
                scale: h.score_scale(&layer),
                cap: h.score_cap,
            }
        };
        let slopes = self.weights.slopes();
        let slopes_of =
            |g: usize, group: usize| if slopes.is_empty() { slopes } else { &slopes[g * group..][..group] };
        let sinks = self.weights.sinks(number);
        let heads = Heads::new(self.model, self.weights, level, number);
        let lone = Lone::new(self.model, &layer, &batch);
        let Buffers { wide, cos, sin, input, partials, scratch, scratch_size, .. } = &mut *self.buffers;
        let heads = heads.over(tokens, wide, cos, sin).with_queries(tokens);
        let mut scratch = Scratch::new(scratch, *scratch_size);
        if lone.tokens > 0 {
            let group = layer.group(1);
            let (groups, len) = (layer.heads() / group, Partial::floats(group, v));
            let parts = Chunks::new(&mut partials[..lone.tokens * groups * lone.chunks * len], len);
            share_out(self.workers, parts, &mut scratch, |part, partial, lines| {
                let (g, t) = (part / lone.chunks % groups, part / lone.chunks / groups);
                let (sequence, position) = batch.lone_token(t);
                let sight = Sight::new(self.model, &layer, position + 1);
                let Some(chunk) = sight.chunks(position, 1).nth(part % lone.chunks) else { return Ok(()) };
                let Sight { window, ahead, end } = sight;
                let (rows, lines) = carve::<f32>(lines, group * d);
                heads.queries(t, position, g, rows, lines)?;
                let mut partial = Partial::new(partial, group);
                let slopes = slopes_of(g, group);
                let queries = Queries { rows, heads: group, position, window, ahead, end, slopes };
                let head = head(sequence, g, group);
                attention::attend(level, &head, &queries, chunk..chunk + 1, &mut partial, lines)
            })?;
        }
        let group = layer.group(2);
        let (groups, height) = (layer.heads() / group, tile_tokens(group));
        for run in batch.runs().skip(lone.tokens) {
            let sight = Sight::new(self.model, &layer, run.position + run.rows.len());
            let Sight { window, ahead, end } = sight;
            // The queries of `tokens` tokens of the run and a group of heads over all that they attend to.
            let over = |g: usize,
                        (first, tokens): (usize, usize),
                        lines: &mut [Line],
                        done: &mut dyn FnMut(Partial<'_>)| {
                let (count, position) = (tokens * group, run.position + first);
                let (rows, lines) = carve::<f32>(lines, count * d);
                for (t, rows) in rows.chunks_exact_mut(group * d).enumerate() {
                    heads.queries(run.rows.start + first + t, position + t, g, rows, lines)?;
                }
                let slopes = slopes_of(g, group);
                let queries = Queries { rows, heads: group, position, window, ahead, end, slopes };
                let chunks = sight.chunks(position, tokens);
                let (partial, lines) = carve::<f32>(lines, Partial::floats(count, v));
                let mut partial = Partial::new(partial, count);
                let head = head(run.sequence, g, group);
                attention::attend(level, &head, &queries, chunks, &mut partial, lines)?;
                done(partial);
                Ok(())
            };
            let width = layer.heads() * v;
            if heads.latent.is_some() {
                // Tokens of one head lie one after another.
                let (tiles, all) = (run.rows.len().div_ceil(height), &mut input.f32[..tokens * width]);
                let stretch = run.rows.start * v..run.rows.end * v;
                let parts = Stretches::new(all, tokens * v, stretch, height * v);
                share_out(self.workers, parts, &mut scratch, |part, out, lines| {
                    let (g, tile) = (part / tiles, (part % tiles * height, out.len() / v));
                    over(g, tile, lines, &mut |partial| attention::finish(&partial, &[], out))
                })?;
                continue;
            }
            let out = &mut input.f32[run.rows.start * width..run.rows.end * width];
            let parts = Tiles::new(out, width, height, group * v);
            share_out(self.workers, parts, &mut scratch, |part, mut out, lines| {
                let (first, g) = (part / groups * height, part % groups);
                over(g, (first, out.tokens()), lines, &mut |mut partial| {
                    for t in 0..out.tokens() {
                        let partial = partial.part(t * group..(t + 1) * group);
                        attention::finish(&partial, sinks_of(sinks, g, group), out.token(t));
                    }
                })
            })?;
        }
        Ok(())
    }

    /// `input[t]` = all heads of a token one after another, also in int8. Where attention is latent, all tokens of a head, head
    /// after head.
    pub(super) fn gather(&mut self, number: usize, tokens: usize) -> Result<(), NotFinite> {
        let (level, layer) = (self.level, self.weights.layer(number));
        let (v, width) = (layer.value_dim(), layer.heads() * layer.value_dim());
        let sinks = self.weights.sinks(number);
        let norm = self.weights.norm(number, Norm::Heads);
        let read_again = norm.is_some() || layer.is_gated();
        let (batch, model) = (self.batch, self.model);
        let lone = Lone::new(model, &layer, &batch);
        let group = layer.group(1);
        let (groups, floats) = (layer.heads() / group, Partial::floats(group, v));
        // Merges what the chunks gave for a group of heads of a token; leaves it in the first.
        let merge = |t: usize, chunks: &mut [f32]| {
            let (first, later) = chunks.split_at_mut(floats);
            let mut partial = Partial::new(first, group);
            for later in later.chunks_exact_mut(floats).take(Lone::chunks_of(model, &layer, &batch, t) - 1) {
                attention::merge(level, &mut partial, &Partial::new(later, group));
            }
        };
        // What enters a matrix: all heads of a token, or one.
        let (count, row) = if layer.is_latent() { (layer.heads(), v) } else { (1, width) };
        let Buffers { input, partials, scratch, scratch_size, .. } = &mut *self.buffers;
        let mut scratch = Scratch::new(scratch, *scratch_size);
        let mut merged = lone.tokens;
        if layer.is_latent() && tokens > 1 {
            // Heads of a token lie apart.
            let partials = partials.chunks_exact_mut(lone.chunks * floats).take(lone.tokens * groups);
            for (i, chunks) in partials.enumerate() {
                let (t, g) = (i / groups, i % groups);
                merge(t, chunks);
                let mut partial = Partial::new(&mut chunks[..floats], group);
                for i in 0..group {
                    let out = &mut input.f32[((g * group + i) * tokens + t) * v..][..v];
                    attention::finish(&partial.part(i..i + 1), &[], out);
                }
            }
            merged = 0;
        }
        if merged > 0 {
            // Whole blocks of a group of heads can be gathered by whoever is free; a single chunk needs no merging.
            let by_group = (group * v).is_multiple_of(32);
            let len = if by_group { group * v } else { width };
            let workers = if merged > 1 || by_group && lone.chunks > 1 { self.workers } else { &Alone };
            let partials = Chunks::new(partials, len / (group * v) * lone.chunks * floats);
            let parts = (partials, input.parts_with(0..merged * count, row, len, read_again));
            share_out(workers, parts, &mut scratch, |part, (partials, row), lines| {
                enter(level, row, len, lines, |out, _| {
                    let heads = partials.chunks_exact_mut(lone.chunks * floats);
                    for (i, (chunks, out)) in heads.zip(out.chunks_exact_mut(group * v)).enumerate() {
                        let i = part * len / (group * v) + i;
                        let (t, g) = (i / groups, i % groups);
                        merge(t, chunks);
                        let partial = Partial::new(&mut chunks[..floats], group);
                        attention::finish(&partial, sinks_of(sinks, g, group), out);
                    }
                    Ok(())
                })
            })?;
        }
        if merged < tokens {
            let parts = input.parts_with(merged * count..tokens * count, row, row, true);
            share_out(self.workers, parts, &mut scratch, |_, part, lines| {
                // The f32 form is there already.
                enter(level, part, row, lines, |_, _| Ok(()))
            })?;
        }
        if layer.is_gated() {
            self.gate_heads(number, tokens)?;
        }
        match norm {
            Some(norm) => self.norm_again(&norm, width, tokens),
            None => Ok(()),
        }
    }

    /// Multiplies what leaves attention by sigmoids of the gates.
    fn gate_heads(&mut self, number: usize, tokens: usize) -> Result<(), NotFinite> {
        let (level, q_dim) = (self.level, self.weights.layer(number).q_dim());
        let width = qkv_row(&self.weights, number);
        let Buffers { wide, input, scratch, scratch_size, .. } = &mut *self.buffers;
        let (wide, parts) = (&*wide, input.parts_with_f32(tokens, q_dim, q_dim));
        let mut scratch = Scratch::new(scratch, *scratch_size);
        share_out(few(tokens, self.workers), parts, &mut scratch, |t, row, lines| {
            enter(level, row, q_dim, lines, |row, _| {
                recurrent::gate(level, row, &wide[t * width..][..q_dim]);
                Ok(())
            })
        })
    }
}

/// Puts the gates of all heads, each of which lies behind its query, before all queries, which are returned.
fn behind_gates<'q>(both: &'q mut [f32], d: usize, lines: &mut [Line]) -> &'q mut [f32] {
    let (copy, _) = carve::<f32>(lines, both.len());
    copy.copy_from_slice(both);
    let (gates, queries) = both.split_at_mut(copy.len() / 2);
    let out = queries.chunks_exact_mut(d).zip(gates.chunks_exact_mut(d));
    for ((query, gate), head) in out.zip(copy.chunks_exact(2 * d)) {
        query.copy_from_slice(&head[..d]);
        gate.copy_from_slice(&head[d..]);
    }
    queries
}

/// The length of what a token's q, k and v take in `wide`: those that the layer has.
pub(super) fn qkv_row(weights: &Weights<'_>, number: usize) -> usize {
    let rows = |weight| weights.matrix(number, weight).map_or(0, |matrix| matrix.rows());
    QKV.into_iter().map(rows).sum()
}

/// The sinks of the query heads of KV head `g`.
fn sinks_of(sinks: &[f32], g: usize, group: usize) -> &[f32] {
    if sinks.is_empty() { sinks } else { &sinks[g * group..][..group] }
}
